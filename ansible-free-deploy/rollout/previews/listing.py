"""`fab preview.list`: every preview with its branch, origin, age, expiry, state and cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from infra.core.contract import Json
from infra.core.owner import owner_of
from rollout import report
from rollout.previews import cost, lifetime
from rollout.previews.living import Known, known
from rollout.previews.making import Template
from rollout.previews.run_records import RunRecords, Sweep

_LATE_H = 48  # a nightly sweep that did not run last night
HEADINGS = ("branch", "state", "origin", "owner", "commit", "updated", "expires", "$ a month")


@dataclass(frozen=True)
class Row:
    """One preview. Times are in UTC, ISO 8601; `expires` is empty for one that never does, or
    nobody knows it; `cost` is USD a month, None where it is unknown."""

    name: str
    branch: str
    state: str
    origin: str
    api: str
    attached_to: str
    owner: str
    commit: str
    updated: str
    expires: str
    keep: bool
    cost: float | None
    problem: str = ""
    checkout: str = ""


def rows(now: datetime) -> tuple[list[Row], Sweep | None]:
    """Every preview, the one that was updated last first, and the last sweep. Raises
    RegistryError, TemplateError."""
    read = Template.read()
    found = [_row(one, read, now) for one in known(read.cloud)]
    found.sort(key=lambda row: row.updated, reverse=True)
    return found, RunRecords.to_read(read.cloud).last_sweep()


def _row(one: Known, read: Template, now: datetime) -> Row:
    noted = one.entry.noted if one.entry else {}
    contract = one.entry.contract if one.entry else None
    end = None if one.keep else one.expires(read.ttl_h)
    attached_to = contract.attached_to if contract and not one.is_vacant else None
    theirs = owner_of(one.stack) if read.cloud == "local" else None
    return Row(
        name=one.stack,
        branch=one.branch,
        state=one.state(now, read.ttl_h),
        origin=contract.frontend.origin if contract else "",
        api=contract.backend.origin if contract else "",
        attached_to=attached_to or "",
        owner=str(noted.get("owner") or ""),
        commit=str(noted.get("commit") or ""),
        updated=one.updated,
        expires=lifetime.stamp(end) if end else "",
        keep=one.keep,
        cost=_cost(one, read.cloud),
        problem=(one.entry.problem if one.entry else "") or "",
        checkout=theirs.checkout if theirs else "",
    )


def _cost(one: Known, cloud: str) -> float | None:
    """What its hosts cost, by the types that its program was run with."""
    contract = one.entry.contract if one.entry else None
    made_from: Json = one.entry.outputs.get("infrastructure") or {} if one.entry else {}
    hosts = len(contract.hosts) if contract else 0
    if contract is None and cloud != "local":
        return None
    region, kind = str(made_from.get("region")), str(made_from.get("machine_type"))
    return cost.a_month(cloud, region, kind, int(made_from.get("disk_gb") or 0), hosts)


# --------------------------------------------------------------------------------------- as a table


def as_text(found: Sequence[Row], swept: Sweep | None, now: datetime) -> str:
    """The table, what can't be read, and when the last sweep ran."""
    lines = ["there is no preview"]
    if found:
        lines = [report.table(HEADINGS, [_cells(row, now) for row in found])]
    for row in found:
        if row.problem:
            lines += ["", f"{row.name}: {row.problem}"]
    if any(row.cost for row in found):
        lines += ["", f"costs are list prices of {cost.AS_OF}, without traffic and taxes"]
    lines += ["", swept_text(swept, now)]
    return "\n".join(lines)


def _cells(row: Row, now: datetime) -> list[str]:
    at = lifetime.parsed(row.updated)
    end = lifetime.parsed(row.expires)
    state = f"{row.state}, attached to {row.attached_to}" if row.attached_to else row.state
    return [
        row.branch or row.name,
        state,
        row.origin or "-",
        row.owner or "-",
        row.commit[:12] or "-",
        f"{lifetime.in_words(now - at)} ago" if at else "-",
        "never (--keep)" if row.keep else _expires(end, now),
        cost.in_words(row.cost),
    ]


def _expires(end: datetime | None, now: datetime) -> str:
    if end is None:
        return "-"
    if end <= now:
        return f"{lifetime.in_words(now - end)} ago"
    return f"in {lifetime.in_words(end - now)}"


def swept_text(swept: Sweep | None, now: datetime) -> str:
    """When the last sweep ran, as far as this computer knows."""
    at = lifetime.parsed(swept.at) if swept else None
    if swept is None or at is None:
        return "nobody sweeps, as far as is known here: run `fab preview.sweep` every night"
    text = f"last sweep {lifetime.in_words(now - at)} ago, by {swept.by}"
    if (now - at).total_seconds() > _LATE_H * 3600:
        text += ": it should run every night"
    return text


# ---------------------------------------------------------------------------------------- as JSON


def as_json(found: Sequence[Row], swept: Sweep | None, now: datetime) -> str:
    """The same for other programs; docs/previews.md has the fields."""
    document: dict[str, Any] = {
        "previews": [_document(row, now) for row in found],
        "swept": asdict(swept) if swept else None,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _document(row: Row, now: datetime) -> Json:
    at = lifetime.parsed(row.updated)
    shown = asdict(row)
    shown["cost_month_usd"] = shown.pop("cost")
    shown["age_s"] = int((now - at).total_seconds()) if at else None
    return shown
