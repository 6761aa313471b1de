"""Why this host's disks or memory refuse an operation, as a sentence with the next step."""

from __future__ import annotations

import contextlib
import errno
import os

from on_host import places
from on_host.orders import ORDERS

_FULL_BELOW = 1 << 20  # bytes
_PLACES = ("etc/origin-kit", "opt/{app}", "var/lib/{app}", "var/log", "run", "tmp", "")


def full() -> str:
    """Which of the file systems that the kit writes to are full, and what they lack.

    Empty where none is full.
    """
    by_device: dict[int, str] = {}
    for place in _PLACES:
        path = places.ROOT / place.format(app=ORDERS.get("app", ""))
        with contextlib.suppress(OSError):
            lack = _lack(os.statvfs(str(path)))
            device = path.stat().st_dev
            if lack:
                by_device.setdefault(device, f"{path}: {lack}")
    return "; ".join(by_device.values())


def _lack(status: os.statvfs_result) -> str:
    """What a file system lacks: bytes, inodes, or nothing ("")."""
    free = status.f_bavail * status.f_frsize
    if free < _FULL_BELOW:
        return f"{free >> 10} KiB free"
    if status.f_files and not status.f_favail:
        return f"{free >> 20} MiB free, but no inodes, so that no file can be added"
    return ""


_noted: list[str] = []


def note_full() -> None:
    """Remember what is full, before unfinished files are removed and make room."""
    if _noted:
        return
    text = full()
    if text:
        _noted.append(text)


_MEMORY = "the host is out of memory or processes; see `free -h` there, then run this again"
_FILES = "the host has too many files open; see `lsof | wc -l` there, then run this again"
_REFUSALS = {
    errno.EDQUOT: (
        "the disk quota of root is used up ({place}); raise it or make room, then run this again"
    ),
    errno.EROFS: (
        "{place} is on a read-only file system; see `dmesg` on the host, then run this again"
    ),
    errno.EIO: (
        "the disk fails at {place}; see `dmesg` on the host and replace the disk, then run this"
        " again"
    ),
    errno.ENOMEM: _MEMORY,
    errno.EAGAIN: _MEMORY,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
}


def trouble(problem: OSError, where: object) -> str:
    """What this host's system refuses, and what to do about it.

    `where` is named where the system names no place.
    """
    place = problem.filename or where
    if problem.errno == errno.ENOSPC:
        return _no_space(place)
    refusal = _REFUSALS.get(problem.errno or 0)
    if refusal:
        return refusal.format(place=place)
    return f"{place}: {problem.strerror or problem}; run this again"


def _no_space(place: object) -> str:
    lack = _noted[0] if _noted else full()
    if lack:
        return f"the disk is full ({lack}); make room, then run this again"
    return (
        f"no space left for {place}, although no disk is full now; see `df -h`, `df -i` and the"
        " quotas on the host, then run this again"
    )
