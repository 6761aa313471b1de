"""Make a backup: the host sends its data, what arrives is encrypted and restored for a trial."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from infra.core.contract import Contract, Host
from infra.core.settings import Settings
from on_host import protocol
from on_host.answers import BackupAnswer
from on_host.protocol import BackupOrders
from rollout import access, deploy, hosts, report
from rollout.backup import age, names
from rollout.backup.errors import BackupError, UseError
from rollout.backup.scratch import Scratch, scratch

MARGIN = 64 << 20  # bytes of the disk that a backup leaves free
Take = Callable[[bytes], None]


@dataclass(frozen=True)
class Made:
    """A backup that is whole; `counted` is how much it holds, and what a person should look at."""

    path: Path
    size: int
    counted: dict[str, Any]


def backend_of(contract: Contract) -> Host:
    """The host that has the data. Raises UseError for a preview without a backend of its own."""
    if contract.backend.hosts:
        return contract.backend.hosts[0]
    raise UseError(
        f"{contract.environment} has no data of its own: it is attached to {contract.attached_to}",
        cure=f"ask that one: `--stack {contract.attached_to}`",
    )


def key_of(settings: Settings) -> str:
    """The public key that backups of a stack are encrypted to. Raises UseError without one."""
    if settings.backup:
        return settings.backup["key"]
    raise UseError(
        "there is no key to encrypt a backup to",
        where=f"stacks/Pulumi.{settings.stack}.yaml",
        cure="run `age-keygen -o backup.key`, keep that file, and write its public key as"
        " `origin-kit:backup: {key: age1…}`",
    )


def make(contract: Contract, key: str, folder: Path) -> Made:
    """A backup of the stack's data in a folder, encrypted to a public key.

    It has its name only when it is whole. Raises BackupError and HostError.
    """
    host = backend_of(contract)
    made = names.now()
    app, stack = contract.application.name, contract.environment
    place = folder / names.name_of(app, stack, made)
    _make_folder(folder)
    orders: BackupOrders = {
        **deploy.orders(contract, "backend"),
        "most": max(0, shutil.disk_usage(folder).free - MARGIN),
        "place": str(folder),
        "facts": {"app": app, "stack": stack, "made": made, "kit": deploy.commit() or ""},
    }

    def send(take: Take) -> BackupAnswer:
        with hosts.session(host, access.identity(contract)) as session:
            on_event = report.following(host.name, take)
            return session.ask(protocol.BACKUP, orders, on_event=on_event)

    return keep(place, key, send)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise UseError(f"{folder} can't be a folder of backups: {problem.strerror}") from None


def keep(place: Path, key: str, send: Callable[[Take], BackupAnswer]) -> Made:
    """Encrypt what `send` hands over into the file `place`, once a restore of the same bytes has
    been compared with its manifest. Raises BackupError."""
    with _new_file(place) as out, scratch() as trial:
        encrypted = age.encrypting(key, out)
        try:
            arriving = _Arriving(place, encrypted, trial)
            answer = send(arriving.take)
            arriving.finish(answer)
            counted = {**answer["counted"], **_same(answer["counted"], trial.finish())}
        finally:
            encrypted.stop()
        os.fsync(out.fileno())
    return Made(place, place.stat().st_size, counted)


@contextmanager
def _new_file(place: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name at the end of a block that goes well, and else is removed."""
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        raise BackupError(f"{place.parent} takes no file: {problem.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
        partial.rename(place)
    finally:
        partial.unlink(missing_ok=True)


class _Arriving:
    """Hands what arrives to age and to the trial."""

    def __init__(self, place: Path, encrypted: age.Child, trial: Scratch) -> None:
        self.place, self.encrypted, self.trial = place, encrypted, trial
        self.seen = hashlib.sha256()

    def take(self, data: bytes) -> None:
        """Raises BackupError where one of the two takes no more."""
        self.seen.update(data)
        try:
            self.encrypted.write(data)
        except BrokenPipeError:
            self._refuse()
        try:
            self.trial.child.write(data)
        except BrokenPipeError:
            self.trial.finish()  # says why

    def finish(self, answer: BackupAnswer) -> None:
        """Raises BackupError where it is not all, or not on the disk."""
        if self.seen.hexdigest() != answer["digest"]:
            raise BackupError("the data arrived damaged", cure="run this again; nothing was kept")
        if self.encrypted.end():
            self._refuse()

    def _refuse(self) -> None:
        self.encrypted.end()
        raise BackupError(
            f"the backup can't be written: {self.encrypted.words()}",
            where=str(self.place.parent),
            cure="nothing was kept",
        )


def _same(sent: dict[str, Any], restored: dict[str, Any]) -> dict[str, Any]:
    """What the trial has counted. Raises BackupError where the host has sent another number."""
    for what, number in restored.items():
        if sent.get(what) != number:
            raise BackupError(
                f"the host says {sent.get(what)} {what}, and a restore here has {number}",
                cure="nothing was kept; run this again",
            )
    return restored
