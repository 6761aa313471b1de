"""Debian's releases that hosts may have, and what comes with each. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """A release by its code name, as the config's `image` has it."""

    name: str
    number: int
    python: tuple[int, int]

    @property
    def version(self) -> str:
        """Its Python's, e.g. "3.13"."""
        return "{}.{}".format(*self.python)

    def __str__(self) -> str:
        return f"Debian {self.number}"


RELEASES = {one.name: one for one in (Release("trixie", 13, (3, 13)), Release("bookworm", 12, (3, 11)))}
DEFAULT = "trixie"  # of new hosts on the clouds; a local machine has its host's own
