"""What a person reads of the previews that are attached to an environment, in `fab status` and
`fab plan`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from infra.core.contract import Contract

ENDS = "run `fab preview.sweep` or `fab deploy`"


def lines(contract: Contract, answers: Iterable[Mapping[str, Any]]) -> list[str]:
    """The previews that are attached, and what the hosts still or not yet answer. `contract` is the
    wanted one; `answers` are what the hosts report, each with its `origins`."""
    found = []
    if contract.attached:
        found.append(f"attached previews: {named(contract.attached)}")
    held = [attached for attached in map(held_by, answers) if attached is not None]
    for name, origin in _each(held):
        if contract.attached.get(name) != origin:
            found.append(gone(name, origin))
    for name, origin in contract.attached.items():
        if held and not all(attached.get(name) == origin for attached in held):
            found.append(
                f"{name} ({origin}) is attached, and not every backend answers it yet: run `fab"
                " deploy`"
            )
    return found


def gone(name: str, origin: str) -> str:
    """A preview that is no longer there, or no longer at this origin, and is answered."""
    return f"the preview {name} ({origin}) is gone, and the backend still answers it: {ENDS}"


def named(attached: Mapping[str, str]) -> str:
    """Previews with their origins, on one line."""
    return ", ".join(f"{name} ({origin})" for name, origin in attached.items())


def held_by(answer: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The previews that a backend host answers; None where it does not say, as a frontend does
    not."""
    origins = answer.get("origins") or {}
    attached: Mapping[str, str] | None = origins.get("attached")
    return attached


def _each(held: Iterable[Mapping[str, str]]) -> Iterable[tuple[str, str]]:
    """Each preview that any host answers, once."""
    return dict.fromkeys(pair for attached in held for pair in attached.items())
