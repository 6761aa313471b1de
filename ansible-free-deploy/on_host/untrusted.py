"""Read what the application wrote, as root: never by path, never without a bound, never waiting for
it.

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
from typing import Any, BinaryIO, Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host import places
from on_host.orders import Json
from on_host.runtime import Failed

LARGEST_RECORD = 4096  # bytes of what a worker says it loaded
MOST_RECORDS = 4096
MOST_FILES = 200_000  # of a release's static files
LARGEST_HEADER = 16_384
LARGEST_TAIL = 4 << 20  # bytes of a log
_DEEPEST = 40
_LONGEST_NAME = 255
_SAFE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


# --------------------------------------------------------------------------------- what workers say


def worker_records(app: str) -> list[Json]:
    """What the living workers of the application's unit say that they loaded: `fingerprint` and
    `release`, texts.

    /run is root's; /run/<app> and all below it are the application's. A record counts if it is a
    small regular file whose name is the number of a process in the unit's own control group.
    """
    found = []
    with contextlib.suppress(OSError), _folder(places.ROOT / "run", app, "workers") as workers:
        with os.scandir(workers) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST_RECORDS)]
        for name in names:
            if (
                name.isascii()
                and name.isdigit()
                and len(name) < 9
                and _in_unit(int(name), f"{app}.service")
            ):
                record = _record(_small_file(workers, name))
                if record is not None:
                    found.append(record)
    return found


@contextlib.contextmanager
def _folder(roots: Path, *names: str) -> Iterator[int]:
    """A descriptor of a folder below `roots`, which is root's; none of `names` may be a link."""
    descriptor = os.open(str(roots), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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
        found = os.fstat(descriptor)
        fits = stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST_RECORD
        return os.read(descriptor, LARGEST_RECORD) if fits else b""
    finally:
        os.close(descriptor)


def _record(text: bytes) -> Json | None:
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    record = {key: data.get(key) for key in ("fingerprint", "release")}
    return record if all(isinstance(value, str) for value in record.values()) else None


def _in_unit(process: int, unit: str) -> bool:
    """Whether systemd counts the process among the unit's; below another root (in tests), whether
    it lives."""
    if Path("/") != places.ROOT:
        return Path(f"/proc/{process}").exists()
    try:
        lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    except OSError:
        return False
    groups = [
        line.split(":", 2)[2] for line in lines if line.split(":", 2)[1] in ("", "name=systemd")
    ]
    return any(unit in group.split("/") for group in groups)


# ------------------------------------------------------------------------------------- what it logs


def tail(folder: Path, name: str, most: int) -> list[str]:
    """The last lines of a file in a folder of root's, at most `most` and LARGEST_TAIL bytes; none
    where there is no such file, and one that says so where it is no regular file."""
    try:
        with _folder(folder) as opened:
            descriptor = os.open(name, _SAFE, dir_fd=opened)
    except FileNotFoundError:
        return []
    except OSError as problem:
        return [f"{folder / name} is not shown: {problem.strerror}"]
    with os.fdopen(descriptor, "rb") as source:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return [f"{folder / name} is not shown: it is no regular file"]
        begin = max(0, found.st_size - LARGEST_TAIL)
        source.seek(begin)
        lines = source.read(LARGEST_TAIL).decode(errors="replace").split("\n")
        return [line for line in lines[1 if begin else 0 :] if line][-most:]


# ------------------------------------------------------------------------------- what it hands over


def receive(source: BinaryIO, folder: Path) -> None:
    """Write what `as_user/static_files.py` sent to `folder`, which is new and root's: only regular
    files, only inside, mode 0644.

    Whoever wrote `source` is not trusted: Failed for anything that it would not send.
    """
    for count in range(MOST_FILES + 1):
        path, size = _header(source)
        if not path:
            if size != count:
                raise _broken("the end is missing")
            return
        place = folder / _inside(path)
        try:
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(
                str(place), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644
            )
        except (FileExistsError, NotADirectoryError):
            raise _broken(f"{path!r} comes twice") from None
        with os.fdopen(descriptor, "wb") as out:
            _copy(source, out, size)
    raise Failed(f"collectstatic leaves more than {MOST_FILES} files; serve them from elsewhere")


def _header(source: BinaryIO) -> tuple[str, int]:
    try:
        path, size = json.loads(source.readline(LARGEST_HEADER))
    except (ValueError, TypeError, RecursionError):
        raise _broken("no file where one should begin") from None
    if not isinstance(path, str) or type(size) is not int or size < 0:
        raise _broken("no name or no size")
    return path, size


def _inside(path: str) -> PurePosixPath:
    parts = path.split("/")
    if len(parts) > _DEEPEST or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise _broken(f"the name {path[:80]!r}")
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise _broken(f"the name {path[:80]!r} is too long")
    return PurePosixPath(path)


def _copy(source: BinaryIO, out: BinaryIO, size: int) -> None:
    while size:
        data = source.read(min(size, 1 << 20))
        if not data:
            raise _broken("a file is cut short")
        out.write(data)
        size -= len(data)


def _broken(what: str) -> Failed:
    return Failed(
        f"the static files did not arrive whole ({what}): collectstatic was killed, or a process of"
        " the application's user tampers with it; ship again"
    )


# ---------------------------------------------------------------------------------- what it answers


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TimeoutError when the time is up: a time-out of a socket begins again with every byte
    that drips in."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"no whole answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
