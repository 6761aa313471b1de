"""What `fab status` says of the commands that run at times of their own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from on_host.answers import TimerState
from rollout import report

HEADINGS = ("timer", "host", "last run", "result", "next run")
_WORDS = {
    "success": "done",
    "timeout": "ended by its time limit",
    "oom-kill": "ended for want of memory",
    "signal": "ended by a signal",
    "core-dump": "crashed",
}


def rows(host: str, timers: Mapping[str, TimerState]) -> list[tuple[str, ...]]:
    """One row for each timer of a host, under HEADINGS."""
    found: list[tuple[str, ...]] = []
    for unit, state in timers.items():
        found.append((unit, host, _last(state), _result(state), _next(state)))
    return found


def problem(timers: Mapping[str, TimerState]) -> str:
    """The commands whose last run failed, with the next step; "" where none did."""
    failed = []
    for unit, state in timers.items():
        if _has_failed(state):
            failed.append(f"{unit}: its last run, {_last(state)}, {_result(state)}")
    if not failed:
        return ""
    return f"{'; '.join(failed)}: see `fab logs`; the next run that ends well clears this"


def _has_failed(state: TimerState) -> bool:
    return state["ended"] > 0 and not state["running"] and state["result"] != "success"


def _last(state: TimerState) -> str:
    if state["running"]:
        return "now"
    if not state["ended"]:
        return "none since the host started"
    return report.moment(datetime.fromtimestamp(state["ended"], UTC))


def _next(state: TimerState) -> str:
    """systemd plans the next run when the one before has ended."""
    return "after this one" if state["running"] else state["next"] or "never"


def _result(state: TimerState) -> str:
    if state["running"]:
        return "running"
    if not state["ended"]:
        return ""
    if state["result"] == "exit-code":
        return f"failed with status {state['status']}"
    return _WORDS.get(state["result"], state["result"])
