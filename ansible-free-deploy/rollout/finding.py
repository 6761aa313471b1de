"""A finding: one thing that is wrong or has to be decided, and what to do about it. `fab adopt` and
`fab doctor` report findings."""

from __future__ import annotations

from dataclasses import dataclass, field

GUIDE = "docs/cors-errors.md"


@dataclass(frozen=True)
class Finding:
    """What is wrong, and what to do.

    `where` is a place in a file (`path:line`) or empty. `code` is a stable name of what was found,
    empty where there is none yet. `anchor` is a heading of GUIDE, or of another page of docs/ with
    the page's name (`operating.md#exit-status`), or empty. A `warning` leaves the exit status at 0.
    `places` are where the problem shows, `reach` is where other findings may follow from it (both
    as doctor/checks/places.py names them), and `follows` are those findings.
    """

    text: str
    where: str = ""
    cure: str = ""
    code: str = ""
    anchor: str = ""
    warning: bool = False
    places: frozenset[str] = field(default=frozenset(), compare=False)
    reach: frozenset[str] = field(default=frozenset(), compare=False)
    follows: tuple[Finding, ...] = ()

    @property
    def link(self) -> str:
        """Where the documentation explains it, or empty."""
        if "#" in self.anchor:
            return f"docs/{self.anchor}"
        if not self.anchor:
            return ""
        return f"{GUIDE}#{self.anchor}"

    def __str__(self) -> str:
        """The text with its place in a file, and the cure on the next line."""
        place = f" ({self.where})" if self.where else ""
        return f"{self.text}{place}\n     → {self.cure}"
