"""The commands that run at times of their own: whether systemd understands when, and how the last
run ended."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from on_host.runtime import Failed, run

if TYPE_CHECKING:
    from on_host.answers import TimerState
    from on_host.generations import GenerationHead

SERVICE = "timers"  # as a service of a generation
_PROPERTIES = (
    "Id,ActiveState,Result,ExecMainStatus,ExecMainExitTimestampMonotonic,NextElapseUSecRealtime"
)


def service_of(timer: str) -> str:
    """The unit that a timer starts."""
    return timer[: -len(".timer")] + ".service"


def check(staged: Path, code: str) -> None:
    """Raise Failed where a staged timer has a time that this host's systemd does not understand, or
    the release in the folder `code` lacks its program."""
    application = json.loads((staged / "contract.json").read_text()).get("application", {})
    for name, timer in sorted(application.get("timers", {}).items()):
        parsed = run("systemd-analyze", "calendar", "--", timer["at"])
        if parsed.returncode:
            raise Failed(
                f"timers: {name}: systemd does not understand {timer['at']!r} as a time; try"
                f" `systemd-analyze calendar` on a host; nothing was changed",
                parsed.stdout,
            )
        program = timer["run"].split()[0]
        if program.startswith("/") or program == "manage.py":
            there = Path(code, "app/manage.py") if program == "manage.py" else Path(program)
        else:
            there = Path(code, "venv/bin", program)
        if not there.exists():
            raise Failed(
                f"timers: {name}: {program} is neither in the release nor on the host; add the"
                " package that has it to the requirements and run `fab ship`; nothing was changed"
            )


def look(generation: GenerationHead) -> dict[str, TimerState]:
    """How the last run of each timer's command ended, by the timer's unit."""
    timers = list(generation["units"].get(SERVICE, ()))
    if not timers:
        return {}
    names = [*timers, *map(service_of, timers)]
    shown = run("systemctl", "show", "-p", _PROPERTIES, *names)
    found: dict[str, dict[str, str]] = {}
    for text in shown.stdout.split("\n\n"):
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        found[values.get("Id", "")] = values
    states = {}
    for timer in timers:
        states[timer] = _state(found.get(service_of(timer), {}), found.get(timer, {}))
    return states


def _state(service: dict[str, str], timer: dict[str, str]) -> TimerState:
    ended = int(service.get("ExecMainExitTimestampMonotonic") or 0) / 1e6
    return {
        "running": service.get("ActiveState") == "activating",
        "ended": time.time() - time.monotonic() + ended if ended else 0.0,
        "result": service.get("Result", ""),
        "status": int(service.get("ExecMainStatus") or 0),
        "next": timer.get("NextElapseUSecRealtime", ""),
    }
