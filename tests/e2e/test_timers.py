"""Commands of the application that run at times of their own, on a real host."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from on_host.runtime import wait_for
from tests.support.kit import Stack

pytestmark = pytest.mark.machines

# A line a run: who runs it, under which settings, with which variable, and that it is whole.
NOTE = (
    "import getpass, os; from django.conf import settings;"
    " print(getpass.getuser(), settings.SETTINGS_MODULE, os.environ['ORIGIN_KIT_DATA'],"
    " '50% of $HOME', file=open('/var/lib/shop/ticks', 'a')); print('ticked')"
)
TICK = {"run": f'manage.py shell -v0 -c "{NOTE}"', "at": "*:*:0/10"}
BROKEN = {"run": "manage.py no-such-command", "at": "*:*:0/20"}
WRITTEN = "shop origin_kit_settings /var/lib/shop 50% of $HOME\n"


@pytest.fixture(autouse=True)
def as_before(stack: Stack) -> Iterator[None]:
    """The next module finds config and host as they were."""
    yield
    stack.write()
    stack.fab("deploy")
    on_backend(stack, "rm -f /var/lib/shop/ticks")


def on_backend(stack: Stack, command: str) -> str:
    return stack.kit.ssh(stack.contract.backend.hosts[0], command)


def ticks(stack: Stack) -> str:
    return on_backend(stack, "cat /var/lib/shop/ticks 2>/dev/null || true")


def timers_of(stack: Stack) -> list[str]:
    """Those of the application that systemd knows, running or not."""
    listed = on_backend(stack, "systemctl list-units --all --plain --no-legend 'shop-*'")
    return sorted(line.split()[0] for line in listed.splitlines() if ".timer" in line)


def test_timers_come_run_and_go_with_the_configuration(stack: Stack) -> None:
    """Each runs as the service does and restarts nothing; status says how the last run ended; what
    the config has no more ends, a rollback brings it back."""
    before = stack.processes()
    stack.write(timers={"tick": TICK, "broken": BROKEN})
    plan = stack.fab("plan").stdout
    assert "shop-tick.timer" in plan and "OnCalendar=*:*:0/2" in plan
    stack.fab("deploy")
    assert timers_of(stack) == ["shop-broken.timer", "shop-tick.timer"]
    assert stack.processes() == before

    assert wait_for(lambda: ticks(stack).count(WRITTEN) >= 2, 60), ticks(stack)
    failed = status_with(stack, "failed with status 1")
    assert failed.returncode == 1 and "shop-tick.timer" in failed.stdout
    assert (
        "shop-broken.timer: its last run, " in failed.stdout and "see `fab logs`" in failed.stdout
    )
    logs = stack.fab("logs", "--lines", "200").stdout
    assert "ticked" in logs and "Unknown command: 'no-such-command'" in logs
    assert "changed;" not in stack.fab("deploy").stdout

    stack.write(timers={"tick": TICK})
    stack.fab("deploy")
    assert timers_of(stack) == ["shop-tick.timer"]
    assert status_with(stack, " done ").returncode == 0

    stack.write()
    stack.fab("deploy")
    assert timers_of(stack) == []
    assert on_backend(stack, "ls /etc/systemd/system | grep shop-; true") == ""
    stack.fab("rollback")
    assert timers_of(stack) == ["shop-tick.timer"]
    seen = ticks(stack)
    assert wait_for(lambda: ticks(stack) != seen, 60)


def status_with(stack: Stack, text: str) -> subprocess.CompletedProcess[str]:
    """`fab status`, as soon as it says this: while a command runs, that is what it says."""
    asked = [stack.fab("status", status=None)]

    def says() -> bool:
        asked.append(stack.fab("status", status=None))
        return text in asked[-1].stdout

    assert wait_for(says, 90), asked[-1].stdout
    return asked[-1]


@pytest.mark.parametrize(
    ("timer", "problem"),
    [
        (
            {"run": "manage.py check", "at": "Mon..Fri 25:00"},
            "timers: bad: systemd does not understand 'Mon..Fri 25:00' as a time",
        ),
        (
            {"run": "celery -A shop beat", "at": "daily"},
            "timers: bad: celery is neither in the release nor on the host",
        ),
    ],
)
def test_a_timer_that_can_t_run_stops_the_deploy(
    stack: Stack, timer: dict[str, str], problem: str
) -> None:
    """Before anything is changed."""
    generation = on_backend(stack, "readlink /etc/origin-kit/current")
    stack.write(timers={"bad": timer})
    done = stack.fab("deploy", status=1)
    assert (
        problem in done.stdout + done.stderr and "nothing was changed" in done.stdout + done.stderr
    )
    assert on_backend(stack, "readlink /etc/origin-kit/current") == generation
    assert timers_of(stack) == []
