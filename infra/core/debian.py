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

    @property
    def version(self) -> str:
        """Its Python's, e.g. "3.13"."""
        return "{}.{}".format(*self.python)

    def __str__(self) -> str:
        return f"Debian {self.number}"


RELEASES = {
    "trixie": Release("trixie", 13, (3, 13), "2.41"),
    "bookworm": Release("bookworm", 12, (3, 11), "2.36"),
}
DEFAULT = "trixie"  # of new hosts on the clouds; a local machine has its host's own


def of(python: str, glibc: str) -> Release | None:
    """The release with this Python (major.minor) and C library; None for one that the kit knows
    nothing about."""
    for release in RELEASES.values():
        if (release.version, release.glibc) == (python, glibc):
            return release
    return None


def meets(release: Release, wanted: str) -> bool:
    """Whether this Debian's Python is one of those. Its patch release is not known here: the
    highest counts."""
    # Slow to import, and every verb reads this module.
    from packaging.specifiers import SpecifierSet

    specifiers = SpecifierSet(wanted)
    highest = f"{release.version}.99"
    return specifiers.contains(release.version) or specifiers.contains(highest)


def fitting(wanted: str) -> Release | None:
    """The newest release whose Python is one of those."""
    for release in RELEASES.values():
        if meets(release, wanted):
            return release
    return None
