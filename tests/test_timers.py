"""Commands that run at times of their own: what the config takes, what systemd gets, what `fab
status` says."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.core import commands
from infra.core.keys import values
from on_host import claims, places, restoring
from on_host import timers as on_host_timers
from on_host.answers import TimerState
from rollout import timer_report
from rollout.render import timers
from tests.test_render import application, load, rendered, text

NIGHTLY = {"run": "manage.py clearsessions", "at": "daily"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[1]", "'[1]' is not a map of NAME: {run: COMMAND, at: TIME}"),
        ({"Nightly": NIGHTLY}, "'Nightly' is not a timer's name: up to 30 of a-z, 0-9 and -"),
        ({"a" * 31: NIGHTLY}, "is not a timer's name"),
        ({"x-": NIGHTLY}, "'x-' is not a timer's name"),
        ({"x": "daily"}, "x is 'daily'; write it like {run: manage.py clearsessions, at: daily}"),
        ({"x": {"run": "manage.py x"}}, "write it like {run: manage.py clearsessions, at: daily}"),
        ({"x": NIGHTLY | {"every": "1h"}}, "write it like {run:"),
        ({"x": NIGHTLY | {"at": "every night!"}}, "'every night!' is not a time"),
        ({"x": NIGHTLY | {"at": ""}}, "'' is not a time"),
        ({"x": NIGHTLY | {"at": "daily\nUser=root"}}, "is not a time"),
        ({"x": NIGHTLY | {"run": ""}}, "x: "),
        ({"x": NIGHTLY | {"run": 1}}, "x: "),
        ({"x": NIGHTLY | {"run": "manage.py x\nUser=root"}}, "x: "),
        ({"x": NIGHTLY | {"run": "manage.py 'x"}}, "is not a command: No closing quotation"),
        ({"x": NIGHTLY | {"run": "manage.py a | mail"}}, "needs a shell for '|'"),
        ({"x": NIGHTLY | {"run": "manage.py a>/tmp/x"}}, "needs a shell for '>'"),
        ({"x": NIGHTLY | {"run": "manage.py a && b"}}, "needs a shell for '&&'"),
        ({"x": NIGHTLY | {"run": "A=1 manage.py a"}}, "starts with neither manage.py, a program"),
        ({"x": NIGHTLY | {"run": "bin/x"}}, "starts with neither manage.py, a program"),
        ({"x": NIGHTLY | {"run": "../x"}}, "starts with neither manage.py, a program"),
    ],
)
def test_a_timer_that_is_refused(value: Any, problem: str) -> None:
    """What is wrong, and how to write it."""
    with pytest.raises(ValueError) as raised:
        values.timers(value if isinstance(value, str) else json.dumps(value))
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    "run",
    [
        "manage.py clearsessions",
        "manage.py shell -c 'print(1 | 2)'",
        "celery -A shop purge -f",
        "/usr/bin/true",
        "python scripts/tidy.py --keep=3",
    ],
)
def test_a_command_that_is_taken(run: str) -> None:
    """A management command, a program of the requirements, an absolute path."""
    timer = {"nightly": {"run": run, "at": "Mon..Fri *-*-* 03:30:00 Europe/Berlin"}}
    assert values.timers(json.dumps(timer)) == timer


def with_timers(**names: dict[str, str]) -> Any:
    return application(load("local-ip"), timers=names)


def test_what_is_rendered_for_a_timer() -> None:
    """A service that runs as the application's does, a timer, and the links that enable it."""
    generation = rendered(with_timers(nightly=NIGHTLY), "backend")
    service = text(generation, "systemd/shop-nightly.service")
    started = [line for line in service.splitlines() if line.startswith("ExecStart=")]
    assert started == [
        "ExecStart=/opt/shop/current/venv/bin/python"
        ' "manage.py" "clearsessions" "--settings=origin_kit_settings"'
    ]
    gunicorns = text(generation, "systemd/shop.service")
    for line in ("User=shop", "WorkingDirectory=/opt/shop/current/app", "NoNewPrivileges=true"):
        assert line in service.splitlines() and line in gunicorns.splitlines()
    assert "EnvironmentFile=/etc/origin-kit/current/secrets.env" in service.splitlines()
    assert "OnCalendar=daily" in text(generation, "systemd/shop-nightly.timer").splitlines()
    assert generation.units["timers"] == ("shop-nightly.timer",)
    places = {link.place for link in generation.links}
    assert "/etc/systemd/system/timers.target.wants/shop-nightly.timer" in places
    assert "/etc/systemd/system/shop-nightly.service" in places


def test_a_timer_restarts_no_service() -> None:
    """A new one changes neither gunicorn's fingerprint nor nginx's, and no page's host."""
    before, after = load("local-ip"), with_timers(nightly=NIGHTLY)
    old, new = rendered(before, "backend"), rendered(after, "backend")
    for service in ("gunicorn", "nginx"):
        assert old.fingerprints[service] == new.fingerprints[service]
    assert rendered(before, "frontend") == rendered(after, "frontend")


def systemd_words(line: str) -> list[str]:
    """The words of an `ExecStart=` (systemd.service(5), "Command lines"), as far as the renderer
    uses that syntax."""
    found = []
    for quoted, bare in re.findall(r'"((?:\\.|[^"\\])*)"|(\S+)', line):
        found.append(re.sub(r"\\(.)|([%$])\2", r"\1\2", quoted or bare))
    return found


WORD = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), max_size=20)


@given(st.lists(WORD, max_size=4))
def test_systemd_gets_the_words_as_written(words: list[str]) -> None:
    """Quotes, backslashes, % and $ arrive as they are."""
    line = timers.start(load("local-ip").application, ["/usr/bin/echo", *words])
    assert systemd_words(line) == ["/usr/bin/echo", *words]


def test_the_words_of_a_command_are_a_shells() -> None:
    """As a POSIX shell splits them."""
    run = """manage.py shell -c 'print("a  b")' it\\'s $HOME "*" """
    printed = subprocess.run(
        ["sh", "-c", f"set -f; HOME='$HOME'; printf '%s\\n' {run}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(commands.words(run)) == printed.stdout.splitlines()


def state(**changes: Any) -> TimerState:
    usual: TimerState = {
        "running": False,
        "ended": 1_796_083_200.0,
        "result": "success",
        "status": 0,
        "next": "Wed 2026-12-02 00:00:00 UTC",
    }
    return {**usual, **changes}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("changes", "row", "problem"),
    [
        ({}, ("2026-12-01 00:00 UTC", "done"), ""),
        ({"ended": 0.0}, ("none since the host started", ""), ""),
        ({"running": True, "result": "exit-code"}, ("now", "running"), ""),
        (
            {"result": "exit-code", "status": 3},
            ("2026-12-01 00:00 UTC", "failed with status 3"),
            "shop-x.timer: its last run, 2026-12-01 00:00 UTC, failed with status 3: see `fab logs`"
            "; the next run that ends well clears this",
        ),
        (
            {"result": "oom-kill", "status": 9},
            ("2026-12-01 00:00 UTC", "ended for want of memory"),
            "shop-x.timer: its last run, 2026-12-01 00:00 UTC, ended for want of memory: see"
            " `fab logs`; the next run that ends well clears this",
        ),
        ({"result": "resources"}, ("2026-12-01 00:00 UTC", "resources"), "resources"),
    ],
)
def test_what_status_says_of_a_timer(
    changes: dict[str, Any], row: tuple[str, str], problem: str
) -> None:
    """One row each; a run that failed is a problem with its next step, one under way is none."""
    states = {"shop-x.timer": state(**changes)}
    rows = timer_report.rows("backend-1", states)
    next_run = "after this one" if row[0] == "now" else "Wed 2026-12-02 00:00:00 UTC"
    assert rows == [("shop-x.timer", "backend-1", *row, next_run)]
    said = timer_report.problem(states)
    assert problem in said and bool(problem) == bool(said)


SHOWN = """Id=shop-x.timer
ActiveState=active
Result=success
NextElapseUSecRealtime=Wed 2026-12-02 00:00:00 UTC

Id=shop-x.service
ActiveState=failed
Result=exit-code
ExecMainStatus=3
ExecMainExitTimestampMonotonic={ended}
"""


def test_how_a_host_sees_the_last_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's properties of both units; its time is that of the kernel's clock."""
    ended = int((time.monotonic() - 60) * 1e6)
    answer = subprocess.CompletedProcess([], 0, SHOWN.format(ended=ended), "")
    monkeypatch.setattr(on_host_timers, "run", lambda *_: answer)
    generation: Any = {"units": {"timers": ["shop-x.timer"]}}
    [(name, found)] = on_host_timers.look(generation).items()
    assert name == "shop-x.timer" and abs(time.time() - 60 - found["ended"]) < 5
    assert (found["running"], found["result"], found["status"]) == (False, "exit-code", 3)
    assert found["next"] == "Wed 2026-12-02 00:00:00 UTC"


def test_nothing_is_asked_without_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most hosts have none, and systemd's answers cost time."""
    monkeypatch.setattr(on_host_timers, "run", lambda *_: pytest.fail("asked"))
    generation: Any = {"units": {"nginx": ["nginx.service"]}}
    assert on_host_timers.look(generation) == {}


def test_timers_are_in_the_contract_as_in_the_config() -> None:
    """Read back from JSON, they are the same."""
    contract = with_timers(nightly=NIGHTLY)
    assert dataclasses.asdict(contract.application)["timers"] == {"nightly": NIGHTLY}
    assert type(contract).from_json(contract.to_json()) == contract


def test_timers_go_on_after_a_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore stops all that writes, and starts the timers again once workers are up."""
    started: list[str] = []

    def run(*words: str) -> None:
        started.append(" ".join(words))

    units = ["shop-nightly.timer", "shop-nightly.service", "shop.socket", "shop.service"]
    monkeypatch.setattr(restoring, "run", run)
    monkeypatch.setattr(claims, "units_of", lambda _: units)
    monkeypatch.setattr(places, "app", lambda: "shop")
    monkeypatch.setattr(restoring, "restart_service", lambda: started.append("gunicorn"))
    monkeypatch.setattr(restoring, "await_workers", lambda: started.append("workers"))
    restoring.stop()
    assert started == [f"systemctl stop {unit}" for unit in units]
    started.clear()
    restoring.start()
    assert started == [
        "systemctl start shop.socket",
        "gunicorn",
        "workers",
        "systemctl start shop-nightly.timer",
    ]
