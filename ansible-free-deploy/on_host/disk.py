"""Why this host's disks or memory refuse something, in words for a person."""

from __future__ import annotations

import contextlib
import errno
import os

from on_host import places
from on_host.orders import ORDERS

_FULL_BELOW = 1 << 20
_PLACES = ("etc/origin-kit", "opt/{app}", "var/lib/{app}", "var/log", "run", "tmp", "")


def full() -> str:
    """Which of the file systems that the kit writes to has no room left, and of what kind; empty
    where all have."""
    seen: dict[int, str] = {}
    for place in _PLACES:
        path = places.ROOT / place.format(app=ORDERS.get("app", ""))
        with contextlib.suppress(OSError):
            found, device = os.statvfs(str(path)), path.stat().st_dev
            if text := _lacks(found):
                seen.setdefault(device, f"{path}: {text}")
    return "; ".join(seen.values())


def _lacks(found: os.statvfs_result) -> str:
    free = found.f_bavail * found.f_frsize
    if free < _FULL_BELOW:
        return f"{free >> 10} KiB free"
    if found.f_files and not found.f_favail:
        return f"{free >> 20} MiB free, but no inodes: no room for another file, however small"
    return ""


_noted: list[str] = []


def note_full() -> None:
    """Remember what is full, before what filled it is cleared away."""
    if not _noted and (found := full()):
        _noted.append(found)


def trouble(problem: OSError, where: object) -> str:
    """What this host's system refuses, and what to do about it; `where` if the system names no
    place."""
    place = problem.filename or where
    if problem.errno == errno.ENOSPC:
        found = (_noted or [full()])[0]
        if found:
            return f"the disk is full ({found}); make room, then run this again"
        return (
            f"no room for {place}, though no disk is full now: `df -h`, `df -i` and quotas on the"
            " host tell"
        )
    if problem.errno == errno.EDQUOT:
        return (
            f"the disk quota of root is used up ({place}); raise it or make room, then run this"
            " again"
        )
    if problem.errno == errno.EROFS:
        return f"{place} is on a read-only file system; see `dmesg` on the host"
    if problem.errno == errno.EIO:
        return f"the disk fails at {place}; see `dmesg` on the host"
    if problem.errno in (errno.ENOMEM, errno.EAGAIN):
        return "the host is out of memory or processes; see `free -h` there, then run this again"
    if problem.errno in (errno.EMFILE, errno.ENFILE):
        return "the host has too many files open; see `lsof | wc -l` there, then run this again"
    return f"{place}: {problem.strerror or problem}; run this again"
