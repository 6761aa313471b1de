"""Up, again, changed, broken, down: the long true story of one environment."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.kit import FAB, ROOT, Kit, Stack

pytestmark = pytest.mark.machines


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack.of(Kit(tmp_path / "home")) as made:
        yield made


def traces(kit: Kit) -> dict[str, list[str]]:
    """What an environment under this home leaves on the host: mounts, links, processes, files."""
    home = str(kit.home)
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if home in line]
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if home in command and int(folder.name) != os.getpid():
            processes.append(command)
    return {"mounts": mounts, "processes": processes, "files": [str(path) for path in kit.home.glob("*")]}


def bridges() -> set[str]:
    shown = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in shown.splitlines() if line.startswith(("ok-", "vb-"))}


def test_up_again_change_and_down(stack: Stack) -> None:
    """The second up does nothing, a changed list restarts what reads it, down leaves nothing behind."""
    before = bridges()
    first = stack.fab("up").stdout
    contract = stack.contract
    assert contract.frontend.origin in first and contract.backend.origin in first
    running = stack.processes()
    second = stack.fab("up").stdout
    assert "nothing to do" in second
    assert stack.processes() == running
    assert "unchanged" in stack.fab("deploy").stdout

    stack.write(extra_origins=["http://localhost:9999"])
    changed = stack.fab("up").stdout
    assert "http://localhost:9999" in stack.contract.cors.allowed_origins
    assert "changed" in changed
    assert stack.processes() != running
    assert "as the contract says" in stack.fab("status").stdout

    stack.fab("down")
    assert traces(stack.kit) == {"mounts": [], "processes": [], "files": []}
    assert bridges() == before
    assert "is gone" in stack.fab("down").stdout


def test_data_survives_a_machine_that_died_and_a_new_release(stack: Stack) -> None:
    """Killed like a pulled plug, the machine comes back with its rows; a ship replaces code only."""
    stack.fab("up")
    backend = stack.contract.backend.hosts[0]
    stack.kit.ssh(backend, "sqlite=/var/lib/shop; touch $sqlite/media/kept && stat -c %U $sqlite/db.sqlite3 && sync")
    identity = stack.kit.ssh(backend, "cat /var/lib/shop/secret_key | sha256sum; ls -i /var/lib/shop/db.sqlite3")
    for record in stack.kit.home.glob("machines/*backend-1*/machine.json"):
        import json

        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    again = stack.fab("up")
    assert "backend-1" in again.stdout
    assert (
        stack.kit.ssh(backend, "cat /var/lib/shop/secret_key | sha256sum; ls -i /var/lib/shop/db.sqlite3") == identity
    )
    stack.kit.ssh(backend, "test -e /var/lib/shop/media/kept")


def interrupted_at(stack: Stack, line: str) -> str:
    """`fab up`, with ^C as soon as it prints `line`, if it still has to; everything it has said."""
    running = subprocess.Popen(
        [FAB, "up", "--stack", stack.name], cwd=ROOT, env=stack.kit.environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert running.stdout
    said = ""
    for text in running.stdout:
        said += text
        if line in text:
            os.killpg(running.pid, signal.SIGINT)
            break
    said += running.stdout.read()
    assert running.wait(timeout=120) == (130 if line in said else 0), f"^C at {line!r}:\n{said}"
    assert "Traceback" not in said
    assert line not in said or "run the same command again" in said
    return said


def test_an_interrupted_up_is_finished_by_the_next(stack: Stack) -> None:
    """^C in every part of it: one line and status 130; a host goes on alone, and the last run has all."""
    lines = ("runs the program", "creates it", "unpacks release", "migrates the database", "writes generation",
             "restarts gunicorn")  # fmt: skip
    stopped = [line for line in lines if line in interrupted_at(stack, line)]
    assert len(stopped) >= 3, stopped
    assert "http://" in stack.fab("up").stdout
    assert "nothing to do" in stack.fab("up").stdout
