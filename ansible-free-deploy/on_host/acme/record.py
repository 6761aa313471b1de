"""What became of this host's certificates: for `fab status`, and to count what the CA limits."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

from on_host.acme.paths import RECORD
from on_host.files import write_durably

if TYPE_CHECKING:
    from on_host.answers import Renewal

CHECK_EVERY_S = 6 * 3600
_WEEK_S = 7 * 86_400
_FORGET_S = 60 * 86_400


def of(lineage: str) -> Renewal | None:
    """What was noted of a certificate; None where nothing was."""
    return _all().get(lineage)


def note(
    lineage: str,
    result: str,
    text: str = "",
    retry_after: str = "",
) -> None:
    """Note a check. `result`: "issued", "kept" or "failed"; `text` is why it has failed."""
    now = int(time.time())
    everything = _all()
    before = everything.get(lineage)
    issued = list(before["issued"]) if before else []
    failed = list(before["failed"]) if before else []
    if result == "issued":
        issued.append(now)
    if result == "failed":
        failed.append(now)
    everything[lineage] = {
        "checked": now,
        "next": now + CHECK_EVERY_S,
        "result": result,
        "text": text,
        "retry_after": retry_after,
        "issued": [at for at in issued if at > now - _WEEK_S],
        "failed": [at for at in failed if at > now - _WEEK_S],
    }
    recent = {
        name: renewal
        for name, renewal in everything.items()
        if renewal["checked"] > now - _FORGET_S
    }
    write_durably(RECORD, (json.dumps(recent, indent=1) + "\n").encode())


def _all() -> dict[str, Renewal]:
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, Renewal] = json.loads(RECORD.read_text())
        return found
    return {}
