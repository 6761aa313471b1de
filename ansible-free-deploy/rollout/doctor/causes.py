"""Findings, and which of them only follow from another: one root cause is one finding. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
    """What is wrong and what mends it; `anchor` is a heading of the guide. A `warning` leaves the
    status at 0.

    `places` is where it was seen, `reach` where something may be seen that only follows from it,
    `follows` what does.
    """

    text: str
    cure: str
    anchor: str = ""
    warning: bool = False
    kind: Kind = field(default=Kind.OTHER, compare=False)
    places: frozenset[str] = field(default=frozenset(), compare=False)
    reach: frozenset[str] = field(default=frozenset(), compare=False)
    follows: tuple[Finding, ...] = ()

    @property
    def link(self) -> str:
        return f"{GUIDE}#{self.anchor}" if self.anchor else ""


# What may follow from a finding of each kind, within its reach.
_EXPLAINS: dict[Kind, frozenset[Kind]] = {
    Kind.HOST: frozenset({Kind.SILENT}),
    Kind.NAME: frozenset({Kind.SILENT, Kind.FAILS, Kind.CORS}),
    Kind.NO_RELEASE: frozenset({Kind.STOPPED, Kind.FAILS, Kind.SILENT, Kind.CORS}),
    Kind.STOPPED: frozenset({Kind.FAILS, Kind.SILENT, Kind.CORS}),
    Kind.DRIFT: frozenset({Kind.CORS}),
    Kind.FAILS: frozenset({Kind.SILENT, Kind.CORS}),
}


def by_cause(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Root causes, what is wrong before what is only worth knowing; what follows from one is listed
    under it."""
    ordered = sorted(dict.fromkeys(found), key=lambda one: (one.warning, one.kind))
    roots: list[Finding] = []
    under: dict[Finding, list[Finding]] = {}
    for one in ordered:
        cause = next((root for root in roots if _explains(root, one)), None)
        if cause:
            under[cause].append(one)
        else:
            roots.append(one)
            under[one] = []
    return tuple(replace(root, follows=tuple(under[root])) for root in roots)


def _explains(root: Finding, one: Finding) -> bool:
    if root.kind is Kind.NOTHING:
        return one.kind in (Kind.HOST, Kind.SILENT) or (
            one.kind is Kind.NAME and one.warning
        )  # unknown without a network
    return one.kind in _EXPLAINS.get(root.kind, ()) and bool(root.reach & one.places)
