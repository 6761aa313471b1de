"""Read what the application wrote, as root, safely: not by path, not without limit, not blocking.

The application may have put anything where these functions look: a link to /etc/shadow, a pipe that
nobody writes to, a file of a terabyte, a folder that is swapped while it is read. Root opens its
own folders by path and everything below them by descriptor, without following links and without
blocking, and reads regular files of a known size only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host import places
from on_host.runtime import Failed

if TYPE_CHECKING:
    from on_host.on_disk import WorkerRecord

LARGEST_RECORD = 4096  # bytes of what a worker reports to have loaded
MOST_RECORDS = 4096
MOST_FILES = 200_000  # of a release's static files
LARGEST_HEADER = 16_384
LARGEST_TAIL = 4 << 20  # bytes of a log
_DEEPEST = 40
_LONGEST_NAME = 255
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SAFE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


# ----------------------------------------------------------------------------- records of workers


def worker_records(app: str) -> list[WorkerRecord]:
    """What the living workers of the application's unit report to have loaded.

    Each record has the texts `fingerprint` and `release`. /run is root's; /run/<app> and all below
    it are the application's. A record counts if it is a small regular file whose name is the
    number of a process in the unit's own control group.
    """
    records = []
    with contextlib.suppress(OSError), _folder(places.ROOT / "run", app, "workers") as workers:
        with os.scandir(workers) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST_RECORDS)]
        for name in names:
            if not _is_worker(name, f"{app}.service"):
                continue
            record = _record(_small_file(workers, name))
            if record is not None:
                records.append(record)
    return records


def _is_worker(name: str, unit: str) -> bool:
    """Whether the name is the number of a process of the unit."""
    if not name.isascii() or not name.isdigit() or len(name) > 8:
        return False
    return _in_unit(int(name), unit)


@contextlib.contextmanager
def _folder(roots: Path, *names: str) -> Iterator[int]:
    """A descriptor of a folder below `roots`, which is root's; none of `names` may be a link."""
    descriptor = os.open(str(roots), _FOLDER)
    try:
        for name in names:
            inner = os.open(name, _SAFE | os.O_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _small_file(folder: int, name: str) -> bytes:
    """The content of a small regular file, or nothing."""
    try:
        descriptor = os.open(name, _SAFE, dir_fd=folder)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_RECORD:
            return b""
        return os.read(descriptor, LARGEST_RECORD)
    finally:
        os.close(descriptor)


def _record(text: bytes) -> WorkerRecord | None:
    """The record in a worker's file; None for anything else."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    fingerprint, release = data.get("fingerprint"), data.get("release")
    if not isinstance(fingerprint, str) or not isinstance(release, str):
        return None
    return {"fingerprint": fingerprint, "release": release}


def _in_unit(process: int, unit: str) -> bool:
    """Whether systemd counts the process among the unit's.

    Below another root (in tests) every living process counts.
    """
    if Path("/") != places.ROOT:
        return Path(f"/proc/{process}").exists()
    try:
        lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    except OSError:
        return False
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers in ("", "name=systemd") and unit in group.split("/"):
            return True
    return False


# --------------------------------------------------------------------------------------------- logs


def tail(folder: Path, name: str, most: int) -> list[str]:
    """The last lines of a file in a folder of root's, at most `most` and LARGEST_TAIL bytes.

    No lines where there is no such file; one that says so where it is no regular file.
    """
    try:
        with _folder(folder) as opened:
            descriptor = os.open(name, _SAFE, dir_fd=opened)
    except FileNotFoundError:
        return []
    except OSError as problem:
        return [f"{folder / name} is not shown: {problem.strerror}"]
    with os.fdopen(descriptor, "rb") as source:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return [f"{folder / name} is not shown: it is no regular file"]
        begin = max(0, status.st_size - LARGEST_TAIL)
        source.seek(begin)
        lines = source.read(LARGEST_TAIL).decode(errors="replace").split("\n")
    if begin:
        lines = lines[1:]  # the first one may begin in its middle
    return [line for line in lines if line][-most:]


# ------------------------------------------------------------------------------------- static files


def receive(source: BinaryIO, folder: Path) -> None:
    """Write what `as_user/static_files.py` sent to `folder`, which is new and root's.

    Only regular files are written, only inside, with mode 0644. Whoever wrote `source` is not
    trusted: raises Failed for anything that static_files.py would not send.
    """
    for count in range(MOST_FILES + 1):
        path, size = _header(source)
        if not path:
            if size != count:
                raise _broken("the end is missing")
            return
        with _created(folder / _inside(path), path) as out:
            _copy(source, out, size)
    raise Failed(
        f"collectstatic leaves more than {MOST_FILES} files, the most that a release may have;"
        " serve them from another place, then ship again"
    )


def _created(place: Path, path: str) -> BinaryIO:
    """A new file at `place`, with its folders. Raises Failed where there is one already."""
    try:
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(str(place), _NEW, 0o644)
    except (FileExistsError, NotADirectoryError):
        raise _broken(f"{path!r} comes twice") from None
    return os.fdopen(descriptor, "wb")


def _header(source: BinaryIO) -> tuple[str, int]:
    """The next file's name and size; for the end "" and the number of files."""
    try:
        path, size = json.loads(source.readline(LARGEST_HEADER))
    except (ValueError, TypeError, RecursionError):
        raise _broken("no file where one should begin") from None
    if not isinstance(path, str) or type(size) is not int or size < 0:
        raise _broken("no name or no size")
    return path, size


def _inside(path: str) -> PurePosixPath:
    """`path` where it stays inside the folder. Raises Failed for others."""
    parts = path.split("/")
    shown = path[:80]
    if len(parts) > _DEEPEST:
        raise _broken(f"the name {shown!r} has too many folders")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part:
            raise _broken(f"the name {shown!r}")
        if len(os.fsencode(part)) > _LONGEST_NAME:
            raise _broken(f"the name {shown!r} is too long")
    return PurePosixPath(path)


def _copy(source: BinaryIO, out: BinaryIO, size: int) -> None:
    while size:
        data = source.read(min(size, 1 << 20))
        if not data:
            raise _broken("a file is incomplete")
        out.write(data)
        size -= len(data)


def _broken(what: str) -> Failed:
    return Failed(
        f"the static files did not arrive completely ({what}): collectstatic was killed, or another"
        " process of the application's user interferes with it; ship again"
    )


# ------------------------------------------------------------------------------------------ answers


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the time is up.

    A socket's own time-out is not enough: it starts again with every byte that arrives.
    """

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"no complete answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
