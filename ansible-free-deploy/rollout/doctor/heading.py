"""The lines at the top of a report, for the text and the page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rollout.doctor import cells
from rollout.doctor.diagnosis import Diagnosis
from rollout.doctor.observations import Cell, Observations, distinct


def rows(result: Diagnosis) -> list[tuple[str, str]]:
    """Name and value of each: the stack, when it was asked and by which kit, the contract with its
    date, and the counts."""
    contract = result.observed.contract
    kind = "production" if contract.production else "development"
    found = [
        ("stack", f"{contract.environment} ({kind})"),
        ("backend", contract.backend.origin),
    ]
    asked_at = result.about.asked_at
    if asked_at:
        found.append(("asked", f"{in_words(asked_at)}, {_kit(result)}"))
    found.append(("contract", _contract(result)))
    for text in _previews(result.observed):
        found.append(("preview", text))
    found.append(("cells", _cells(result)))
    found.append(("findings", _findings(result)))
    return found


def _contract(result: Diagnosis) -> str:
    """What it allows, and how old it is."""
    cors = result.observed.contract.cors
    text = f"allows {_counted(len(cors.allowed_origins), 'origin')}"
    patterns = len(cors.pattern_texts)
    if patterns:
        text += f" and {_counted(patterns, 'pattern')}"
    dated = result.about.contract_at
    if dated:
        text += f", outputs of {in_words(dated)}"
    return text


def _previews(observed: Observations) -> list[str]:
    """The attached previews, and those that are gone, each with what the backend makes of it."""
    attached = observed.contract.attached
    lines = []
    for name, origin in attached.items():
        lines.append(f"{name} is attached: {origin}")
    for origin, name in observed.gone.items():
        own = [cell for cell in observed.cells if cell.question.row.origin == origin]
        lines.append(f"{name} is gone, {_refusal(own)}: {origin}")
    return lines


def _refusal(asked: Sequence[Cell]) -> str:
    """What became of an origin that has to be refused."""
    if any(cell.readable for cell in asked):
        return "and still allowed"
    if not asked or any(cell.verdict is None for cell in asked):
        return "and not everything answered"
    return "and refused"


def _kit(result: Diagnosis) -> str:
    about = result.about
    parts = ["by origin-kit", about.version] if about.version else ["by origin-kit"]
    if about.commit:
        parts.append(f"at commit {about.commit}")
    return " ".join(parts)


def _cells(result: Diagnosis) -> str:
    """How many, of which views, and what became of them."""
    observed = result.observed
    count = cells.counts(observed.cells)
    origins = distinct(cell.question.row.origin for cell in observed.cells)
    endpoints = distinct(cell.question.endpoint.title for cell in observed.cells)
    factors = [
        _counted(len(origins), "origin"),
        _counted(len(endpoints), "endpoint"),
        _counted(len(observed.views), "view"),
    ]
    asked = " × ".join(factors)
    parts = [f"{count.as_intended} of {count.cells} as intended ({asked})"]
    if count.not_as_intended:
        parts.append(f"{count.not_as_intended} not as intended")
    if count.no_answer:
        parts.append(f"{count.no_answer} without an answer")
    return ", ".join(parts)


def _findings(result: Diagnosis) -> str:
    parts = []
    if result.causes:
        parts.append(_counted(result.causes, "cause"))
    if result.warnings:
        parts.append(_counted(result.warnings, "warning"))
    return ", ".join(parts) or "none"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def in_words(time: str) -> str:
    """A time of RFC 3339 as people read it, to the second: `2026-11-30 11:05:22 UTC`."""
    try:
        parsed = datetime.fromisoformat(time)
    except ValueError:
        return time
    if parsed.tzinfo is None:
        return time
    return f"{parsed.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
