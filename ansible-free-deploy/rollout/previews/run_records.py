"""What the verbs of previews keep on the operator's side: a lock for each preview, a note of what
is under way, and when the last sweep ran."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import platformdirs

from infra.core import exits
from infra.core.errors import KitError
from infra.core.home import (
    KIT,
    cache,
    claim,
    home,
    is_locked,
    occupying,
    private,
    refuse_foreign,
    short_id,
    write_whole,
)
from rollout.previews.lifetime import stamp

FOLDER = "previews"
_POLL_S = 0.1
_ALL = ".choosing"


class BusyError(KitError):
    """Another run has this preview; the text says who."""

    exit_status = exits.UNREACHABLE


@dataclass(frozen=True)
class Note:
    """What is under way with a preview: `doing` is up or down, of which branch, since when, in
    which checkout, and the environments that may answer it. It stays where a run was
    interrupted."""

    stack: str
    branch: str
    doing: str
    began: str
    checkout: str
    environments: Sequence[str] = ()


@dataclass(frozen=True)
class Sweep:
    """When a sweep last ran to its end, and by whom."""

    at: str
    by: str


def _silent(_: str) -> None:
    """Nobody waits for long."""


class RunRecords:
    """The folder of this user's notes: for local previews in the kit's home, for those in a cloud
    in the user's own state."""

    def __init__(self, folder: Path, in_home: bool = False) -> None:
        self.folder = folder
        self._in_home = in_home

    @classmethod
    def of(cls, cloud: str) -> RunRecords:
        """The one to write to. Raises LocalCloudError for a home that is not the kit's."""
        records = cls.to_read(cloud)
        records._make()
        return records

    @classmethod
    def to_read(cls, cloud: str) -> RunRecords:
        """The one to look at; nothing is made."""
        if _in_home(cloud):
            refuse_foreign()
            return cls(home() / FOLDER, in_home=True)
        return cls(platformdirs.user_state_path(KIT) / FOLDER)

    def _make(self) -> None:
        """The folder, there: the last preview's `down` removes it, while others wait."""
        if self._in_home:
            claim()
        private(self.folder)

    # -------------------------------------------------------------------------------------- locks

    @contextmanager
    def held(
        self, stack: str, wait_s: float, say: Callable[[str], None] = _silent
    ) -> Iterator[None]:
        """Keep every other run on this preview out, here; between computers Pulumi's own lock does.
        Raises BusyError after `wait_s`; `say` gets a line where this waits."""
        with self._locked(self.folder / f"{stack}.lock", stack, wait_s, say):
            yield

    @contextmanager
    def choosing(self, wait_s: float) -> Iterator[None]:
        """Keep every other run out that takes a slot or is counted. It is held for a moment."""
        with self._locked(self.folder / f"{_ALL}.lock", "the previews", wait_s, _silent):
            yield

    @contextmanager
    def _locked(
        self,
        path: Path,
        what: str,
        wait_s: float,
        say: Callable[[str], None],
    ) -> Iterator[None]:
        handle = self._taken(path, what, wait_s, say)
        try:
            handle.truncate(0)
            handle.write(f"pid {os.getpid()}")
            handle.flush()
            yield
        finally:
            path.unlink(missing_ok=True)  # whoever waits for this one sees that it is gone
            handle.close()

    def _taken(
        self,
        path: Path,
        what: str,
        wait_s: float,
        say: Callable[[str], None],
    ) -> TextIO:
        """The lock file, open and held: the very one that has the name, since whoever held it last
        removed it."""
        until, said = time.monotonic() + wait_s, False
        while True:
            with occupying() if self._in_home else nullcontext():
                handle, holder = self._try(path)
            if handle:
                return handle
            if time.monotonic() >= until:
                raise BusyError(
                    f"another run ({holder or 'just begun'}) is changing {what}",
                    cure="wait for it, or give --wait a longer time; nothing was changed",
                )
            if not said:
                say(f"waits for another run ({holder or 'just begun'})")
                said = True
            time.sleep(_POLL_S)

    def _try(self, path: Path) -> tuple[TextIO | None, str]:
        """The lock file, held, or None and who holds it."""
        while True:
            try:
                handle = path.open("a+")
            except FileNotFoundError:
                self._make()
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read()
                handle.close()
                return None, holder
            if _has_its_name(handle, path):
                return handle, ""
            handle.close()

    # -------------------------------------------------------------------------------------- notes

    def begin(
        self,
        stack: str,
        branch: str,
        doing: str,
        checkout: Path,
        environments: Sequence[str] = (),
    ) -> None:
        """Note what is about to be done, before it is. `environments` are all that may answer the
        preview meanwhile: where a run is interrupted, nothing else may know the earlier one."""
        note = Note(
            stack,
            branch,
            doing,
            stamp(datetime.now(UTC)),
            str(checkout),
            list(environments),
        )
        write_whole(self._note(stack), json.dumps(asdict(note)))

    def end(self, stack: str) -> None:
        """It is done."""
        self._note(stack).unlink(missing_ok=True)

    def note(self, stack: str) -> Note | None:
        """What is under way or was interrupted; None where nothing is noted."""
        return _read(self._note(stack))

    def notes(self) -> list[Note]:
        """All of them, by the stacks' names."""
        paths = sorted(self.folder.glob("preview-*.json"))
        return [note for note in map(_read, paths) if note]

    def leaving(self) -> set[str]:
        """The stacks of previews whose removal has begun, as far as this folder knows. Nothing
        answers them any more, whatever their states still say."""
        return {note.stack for note in self.notes() if note.doing == "down"}

    def is_held(self, stack: str) -> bool:
        """Whether a run has this preview now."""
        return is_locked(self.folder / f"{stack}.lock")

    def swept(self, by: str) -> None:
        """A sweep ran to its end."""
        self._swept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._swept, json.dumps(asdict(Sweep(stamp(datetime.now(UTC)), by))))

    def last_sweep(self) -> Sweep | None:
        """The last one that is noted here."""
        try:
            return Sweep(**json.loads(self._swept.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def _swept(self) -> Path:
        """Not among the notes, which go with the last preview."""
        return cache() / FOLDER / f"swept-{short_id(str(self.folder))}.json"

    def _note(self, stack: str) -> Path:
        return self.folder / f"{stack}.json"


def _has_its_name(handle: TextIO, path: Path) -> bool:
    """Whether this very file has the name still."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _in_home(cloud: str) -> bool:
    """As `fab replace` chooses: who deploys to a cloud need not be root."""
    return cloud == "local" or bool(os.environ.get("ORIGIN_KIT_HOME"))


def _read(path: Path) -> Note | None:
    """A note; a damaged one says its stack's name at least."""
    try:
        return Note(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        return Note(path.stem, "", "", "", "")
