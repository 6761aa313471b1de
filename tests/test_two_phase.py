"""The two-phase commit between hosts, with every one of its messages cut: all hosts end in one
state.

Hosts are processes that run the kit's own modules below a root of their own; what they change is
one link. The operator is the kit's own coordinator, behind lines that can be cut at a message, in
either direction.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rollout import program as programs
from rollout.coordinator import Coordinator, how_it_ended
from rollout.program import Program
from tests.support.programs import begin, bootstrap

# What a host does: its links are `old` or `new`, and "what runs" is a file that says which of the
# two was started.
WORK = """
import json, os, signal, sys, time
from pathlib import Path
from on_host import handover, journal, two_phase
from on_host.files import point
from on_host.lock import take_lock
from on_host.orders import ORDERS
from on_host.places import ROOT
from on_host.runtime import Failed, emit, step

LINK, RUNS = ROOT / "opt/shop/current", ROOT / "runs"

class Change(two_phase.Work):
    def stage(self):
        step("stage", "gets ready")
        if ORDERS.get("fails") == "stage":
            raise Failed("can't get ready")

    def switch(self):
        journal.begin("release", "new", "old", {str(LINK): "releases/old"}, {})
        point(LINK, "releases/new")
        start()
        while ORDERS.get("fails") == "waits" and not handover.operator_is_gone():
            time.sleep(0.02)
        if ORDERS.get("fails") == "switch":
            raise Failed("does not come up")

    def keep(self):
        pass

    def undo(self, problem):
        if journal.exists():
            go_back()

def start():
    RUNS.write_text(LINK.readlink().name)

def go_back():
    journal.put_links_back()
    start()
    journal.forget()

def recover():
    way = journal.read()
    if way is None:
        return
    if two_phase.outcome(way, RUNS.read_text() == "new") == "commit":
        journal.commit()
    else:
        go_back()

def change():
    recover()
    if ORDERS["verb"] == "recover" or LINK.readlink().name == "new":
        return
    two_phase.run(Change())

def main():
    if "job" not in ORDERS:
        if ORDERS["verb"] == "outcome":
            emit({"result": {"outcome": journal.outcome(ORDERS["transaction"])}})
            return 0
        return handover.hand_over()
    try:
        while True:
            try:
                with take_lock():
                    change()
                break
            except two_phase.Yield:
                two_phase.wait_until_unlocked()
    except Failed as problem:
        kind = type(problem).__name__
        emit({"error": str(problem), "detail": "", "kind": kind})
        return 1
    emit({"result": {}})
    return 0
"""


@functools.cache
def kit_with_work() -> Program:
    """The kit's program, with this test's work among its verbs."""
    sources = programs.sources()
    main = sources["on_host/__main__.py"]
    assert '"first-boot": "first_boot",' in main
    verbs = '"change": "work", "recover": "work",'.replace("work", "work_of_tests")
    main = main.replace('"first-boot": "first_boot",', verbs)
    return programs.pack({**sources, "on_host/__main__.py": main, "on_host/work_of_tests.py": WORK})


# A job whose process starts slowly is active, as systemd would say.
SYSTEMCTL = """#!/bin/sh
[ "$1" = is-active ] || exit 0
name=${3#origin-kit-}
exec pgrep -f " job ${0%/fake/*}/run/origin-kit/jobs/${name%.service}$" > /dev/null
"""


@dataclass
class Host:
    """A host's file system."""

    name: str
    root: Path

    @classmethod
    def make(cls, name: str, root: Path) -> Host:
        (root / "opt/shop").mkdir(parents=True)
        (root / "opt/shop/current").symlink_to("releases/old")
        (root / "runs").write_text("old")
        (root / "fake").mkdir()
        for program in ("systemctl", "journalctl"):
            (root / "fake" / program).write_text(SYSTEMCTL)
            (root / "fake" / program).chmod(0o755)
        return cls(name, root)

    @property
    def current(self) -> str:
        return (self.root / "opt/shop/current").readlink().name

    @property
    def runs(self) -> str:
        return (self.root / "runs").read_text()

    @property
    def state(self) -> str:
        """`old` or `new`; with a question mark while this host waits for the outcome."""
        journal = self.root / "etc/origin-kit/journal.json"
        return self.current + ("?" if journal.exists() else "")

    def ended(self) -> None:
        """Wait until whatever works here has ended."""
        import fcntl

        for worker in (self.root / "run/origin-kit/jobs").glob("*/worker"):
            with contextlib.suppress(FileNotFoundError), worker.open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH)


class Line:
    """The way to one host. It is cut, for good, at the `at`-th message that goes `up` (to the
    operator) or `down`."""

    def __init__(self, host: Host, orders: dict[str, Any], cut: tuple[str, int] | None) -> None:
        self.passed = {"up": 0, "down": 0}
        self.cut_at = cut
        environment = {"PATH": f"{host.root}/fake:{os.environ['PATH']}"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process: Any = subprocess.Popen(
            [sys.executable, "-I", "-c", bootstrap(host.root)], env=environment, **pipes
        )  # type: ignore[call-overload]
        orders = {"root": str(host.root), "app": "shop", "silence_s": 300, **orders}
        begin(self.process, kit_with_work(), orders)

    def passes(self, way: str) -> bool:
        """Whether one more message gets through in this direction; where not, the line is dead from
        now on."""
        self.passed[way] += 1
        if self.cut_at == (way, self.passed[way]):
            self.close()
            return False
        return True

    def messages(self) -> Iterator[dict[str, Any]]:
        """What counts as a message: questions, the result, an error."""
        for line in self.process.stdout:
            event = json.loads(line)
            if event.keys() & {"gate", "result", "error"}:
                if not self.passes("up"):
                    return
                yield event
            elif "step" in event:
                yield event

    def answer(self, word: str) -> bool:
        if not self.passes("down"):
            return False
        with contextlib.suppress(OSError):
            self.process.stdin.write(word.encode() + b"\n")
            self.process.stdin.flush()
        return True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.terminate()  # as sshd ends what it runs when the connection is gone
        self.process.wait()


@dataclass
class Run:
    """One run of the operator over all hosts. `cuts` is host's number → (direction, message),
    `leaves` → the step after which its line is cut."""

    hosts: list[Host]
    verb: str = "change"
    cuts: dict[int, tuple[str, int]] = field(default_factory=dict)
    fails: dict[int, str] = field(default_factory=dict)
    leaves: dict[int, str] = field(default_factory=dict)
    transaction: str = "t1"
    heard: dict[str, str] = field(default_factory=dict)
    counted: dict[tuple[int, str], int] = field(default_factory=dict)

    def carry_out(self) -> Run:
        self.coordinator = Coordinator(
            [host.name for host in self.hosts], len(self.hosts), self.ask
        )
        threads = [
            threading.Thread(target=self.one, args=pair, daemon=True)
            for pair in enumerate(self.hosts)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a host is waited for and nothing ends that"
        for host in self.hosts:
            host.ended()
        return self

    def one(self, number: int, host: Host) -> None:
        orders = {
            "verb": self.verb,
            "who": "ada",
            "deploy": self.transaction,
            "together": True,
            "wait_s": 20,
            "fails": self.fails.get(number),
        }
        line, failed = Line(host, orders, self.cuts.get(number)), True
        for event in line.messages():
            if event.get("step") == "wait":
                self.coordinator.waits_for_lock(host.name)
            elif "step" in event:
                self.coordinator.works(host.name)
            if "step" in event and event["step"] == self.leaves.get(number):
                break
            if "gate" in event:
                if not line.answer(self.coordinator.answer(host.name, event["gate"])):
                    break
            elif "result" in event:
                self.heard[host.name], failed = "done", False
            elif "error" in event:
                self.heard[host.name] = event["kind"]
        line.close()
        self.counted[number, "up"], self.counted[number, "down"] = (
            line.passed["up"],
            line.passed["down"],
        )
        self.coordinator.left(host.name, failed=failed)

    def ask(self, transaction: str, participants: object) -> str:
        """As `change._Outcomes` does, once for all."""
        with _asking:
            found = []
            for host in self.hosts:
                if host.name in participants:  # type: ignore[operator]
                    line = Line(
                        host, {"verb": "outcome", "who": "ada", "transaction": transaction}, None
                    )
                    found += [
                        event["result"]["outcome"] for event in line.messages() if "result" in event
                    ]
                    line.close()
            return how_it_ended(found)


_asking = threading.Lock()


def some_hosts(folder: Path, count: int) -> list[Host]:
    return [Host.make(f"host-{number}", folder / f"host-{number}") for number in range(count)]


def settled(there: list[Host]) -> set[str]:
    """What all hosts hold; what runs there is the same."""
    assert [host.runs for host in there] == [host.current for host in there]
    return {host.state for host in there}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_all_hosts_change(tmp_path: Path, count: int) -> None:
    there = some_hosts(tmp_path, count)
    assert set(Run(there).carry_out().heard.values()) == {"done"}
    assert settled(there) == {"new"}


@pytest.mark.parametrize("phase", ["stage", "switch"])
def test_one_failure_leaves_all_as_they_were(tmp_path: Path, phase: str) -> None:
    there = some_hosts(tmp_path, 3)
    run = Run(there, fails={1: phase}).carry_out()
    assert run.heard["host-1"] == "Failed"
    assert settled(there) == {"old"}


# Messages of one host: up are the questions `staged` and `switched`, then the result; down the two
# answers.
MESSAGES = [("up", 1), ("down", 1), ("up", 2), ("down", 2), ("up", 3)]


def test_the_messages_that_are_cut_are_all_there_are(tmp_path: Path) -> None:
    run = Run(some_hosts(tmp_path, 2)).carry_out()
    assert run.counted == {(0, "up"): 3, (0, "down"): 2, (1, "up"): 3, (1, "down"): 2}


CUTS = [
    pytest.param(
        count,
        host,
        message,
        id=f"{count}-hosts-host-{host}-{message[0]}-{message[1]}",
        marks=pytest.mark.soak if count == 4 and host in (1, 2) else (),
    )
    for count in (1, 2, 4)
    for host, message in itertools.product(range(count), MESSAGES)
    if count > 1
    or message not in (("down", 2), ("up", 3))  # alone, nobody is asked after the switch
]


@pytest.mark.parametrize(("count", "host", "message"), CUTS)
def test_a_cut_message_leaves_one_outcome(
    tmp_path: Path, count: int, host: int, message: tuple[str, int]
) -> None:
    """Hosts that know the outcome agree; one that does not serves the new one, and learns it at the
    next run."""
    there = some_hosts(tmp_path, count)
    run = Run(there, cuts={host: message}).carry_out()
    known = {one.state for one in there if not one.state.endswith("?")}
    assert len(known) <= 1, f"{[one.state for one in there]}, heard {run.heard}"
    assert {one.state for one in there} - known <= {"new?"}
    if count > 1 and run.coordinator.outcome == "undo":
        assert known <= {"old"}
    again = Run(there, verb="recover", transaction="t2").carry_out()
    assert set(again.heard.values()) == {"done"}
    assert len(settled(there)) == 1
    if known:
        assert settled(there) == known
    assert set(Run(there, transaction="t3").carry_out().heard.values()) == {"done"}
    assert settled(there) == {"new"}


def test_a_cut_operator_after_the_votes_leaves_one_outcome(tmp_path: Path) -> None:
    """Nobody hears the outcome: all serve the new one, all wait, and together they know that all
    had voted for it."""
    there = some_hosts(tmp_path, 2)
    Run(there, cuts={0: ("down", 2), 1: ("down", 2)}).carry_out()
    assert [host.state for host in there] == ["new?", "new?"]
    assert set(Run(there, verb="recover", transaction="t2").carry_out().heard.values()) == {"done"}
    assert settled(there) == {"new"}


def test_a_host_without_operator_rolls_back_before_its_vote(
    tmp_path: Path,
) -> None:
    """It need not wait for the next run: without its vote nobody can have decided to commit."""
    there = some_hosts(tmp_path, 2)
    Run(there, leaves={0: "journal"}, fails={0: "waits"}).carry_out()
    assert settled(there) == {"old"}


@pytest.mark.parametrize("message", [("up", 1), ("down", 1)])
def test_a_host_without_its_go_switches_nothing(tmp_path: Path, message: tuple[str, int]) -> None:
    """It does not serve the new release, not even briefly, and restarts nothing."""
    there = some_hosts(tmp_path, 2)
    before = (there[0].root / "runs").stat().st_mtime_ns
    Run(there, cuts={0: message}).carry_out()
    assert settled(there) == {"old"}
    assert (there[0].root / "runs").stat().st_mtime_ns == before
    assert not (there[0].root / "etc/systemd").exists()  # the boot guard comes with a journal


def test_two_changes_at_once_both_end(tmp_path: Path) -> None:
    """They want the same locks, in whatever order they get them."""
    there = some_hosts(tmp_path, 3)
    runs = [Run(there, transaction=name) for name in ("t1", "t2")]
    threads = [threading.Thread(target=run.carry_out, daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()
    assert [set(run.heard.values()) for run in runs] == [{"done"}, {"done"}]
    assert settled(there) == {"new"}
