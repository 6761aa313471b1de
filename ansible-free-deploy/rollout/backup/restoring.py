"""Restore a backup: opened and read to its end here first, then restored on the host.

Nothing of it lies on this computer's disk in the clear: it is decrypted twice, once to find out
whether it is whole and whose it is, and once on its way to the host.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from infra.core.contract import Contract
from infra.core.settings import Settings
from on_host import protocol
from on_host.as_user.archive import FACTS, FORMAT
from on_host.protocol import RestoreOrders
from rollout import access, change, deploy, hosts, question, report
from rollout.backup import age, names
from rollout.backup.errors import BackupError, UseError
from rollout.backup.making import backend_of
from rollout.backup.scratch import scratch

LARGEST_FACTS = 1 << 16  # bytes
AT_ONCE = 1 << 18  # bytes


@dataclass(frozen=True)
class Facts:
    """What a backup says of itself; `size` and `digest` are of what it holds, decrypted."""

    app: str
    stack: str
    made: str
    release: str
    size: int
    digest: str


class AnswerError(UseError):
    """The person did not agree."""


def chosen(place: Path, app: str, stack: str) -> Path:
    """The file that was named; in a folder this stack's newest. Raises UseError."""
    if place.is_file():
        return place
    if not place.is_dir():
        raise UseError(f"there is no file and no folder {place}; `fab backups` lists what there is")
    found = names.own(place, app, stack)
    if not found:
        raise UseError(f"{place} holds no backup of {app}, stack {stack}")
    return found[-1].path


def read(path: Path, identity: Path) -> Facts:
    """Read a backup to its end. Raises BackupError for one that is damaged or truncated, UseError
    where the key is another one, or it is no backup."""
    if not identity.is_file():
        raise UseError(f"there is no private key {identity}")
    try:
        with age.opened(path, identity) as stream:
            hashed = _Hashed(stream)
            facts = _facts(hashed, path)
            while hashed.read(AT_ONCE):
                pass
    except (tarfile.TarError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise BackupError(
            f"{path} opens, and holds no archive ({problem}); nothing was changed"
        ) from None
    return Facts(
        app=str(facts.get("app")),
        stack=str(facts.get("stack")),
        made=str(facts.get("made")),
        release=str(facts.get("release")),
        size=hashed.size,
        digest=hashed.seen.hexdigest(),
    )


class _Hashed:
    """A stream, and size and digest of what was read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.size, self.seen = stream, 0, hashlib.sha256()

    def read(self, size: int) -> bytes:
        """As the stream's own."""
        data = self.stream.read(size)
        self.size += len(data)
        self.seen.update(data)
        return data


def _facts(stream: _Hashed, path: Path) -> dict[str, Any]:
    """What it says of itself, at its beginning."""
    with tarfile.open(fileobj=stream, mode="r|gz") as tar:  # type: ignore[call-overload]
        first = tar.next()
        file = tar.extractfile(first) if first and first.name == FACTS else None
        facts = json.loads(file.read(LARGEST_FACTS)) if file else None
    if not isinstance(facts, dict):
        raise UseError(f"{path} is no backup of this kit; nothing was changed")
    if facts.get("format") != FORMAT:
        raise UseError(
            f"{path} is of format {facts.get('format')}, and this kit reads {FORMAT}: take the"
            " version of the kit that made it; nothing was changed"
        )
    return facts


def is_foreign(facts: Facts, app: str, stack: str) -> bool:
    """Whether the backup is another stack's or another application's."""
    return (facts.app, facts.stack) != (app, stack)


def refuse_foreign(facts: Facts, settings: Settings, allowed: bool) -> None:
    """Raise UseError for a foreign backup, unless that was asked for."""
    if allowed or not is_foreign(facts, settings.application, settings.stack):
        return
    raise UseError(
        f"this is a backup of {facts.app}, stack {facts.stack}, and not of {settings.application},"
        f" stack {settings.stack}",
        cure="add --from-other-stack if you want that one's data; nothing was changed",
    )


def check(path: Path, identity: Path) -> dict[str, Any]:
    """Restore a backup into a scratch folder here; how much it holds. Raises BackupError."""
    with scratch() as trial, age.opened(path, identity) as stream:
        while data := stream.read(AT_ONCE):
            try:
                trial.child.write(data)
            except BrokenPipeError:
                break  # its end says why
        return trial.finish()


def ask(facts: Facts, stack: str, path: Path) -> None:
    """Have the person type the stack's name. Raises QuestionError without a terminal, AnswerError
    for another answer."""
    typed = question.ask(
        f"This replaces the database and the media of stack {stack} by {path.name}, made by"
        f" {facts.stack} at {facts.made}. Type {stack} to go on: ",
        f"nothing was changed: there is no terminal to ask on; to restore into {stack}, add --yes",
    )
    if typed != stack:
        raise AnswerError("that is not its name; nothing was changed")


def restore(
    contract: Contract,
    path: Path,
    identity: Path,
    facts: Facts,
) -> dict[str, Any]:
    """Restore it on the host; how much it holds. Raises HostError where what was there before
    serves on."""
    host = backend_of(contract)
    restored = change.new_transaction()
    orders: RestoreOrders = {
        **deploy.orders(contract, "backend"),
        "deploy": restored,
        "restore": restored,
        "size": facts.size,
        "digest": facts.digest,
        "keeps_key": is_foreign(facts, contract.application.name, contract.environment),
    }
    say = report.following(host.name)
    with hosts.session(host, access.identity(contract)) as session:
        with age.opened(path, identity) as stream:
            staged = session.ask(
                protocol.RESTORE_STAGE,
                orders,
                blob=stream,
                on_event=say,
            )
        session.ask(
            protocol.RESTORE_SWITCH,
            orders,
            on_event=say,
            on_gate=lambda question: "",
        )
    counted: dict[str, Any] = staged["counted"]
    return counted


def require_identity(identity: str | None) -> Path:
    """The file with the private key. Raises UseError where none is named."""
    if not identity:
        raise UseError(
            "the private key that opens the backup is not named",
            cure="add --identity FILE, the one that `age-keygen` has written",
        )
    return Path(identity).expanduser()
