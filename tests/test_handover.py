"""The folder through which a deploy's unit and its operator talk: locks that say who is there, a
pipe for answers."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

import pytest

from on_host import handover, places, states, work
from on_host.events import Event
from on_host.orders import ORDERS
from on_host.runtime import Failed


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A job as `hand_over` makes it, with this process as the unit that asks."""
    monkeypatch.setattr(handover, "JOBS", tmp_path)
    monkeypatch.setattr(handover, "_answers", [])
    monkeypatch.setattr(handover, "_heard", [])
    monkeypatch.setattr(
        handover, "ORDERS", {"job": str(tmp_path / "one"), "together": True, "who": "ada"}
    )
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "events").touch()
    (folder / "follower").touch()
    os.mkfifo(folder / "answers")
    yield folder
    for pipe in handover._answers:
        os.close(pipe)


def locked(path: Path) -> TextIO:
    handle = path.open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def test_a_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    """However it ends: what is killed unlocks nothing itself."""
    path = tmp_path / "worker"
    text = (
        "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f,fcntl.LOCK_EX);"
        " print('held',flush=True); input()"
    )
    words = [sys.executable, "-c", text, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert not handover.unlocked(path)
        process.kill()
    assert handover.unlocked(path)


def test_nobody_holds_what_is_gone(tmp_path: Path) -> None:
    assert handover.unlocked(tmp_path / "worker")


def test_the_operator_is_answered_in_turn(job: Path) -> None:
    """Two words that came at once answer two questions."""
    with locked(job / "follower"):
        pipe = os.open(job / "answers", os.O_RDWR)
        os.write(pipe, b"go\ncommit\n")
        assert [handover.ask("staged"), handover.ask("switched")] == ["go", "commit"]
        os.close(pipe)


def test_a_word_outlives_who_said_it(job: Path) -> None:
    """The first question opens the pipe; what is written then stays there when the operator has
    gone."""
    with locked(job / "follower"):
        pipe = os.open(job / "answers", os.O_RDWR)
        os.write(pipe, b"go\n")
        assert handover.ask("staged") == "go"
        os.write(pipe, b"undo\n")
        os.close(pipe)
    assert handover.ask("switched") == "undo"


@pytest.mark.usefixtures("job")
def test_without_an_operator_there_is_no_answer() -> None:
    assert handover.ask("staged") is None
    assert handover.operator_is_gone()


def test_who_follows_passes_words_on(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events come out as they are written, and the operator's word arrives at the unit."""
    ours, theirs = os.pipe()
    monkeypatch.setattr(handover, "_operator", ours)
    events_out: list[object] = []

    def unit() -> None:
        with (job / "events").open("a") as events:
            events.write(json.dumps({"gate": "staged"}) + "\n")
            events.flush()
            events.write(json.dumps({"result": handover.ask("staged")}) + "\n")

    def report(event: Event) -> None:
        events_out.append(event)
        if "gate" in event:
            os.write(theirs, b"go\n")

    with locked(job / "follower"), locked(job / "worker"):
        thread = threading.Thread(target=unit)
        thread.start()
        assert handover.follow(job, report) == {"result": "go"}
        thread.join()
    assert events_out == [{"gate": "staged"}, {"result": "go"}]
    os.close(ours)
    os.close(theirs)


def test_a_unit_that_was_killed_ends_the_following(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    monkeypatch.setattr(handover, "_operator", ours)
    (job / "worker").touch()
    (job / "events").write_text('{"step": "stage"}\n')
    events_out: list[object] = []
    assert handover.follow(job, events_out.append) == "killed"
    assert events_out == [{"step": "stage"}]
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Main process exited, code=killed, status=9/KILL\nFailed with result 'oom-kill'.", True),
        ("Main process exited, code=killed, status=9/KILL\nFailed with result 'signal'.", False),
    ],
)
def test_a_unit_that_ran_out_of_memory_says_so(
    job: Path, monkeypatch: pytest.MonkeyPatch, said: str, why: bool
) -> None:
    """It reads what systemd logged for the unit of this job, and of no other."""
    asked: list[tuple[str, ...]] = []

    def journal(*words: str) -> SimpleNamespace:
        asked.append(words)
        return SimpleNamespace(stdout=said)

    monkeypatch.setattr(handover, "run", journal)
    assert handover.how_it_ended(job) == (" (out of memory)" if why else "")
    assert "origin-kit-one.service" in asked[0]


def test_an_operator_that_is_gone_ends_the_following(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    os.close(theirs)
    monkeypatch.setattr(handover, "_operator", ours)
    with locked(job / "worker"):
        assert handover.follow(job, lambda _: None) is None
    os.close(ours)


def test_a_sign_of_life_is_no_answer_and_its_lack_ends_it(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator whose line is dead sends no end either: nothing heard for a while is the end."""
    monkeypatch.setattr(handover, "SILENCE_S", 0.6)
    ours, theirs = os.pipe()
    monkeypatch.setattr(handover, "_operator", ours)
    beats = [threading.Timer(0.4 * number, os.write, (theirs, b"\n")) for number in (1, 2)]
    started = time.monotonic()
    with locked(job / "worker"):
        for beat in beats:
            beat.start()
        assert handover.follow(job, lambda _: None) == "silent"
    assert time.monotonic() - started > 1.2
    assert handover._heard == []
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("state", [None, states.SWITCHING, states.PREPARED])
def test_an_operator_who_was_silent_learns_the_cause(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str | None,
) -> None:
    """A laptop that wakes reads why the host gave it up, and whether the host is in doubt."""
    monkeypatch.setattr(places, "JOURNAL", tmp_path / "journal.json")
    monkeypatch.setattr(handover, "JOBS", tmp_path / "jobs")
    monkeypatch.setattr(handover, "SILENCE_S", 0.1)
    monkeypatch.setattr(handover, "start_unit", lambda job: None)
    monkeypatch.setattr(handover, "lives", lambda job: True)
    monkeypatch.setitem(ORDERS, "deploy", "t1")
    monkeypatch.setitem(ORDERS, "app", "none")
    ours, theirs = os.pipe()
    monkeypatch.setattr(handover, "_operator", ours)
    if state:
        places.JOURNAL.write_text(json.dumps({"links": {}, "state": state}))
    assert work.ended(handover.hand_over, work.still_serves) == 1
    assert handover.unlocked(tmp_path / "jobs/t1/follower")
    event = json.loads(capsys.readouterr().out)
    assert event["error"] == (
        "the host heard nothing from this computer for 0.1 s (was it asleep, or the network"
        " down?); the work on the host continues and ends by itself: run {again} to see the result"
    )
    assert event["in_doubt"] is (state == states.PREPARED)
    os.close(ours)
    os.close(theirs)


def test_a_silent_operator_who_waits_learns_the_cause(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the silence, and not the other run that it waited for."""
    monkeypatch.setattr(handover, "SILENCE_S", 0.1)
    monkeypatch.setattr(handover, "ORDERS", {"wait_s": 60})
    ours, theirs = os.pipe()
    monkeypatch.setattr(handover, "_operator", ours)
    with (
        locked(job / "worker"),
        pytest.raises(Failed, match=r"heard nothing .* for 0\.1 s .*; nothing was changed; run"),
    ):
        handover.wait_along(job)
    os.close(ours)
    os.close(theirs)


def test_sweep_leaves_what_somebody_attends_to(job: Path) -> None:
    """A folder that is being made has a follower before it has a unit."""
    (job / "worker").touch()
    with locked(job / "follower"):
        handover.sweep()
        assert job.exists()
    handover.sweep()
    assert not job.exists()
