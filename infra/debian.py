"""Debian's releases that hosts may have, and what comes with each. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """A release by its code name, as the config's `image` has it."""

    name: str
    number: int
    python: tuple[int, int]
    glibc: str

    def __str__(self) -> str:
        return f"Debian {self.number}"


RELEASES = {one.name: one for one in (Release("trixie", 13, (3, 13), "2.41"), Release("bookworm", 12, (3, 11), "2.36"))}
DEFAULT = "trixie"  # of new hosts on the clouds; a local machine has its host's own


def of(python: str, glibc: str) -> Release | None:
    """The release with this Python (major.minor) and C library; None for one that the kit knows nothing about."""
    found = (one for one in RELEASES.values() if ("{}.{}".format(*one.python), one.glibc) == (python, glibc))
    return next(found, None)
