"""Findings, and which of them only follow from another: one root cause is one finding. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rollout.finding import Finding, Kind

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
