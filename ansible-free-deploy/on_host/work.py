"""What every change does around its own part: the lock, the outcome in the audit, the last event."""

from __future__ import annotations

import time
from typing import Callable  # noqa: UP035 - Python 3.9 on hosts

from on_host import journal, replacement, two_phase
from on_host.audit import STARTED
from on_host.lock import take_lock
from on_host.orders import Json
from on_host.runtime import Failed, emit, last_lines, phases


def under_the_lock(work: Callable[[], Json]) -> Json:
    """`work` with the host's lock held. It is given back and taken again where the coordinator wants that."""
    while True:
        try:
            with take_lock():
                replacement.refuse()
                return work()
        except two_phase.Yield:
            two_phase.wait_until_unlocked()


def kind_of(problem: Exception) -> str:
    """How the audit calls a change that did not come about."""
    if isinstance(problem, two_phase.InDoubt):
        return "in doubt"
    return "left alone" if isinstance(problem, two_phase.LeftAlone) else "failed"


def report(result: Json) -> None:
    """The last event of a run that has changed something, or found nothing to change."""
    emit(result={**result, "phases": phases, "seconds": round(time.monotonic() - STARTED, 3)})


def report_failure(failure: Failed) -> None:
    """The last event of a run that has failed."""
    emit(
        error=str(failure),
        detail=last_lines(failure.detail, 20),
        left_alone=isinstance(failure, two_phase.LeftAlone),
        in_doubt=journal.in_doubt(),
    )
