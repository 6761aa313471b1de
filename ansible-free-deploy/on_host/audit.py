"""The record of what was changed on this host: one JSON line for each change, its outcome and who
made it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from on_host import places
from on_host.files import json_lines
from on_host.orders import ORDERS
from on_host.runtime import hide

if TYPE_CHECKING:
    from on_host.answers import AuditLine

AUDIT = places.ROOT / "var/log/origin-kit/audit.jsonl"
STARTED = time.monotonic()


def write(
    result: str,
    what: str | None,
    kind: str,
    more: AuditLine | None = None,
) -> None:
    """One line in the host's history. `what` is the generation, the release or the certificate's
    lineage that it is about; `more` are further keys of the line, or take the place of these."""
    line: AuditLine = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "who": ORDERS["who"],
        "commit": ORDERS.get("commit"),
        "deploy": ORDERS.get("deploy"),
        "kind": kind,
        "result": hide(result),
        "seconds": round(time.monotonic() - STARTED, 3),
    }
    if kind == "configuration":
        line["generation"] = what
    elif kind == "certificate":
        line["lineage"] = what
    else:
        line["release"] = what
    if more:
        line.update(more)
    AUDIT.parent.mkdir(parents=True, exist_ok=True)
    with AUDIT.open("a") as handle:
        os.fchmod(handle.fileno(), 0o600)  # an older kit named digests there that cover secrets
        handle.write(json.dumps(line) + "\n")


def lines() -> list[AuditLine]:
    """The host's history, the first thing first; `number` is each line's place in it."""
    found: list[AuditLine] = []
    for number, line in json_lines(AUDIT):
        line["number"] = number
        found.append(line)
    return found
