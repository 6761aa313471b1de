"""What `fab replace` keeps on the operator's side: the journal, and the copy of the data while it
is on its way."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from infra.core import exits
from infra.core.contract import Json
from infra.core.errors import KitError
from infra.core.home import claim, private
from infra.core.settings import Settings

MARGIN = 64 << 20  # bytes of the disk that a copy leaves free


class StoreError(KitError):
    """The journal can't be used, or somebody else uses it; the text says what to do."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Copy:
    """The data of one closing of the old host, whole; `seed` is what the mark of a preview's first
    data says there (`on_host/seed_mark.py`)."""

    closing: str
    size: int
    digest: str
    told: Json
    seed: str = ""


@dataclass(frozen=True)
class Journal:
    """A replacement that is under way: of which host, from which machine to which."""

    host: str
    old: int
    new: int
    keep_copy: bool = False
    copy: Copy | None = None


class Store:
    """The folder of one stack's replacements; what is in it only its owner can read."""

    def __init__(self, settings: Settings) -> None:
        self.stack = settings.stack
        self.folder = private(_folder(settings))
        self._path = self.folder / f"{self.stack}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Raises StoreError where another `fab replace` is under way here."""
        with (self.folder / f"{self.stack}.lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(
                    f"another `fab replace` of stack {self.stack} is under way here",
                    cure="wait for it",
                ) from None
            yield

    def read(self) -> Journal | None:
        """The replacement that is under way, or None. Raises StoreError for a damaged file."""
        try:
            found = json.loads(self._path.read_text())
            copy = found.pop("copy")
            return Journal(**found, copy=Copy(**copy) if copy else None)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, AttributeError, KeyError) as problem:
            raise StoreError(
                f"not a journal of `fab replace` ({problem})",
                where=str(self._path),
                cure="remove it",
            ) from None

    def write(self, journal: Journal) -> Journal:
        """The whole journal or the one before, on the disk when this returns."""
        new = self._path.with_name(f"{self._path.name}.new")
        with new.open("w") as handle:
            os.fchmod(handle.fileno(), 0o600)
            json.dump(asdict(journal), handle)
            handle.flush()
            os.fsync(handle.fileno())
        new.replace(self._path)
        return journal

    def forget(self) -> None:
        """Nothing is under way any more."""
        self._path.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------- the copy

    def place(self, journal: Journal) -> Path:
        """Where the copy is, whole as soon as it has this name."""
        return self.folder / f"{self.stack}-{journal.host}-{journal.old}.tar"

    def room(self) -> int:
        """How many bytes a copy may have."""
        return max(0, shutil.disk_usage(self.folder).free - MARGIN)

    def has(self, journal: Journal, closing: str) -> bool:
        """Whether the copy of this closing is here."""
        copy = journal.copy
        place = self.place(journal)
        return (
            copy is not None
            and copy.closing == closing
            and place.exists()
            and place.stat().st_size == copy.size
        )

    @contextmanager
    def arriving(self, journal: Journal) -> Iterator[Arrival]:
        """A new copy, instead of any that was there."""
        self.drop(journal)
        arrival = Arrival(self._partial(journal))
        try:
            yield arrival
        except BaseException:
            arrival.drop()
            raise

    def keep(
        self,
        journal: Journal,
        arrival: Arrival,
        copy: Copy,
    ) -> Journal:
        """Give the copy its name, and note it. Raises StoreError where it is not what was sent."""
        if (arrival.size, arrival.digest()) != (copy.size, copy.digest):
            raise StoreError("the copy of the data arrived damaged", cure="run this again")
        arrival.close()
        arrival.path.replace(self.place(journal))
        return self.write(
            Journal(
                journal.host,
                journal.old,
                journal.new,
                journal.keep_copy,
                copy,
            )
        )

    def drop(self, journal: Journal) -> None:
        """Remove the copy."""
        for path in (self.place(journal), self._partial(journal)):
            path.unlink(missing_ok=True)

    def _partial(self, journal: Journal) -> Path:
        return self.place(journal).with_suffix(".partial")


class Arrival:
    """A copy that is being written, for nobody but its owner to read."""

    def __init__(self, path: Path) -> None:
        self.path, self.size, self._seen = path, 0, hashlib.sha256()
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")

    def write(self, data: bytes) -> None:
        """Raises OSError where the disk is full."""
        self._file.write(data)
        self._seen.update(data)
        self.size += len(data)

    def digest(self) -> str:
        """Of all that was written."""
        return self._seen.hexdigest()

    def close(self) -> None:
        """All of it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def drop(self) -> None:
        """Remove it."""
        with suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


def _folder(settings: Settings) -> Path:
    """In the kit's home for local stacks; elsewhere whoever deploys need not be root."""
    if settings.cloud == "local" or os.environ.get("ORIGIN_KIT_HOME"):
        return claim() / "replace"
    return platformdirs.user_state_path("origin-kit") / "replace"
