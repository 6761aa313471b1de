"""What a person reads of a move: in `fab status`, `fab plan`, and while it is made. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from infra.core.contract import Contract
from on_host.answers import Origins
from on_host.moving import can_move

NEXT = "`fab move` finishes it, `fab move --undo` goes back"


def former_of(origins: Origins | None) -> tuple[str, ...]:
    """The former origins that a host still answers at; none where no move is under way."""
    if origins is None:
        return ()
    former: list[str] = []
    for role in (origins["frontend"], origins["backend"]):
        former += role.get("former", ())
    return tuple(dict.fromkeys(former))


def state(origins: Origins | None) -> str:
    """A host's state while a move is under way, in a table; empty where none is."""
    return f"a move is under way: {NEXT}" if former_of(origins) else ""


def under_way(origins: Origins | None) -> str:
    """Where a move is, and what ends it; empty where none is under way."""
    former = former_of(origins)
    if origins is None or not former:
        return ""
    page = origins["frontend"]
    answered = f"{', '.join(former)} answered as well"
    if page.get("redirects_former"):
        answered = f"{answered}, visitors led to the new page"
    return f"a move to {page['origin']} is under way ({answered}): {NEXT}"


def before_a_deploy(contract: Contract, answers: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a plain `fab deploy` would do to pages that are open: at most one line. `answers` are
    what the hosts report, each with its `origins`."""
    for answer in answers:
        origins: Origins | None = answer.get("origins")
        if origins is None:
            continue
        former = former_of(origins)
        if former:
            return [
                f"{under_way(origins)}; `fab deploy` or `fab up` would end it at once:"
                f" {', '.join(former)} would no longer be answered"
            ]
        line = _moved(contract, origins)
        if line:
            return [line]
    return []


def _moved(contract: Contract, origins: Origins) -> str:
    pairs = [
        (origins["frontend"]["origin"], contract.frontend.origin),
        (origins["backend"]["origin"], contract.backend.origin),
    ]
    changed = [(old, new) for old, new in pairs if old != new]
    if not changed:
        return ""
    changes = ", ".join(f"{old} → {new}" for old, new in changed)
    left = (
        f"{changes}: with `fab deploy` pages that are open at the old origin are refused from then"
        " on"
    )
    if not can_move([old for old, _ in changed], [new for _, new in changed]):
        return left
    return f"{left}; `fab move` answers both meanwhile"
