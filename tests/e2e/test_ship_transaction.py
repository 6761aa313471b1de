"""A ship on real hosts: killed, unplugged, left by its operator. It is as visible, and ends as
well, as a deploy."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout import change, outputs, program, settings, ship
from tests.e2e.test_bad_days import ended
from tests.support.kit import ROOT, Stack, a_copy_of_the_example
from tests.support.sampling import sampled

pytestmark = [pytest.mark.machines, pytest.mark.either_scheme]

OF_A_SHIP = re.compile("on_host/(release/.*|user|journal|two_phase)[.]py")
SOURCES = [text for path, text in program.sources().items() if OF_A_SHIP.fullmatch(path)]
# In the order in which a ship with other code comes by; `venv` only with other requirements,
# `backup` with migrations.
STEPS = (
    "user",
    "unpack",
    "compile",
    "check",
    "collectstatic",
    "migrate",
    "journal",
    "switch",
    "restart",
    "confirm",
    "commit",
    "prune",
)
ELSEWHERE = {"venv", "backup", "replace", "undo"}  # tests/test_install.py


def test_every_step_of_a_ship_has_its_case() -> None:
    """A new step without a case here fails."""
    assert {step for text in SOURCES for step in re.findall(r'\bstep\(\s*"([a-z-]+)"', text)} == {
        *STEPS
    } | ELSEWHERE


class Application:
    """A copy of the example that the stack ships, with a number in its code and its page."""

    def __init__(self, stack: Stack, folder: Path, page: Path) -> None:
        self.stack, self.folder, self.page, self.number = stack, folder, page, 0

    def edit(self) -> str:
        """Other code, and another page: what both hosts are to serve next."""
        self.number += 1
        (self.folder / "catalog" / "number.py").write_text(f"NUMBER = {self.number}\n")
        (self.page / "number.txt").write_text(str(self.number))
        return str(self.number)

    def ship(self, **more: Any) -> list[bool]:
        return ship.ship_to_all_hosts(
            settings.read(self.stack.name), outputs.load(self.stack.name), **more
        )

    def served(self) -> tuple[str, str]:
        """The number in the release whose workers run, and that on the page."""
        contract = self.stack.contract
        worker = (
            "cat /opt/shop/current/app/catalog/number.py; for r in /run/shop/workers/[0-9]*; do cat"
            " $r; done"
        )
        backend = self.stack.kit.ssh(contract.backend.hosts[0], worker)
        current = self.stack.kit.ssh(
            contract.backend.hosts[0], "readlink -f /opt/shop/current"
        ).strip()
        assert set(re.findall(r'"release": "([^"]+)"', backend)) == {current}
        page = self.stack.kit.ssh(
            contract.frontend.hosts[0], "cat /opt/shop/current/site/number.txt"
        )
        return backend.split("NUMBER = ")[1].split()[0], page.strip()

    def status(self, host: str = "backend-1") -> dict[str, object]:
        found: dict[str, object] = json.loads(
            self.stack.fab("status", "--json", status=None).stdout
        )[host]
        return found


@pytest.fixture(scope="module")
def application(stack: Stack) -> Iterator[Application]:
    patch = pytest.MonkeyPatch()
    patch.setenv("ORIGIN_KIT_HOME", str(stack.kit.home))
    with a_copy_of_the_example() as folder:
        page = folder.parent / f"{folder.name}-page"
        subprocess.run(["cp", "-r", str(ROOT / "examples/frontend"), str(page)], check=True)
        stack.write(
            backend_path=str(folder.relative_to(ROOT)), frontend_path=str(page.relative_to(ROOT))
        )
        made = Application(stack, folder, page)
        made.edit()
        stack.fab("up")
        yield made
        subprocess.run(["rm", "-r", str(page)], check=True)
    patch.undo()
    stack.write()
    stack.fab("ship")


@pytest.mark.parametrize("step", sampled(STEPS, ["migrate"]))
def test_a_kill_at_a_step_leaves_one_release_whole(application: Application, step: str) -> None:
    """SIGKILL just before the step, on every host that comes by it. What is open afterwards
    shows."""
    before = application.served()
    number = application.edit()
    with pytest.raises(change.ChangeError, match="the work on the host was killed"):
        application.ship(die_at=step)
    status = application.status()
    if status["unfinished"]:
        wanted = "waits for the outcome on the other hosts" if status["in_doubt"] else "interrupted"
        assert wanted in application.stack.fab("status", status=1).stdout
        assert "finished or undone first" in application.stack.fab("plan").stdout
    elif step != "prune":
        assert application.served() == before
    application.ship()
    assert application.served() == (number, number)
    assert application.status()["unfinished"] is False


@pytest.mark.soak
def test_a_pulled_plug_in_a_ship_boots_on_the_release_before(application: Application) -> None:
    """The boot guard of configuration serves the release: the machine starts with nobody there, on
    whole old code."""
    before, number = application.served(), application.edit()
    with pytest.raises(change.ChangeError):
        application.ship(die_at="restart")
    stack = application.stack
    for record in stack.kit.home.glob("machines/*-1-*/machine.json"):
        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    engine = [sys.executable, "-m", "infra.local.engine", "up", "--stack", stack.name]
    subprocess.run(engine, cwd=ROOT, env=stack.kit.environment, check=True, capture_output=True)
    assert application.status()["unfinished"] is False
    assert application.served() == before
    assert "after a power cut" in stack.kit.ssh(
        stack.contract.backend.hosts[0], "cat /var/log/origin-kit/audit.jsonl"
    )
    application.ship()
    assert application.served() == (number, number)


def test_a_host_that_fails_takes_the_other_back(application: Application) -> None:
    """The page's host can't switch: the backend's new release is taken back, as with a deploy."""
    before, stack = application.served(), application.stack
    application.edit()
    frontend = stack.contract.frontend.hosts[0]
    stack.kit.ssh(
        frontend, "chattr +i /opt/shop 2>/dev/null || mount --bind -o ro /opt/shop /opt/shop"
    )
    try:
        with pytest.raises(change.ChangeError) as caught:
            application.ship()
    finally:
        stack.kit.ssh(
            frontend, "chattr -i /opt/shop 2>/dev/null; umount /opt/shop 2>/dev/null; true"
        )
    assert "frontend-1" in str(caught.value)
    assert "backend-1: unchanged or rolled back" in str(caught.value)
    assert application.served() == before


PHASES = ("unpacks release", "checks the project", "migrates the database", "switches to")


@pytest.mark.soak
@pytest.mark.parametrize("after", sampled(PHASES, ["migrates the database"]))
def test_the_first_interrupt_ends_a_ship_in_every_phase(
    application: Application, after: str
) -> None:
    """^C: both hosts are on one release afterwards, nothing is locked, and the next ship works."""
    before, number = application.served(), application.edit()
    with application.stack.started("ship") as process:
        assert process.stdout and process.stderr
        next(line for line in process.stdout if "backend" in line and after in line)
        process.send_signal(signal.SIGINT)
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        said = process.stderr.read()
        assert process.wait(60) == 130, said
        drain.join()
    assert "Traceback" not in said
    ended(application.stack)
    assert application.served() in (before, (number, number))
    application.ship()
    assert application.served() == (number, number)


# ------------------------------------------------------------------------------ operators who leave

# A host must wait longer than the interval of two signs of life (`runtime.BEAT_S`). Otherwise it
# gives up an operator who is there, where a step takes that long.
OPERATOR = """
import sys
from rollout import outputs, settings, ship
ship.ship_to_all_hosts(settings.read(sys.argv[1]), outputs.load(sys.argv[1]), silence_s=10.0)
"""


@pytest.mark.soak
def test_an_operator_who_vanishes_without_a_word_blocks_nobody(application: Application) -> None:
    """A frozen laptop, or a line that is dead without an end: no sign of life for a while is an
    end."""
    before, number = application.served(), application.edit()
    environment = {
        **application.stack.kit.environment,
        "PYTHONPATH": f"{ROOT}/ansible-free-deploy:{ROOT}",
    }
    words = [sys.executable, "-u", "-c", textwrap.dedent(OPERATOR), application.stack.name]
    with subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            next(
                line
                for line in process.stdout
                if "backend" in line and "checks the project" in line
            )
            process.send_signal(signal.SIGSTOP)
            ended(application.stack)
            assert application.served() == before
            application.ship()
            assert application.served() == (number, number)
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
