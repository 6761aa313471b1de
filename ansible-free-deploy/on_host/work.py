"""What every change does around its own part: the lock, the outcome in the audit, the last
event."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable, Mapping  # noqa: UP035 - Python 3.9 on hosts

from on_host import journal, places, replacement, restoring, two_phase
from on_host.audit import STARTED
from on_host.disk import trouble
from on_host.lock import take_lock
from on_host.runtime import ChangedMeanwhile, Failed, emit, last_lines, phases, send_heartbeats

if TYPE_CHECKING:
    from typing import TypeVar

    from on_host.answers import CertifyAnswer, DeployAnswer, RestoredAnswer, ShipAnswer

    Result = TypeVar("Result")


def under_the_lock(work: Callable[[], Result]) -> Result:
    """`work` with the host's lock held. It is given back and taken again where the coordinator
    wants that."""
    while True:
        try:
            with take_lock():
                replacement.refuse()
                restoring.settle()
                return work()
        except two_phase.Yield:
            two_phase.wait_until_unlocked()


def print_answer(
    look: Callable[[], Mapping[str, object]], explain: Callable[[OSError], str]
) -> int:
    """Have a question answered; the status of this process. `explain` is as in `ended`."""

    def answer() -> int:
        send_heartbeats()
        emit({"result": look()})
        return 0

    return ended(answer, explain)


def ended(whole: Callable[[], int], explain: Callable[[OSError], str]) -> int:
    """The status of this process after `whole` of what a verb does. What fails is reported, with
    `explain` for what the system refuses."""
    try:
        return whole()
    except Failed as problem:
        report_failure(problem)
    except OSError as problem:
        emit({"error": explain(problem), "detail": ""})
    return 1


def still_serves(problem: OSError) -> str:
    """What the system refuses, where the configuration is as it was."""
    return f"{trouble(problem, places.KIT)}; the host serves what it served"


def kind_of(problem: Exception) -> str:
    """How the audit calls a change that did not come about."""
    if isinstance(problem, two_phase.InDoubt):
        return "in doubt"
    is_left = isinstance(problem, (two_phase.LeftAlone, ChangedMeanwhile))
    return "left alone" if is_left else "failed"


def report(result: DeployAnswer | ShipAnswer | CertifyAnswer | RestoredAnswer) -> None:
    """The last event of a run that has changed something, or found nothing to change."""
    seconds = round(time.monotonic() - STARTED, 3)
    emit(
        {
            "result": {
                **result,
                "phases": phases,
                "seconds": seconds,
            }
        }
    )


def report_failure(failure: Failed) -> None:
    """The last event of a run that has failed."""
    emit(
        {
            "error": str(failure),
            "detail": last_lines(failure.detail, 20),
            "left_alone": isinstance(failure, two_phase.LeftAlone),
            "in_doubt": journal.in_doubt(),
            "changed_meanwhile": isinstance(failure, ChangedMeanwhile),
        }
    )
