"""Receive the archive that the operator sends, and unpack it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Iterator, NoReturn  # noqa: UP035 - Python 3.9 on hosts

from on_host import handover, links, places
from on_host.files import private_folder
from on_host.orders import ORDERS, SHIP_ORDERS
from on_host.runtime import SILENCE_S, Failed, step

INCOMING = places.ROOT / "var/cache/origin-kit/incoming"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
TOPS = ("app", "site", "wheels")  # folders at the top of a release's archive


def receive() -> Path | None:
    """The operator's archive in a file of root's; None where nothing is sent.

    The host's lock is not needed. Raises Failed for an archive that arrives incomplete or damaged,
    or where the operator stops sending.
    """
    if not SHIP_ORDERS.get("digest"):
        return None
    private_folder(INCOMING)
    forget_arrivals()
    place = INCOMING / str(ORDERS["deploy"])
    digest = hashlib.sha256()
    with place.open("wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for chunk in arriving(SHIP_ORDERS["size"]):
            digest.update(chunk)
            handle.write(chunk)
    if digest.hexdigest() != SHIP_ORDERS["digest"]:
        place.unlink()
        raise Failed("the release arrives incomplete; was the connection cut? ship again")
    return place


def arriving(size: int) -> Iterator[bytes]:
    """At most `size` bytes of the standard input. Raises Failed where nothing comes for a while."""

    def too_long(*_: object) -> None:
        raise Failed(
            f"nothing has arrived from the operator for {SILENCE_S:.0f} s; is the connection down?"
            " ship again"
        )

    signal.signal(signal.SIGALRM, too_long)
    left = size
    while left:
        signal.setitimer(signal.ITIMER_REAL, SILENCE_S)
        chunk = sys.stdin.buffer.read1(min(left, 1 << 18))  # type: ignore[union-attr]
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not chunk:
            return
        left -= len(chunk)
        yield chunk


def forget_arrivals() -> None:
    """Remove the archives of ships that have ended.

    A ship that has not ended has a job, or still writes to its file.
    """
    for place in INCOMING.iterdir():
        # In this order: a ship has its job only after it has written its file.
        if not handover.unlocked(place):
            continue
        if not (handover.JOBS / place.name).exists():
            place.unlink()


def unpack(partial: Path) -> None:
    """Unpack the archive into `partial`.

    Raises Failed for an archive that is incomplete or reaches outside of it.
    """
    step("unpack", f"unpacks release {SHIP_ORDERS['id']}")
    partial.mkdir(parents=True, mode=0o755)
    linked: dict[str, str] = {}
    archive = INCOMING / str(ORDERS["deploy"])
    try:
        with tarfile.open(str(archive), mode="r|gz") as tar:
            for member in tar:
                unpack_one(tar, member, partial, linked)
    except (tarfile.TarError, EOFError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno:
            raise
        raise Failed(f"the archive can't be unpacked ({problem}); ship again") from problem
    make_links(partial, linked)


def unpack_one(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    partial: Path,
    linked: dict[str, str],
) -> None:
    """Write a file of the archive; add a link to `linked` instead."""
    path = inside(member.name)
    place = partial / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        linked[str(path)] = member.linkname
        return
    if not member.isreg():
        raise Failed(
            f"the archive holds {member.name}, which is neither a file nor a link, so it was not"
            " made by this kit; ship again"
        )
    source = tar.extractfile(member)
    mode = 0o755 if member.mode & 0o100 else 0o644
    descriptor = os.open(str(place), _NEW, 0o644)
    with os.fdopen(descriptor, "wb") as handle:
        shutil.copyfileobj(source, handle, 1 << 20)  # type: ignore[arg-type]
        os.fchmod(descriptor, mode)
    os.utime(str(place), (member.mtime, member.mtime))


def make_links(partial: Path, linked: dict[str, str]) -> None:
    """Make the links. Raises Failed for one that leads outside, with every link followed.

    This comes last, so that no file was written through a link.
    """
    for top in TOPS:
        below = {}
        for path, target in linked.items():
            if path.startswith(top + "/"):
                below[path[len(top) + 1 :]] = target
        for path in links.leading_out(below):
            outside(f"{top}/{path} → {below[path]}")
    for path, target in linked.items():
        if "/" not in path or os.path.lexists(str(partial / path)):
            outside(path)
        (partial / path).symlink_to(target)


def inside(name: str) -> PurePosixPath:
    """`name` as a path. Raises Failed where it is not below app, site or wheels."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        outside(name)
    if not path.parts or path.parts[0] not in TOPS:
        outside(name)
    return path


def outside(name: str) -> NoReturn:
    raise Failed(
        f"the archive reaches outside of the release ({name!r}), so it was not made by this kit;"
        " ship again"
    )
