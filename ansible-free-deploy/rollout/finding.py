"""A finding: one thing that is wrong or has to be decided, and what to do about it. `fab adopt` and
`fab doctor` report findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

GUIDE = "docs/cors-errors.md"


class Kind(IntEnum):
    """What a finding is about. A finding can only follow from one of a smaller kind."""

    NOTHING = 0  # nothing answers at all
    HOST = 1  # a host can't be asked
    NAME = 2  # a name leads to another machine
    NO_RELEASE = 3
    STOPPED = 4  # a service does not run
    DRIFT = 5  # files or processes are not what the contract says
    FAILS = 6  # something answers 5xx
    SILENT = 7  # no answer to a question
    CORS = 8  # a browser lets a page read what it should not, or the other way round
    OTHER = 9


@dataclass(frozen=True)
class Finding:
    """What is wrong, and what to do.

    `where` is a place in a file (`path:line`) or empty. `anchor` is a heading of GUIDE or empty. A
    `warning` leaves the exit status at 0. `places` are the views that show the problem, `reach` are
    the views in which other findings may follow from it, and `follows` are those findings.
    """

    text: str
    where: str = ""
    cure: str = ""
    anchor: str = ""
    warning: bool = False
    kind: Kind = field(default=Kind.OTHER, compare=False)
    places: frozenset[str] = field(default=frozenset(), compare=False)
    reach: frozenset[str] = field(default=frozenset(), compare=False)
    follows: tuple[Finding, ...] = ()

    @property
    def link(self) -> str:
        """Where the guide explains it, or empty."""
        if not self.anchor:
            return ""
        return f"{GUIDE}#{self.anchor}"

    def __str__(self) -> str:
        """The text with its place in a file, and the cure on the next line."""
        place = f" ({self.where})" if self.where else ""
        return f"{self.text}{place}\n     → {self.cure}"
