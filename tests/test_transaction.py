"""What a host's transaction decides by itself, without a host: which generations stay."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from on_host import (
    activation,
    audit,
    guard,
    handover,
    journal,
    lock,
    places,
    replacement,
    states,
    two_phase,
    work,
)
from on_host.configuration import switch
from on_host.on_disk import Journal
from on_host.orders import ORDERS
from on_host.runtime import Failed
from on_host.states import JournalState


@pytest.fixture
def generations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fifteen that were activated in the order of their names, while a wrong clock went back a year
    half-way."""
    folder = tmp_path / "generations"
    monkeypatch.setattr(places, "GENERATIONS", folder)
    monkeypatch.setattr(places, "CONFIGURATION", tmp_path / "current")
    monkeypatch.setattr(switch, "old_secrets", lambda current: [])
    for number in range(15):
        name = f"g{number:02d}"
        (folder / name).mkdir(parents=True)
        (folder / name / "generation.json").write_text("{}")
        activation.note_activation(folder, name)
        when = 1_800_000_000 + number - (365 * 86400 if number >= 8 else 0)
        os.utime(folder / name, (when, when))
    (tmp_path / "current").symlink_to("generations/g14")
    return folder


def test_pruning_asks_no_clock(generations: Path) -> None:
    """The ten that were activated last stay, whatever their times say."""
    switch.prune()
    assert sorted(path.name for path in generations.iterdir()) == [
        f"g{number:02d}" for number in range(5, 15)
    ]


def test_the_current_one_stays_even_if_it_has_no_number(generations: Path) -> None:
    """A generation that the kit before this one has activated has none; it is older than all that
    have."""
    (generations / "g14" / "turn").unlink()
    switch.prune()
    left = sorted(path.name for path in generations.iterdir())
    assert "g14" in left
    assert left[:-1] == [f"g{number:02d}" for number in range(4, 14)]


@pytest.mark.parametrize("state", [states.SWITCHING, states.PREPARED])
def test_a_run_that_ends_after_its_vote_is_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    """Also one that was killed: the journal knows, whatever the failure is."""
    monkeypatch.setattr(places, "JOURNAL", tmp_path / "journal.json")
    places.JOURNAL.write_text(json.dumps({"links": {}, "state": state}))
    work.report_failure(Failed("the work on the host was killed"))
    assert json.loads(capsys.readouterr().out)["in_doubt"] is (state == states.PREPARED)


# ----------------------------------------------------------------------------------- open changes

ONE, TWO = ["a"], ["a", "b"]


def journal_of(state: JournalState, participants: list[str]) -> Journal:
    """The journal of a ship, `t1`."""
    return {
        "kind": "release",
        "transaction": "t1",
        "participants": participants,
        "state": state,
        "from": "old",
        "to": "new",
        "links": {},
        "units": {},
        "release": None,
    }


@pytest.mark.parametrize(
    ("state", "participants", "runs_target", "answer", "wanted"),
    [
        (states.PREPARED, TWO, True, "commit", "commit"),
        (states.PREPARED, TWO, True, "undo", "undo"),
        (states.PREPARED, TWO, False, "commit", "commit"),
        (states.SWITCHING, TWO, True, "undo", "undo"),
        (states.SWITCHING, TWO, False, None, "undo"),  # without its vote nobody has committed
        (states.SWITCHING, ONE, True, None, "commit"),
        (states.SWITCHING, ONE, False, None, "undo"),
    ],
)
def test_what_becomes_of_an_open_change(
    monkeypatch: pytest.MonkeyPatch,
    state: JournalState,
    participants: list[str],
    runs_target: bool,
    answer: str | None,
    wanted: str,
) -> None:
    """The other hosts are asked only where they may know more (`answer`)."""
    asked: list[str] = []

    def ask(question: str) -> str | None:
        asked.append(question)
        return answer

    monkeypatch.setattr(handover, "ask", ask)
    monkeypatch.setattr(journal, "committed", lambda: ["another"])
    way = journal_of(state, participants)
    assert two_phase.outcome(way, runs_target) == wanted
    assert asked == (["in-doubt:t1:a,b"] if answer else [])


def test_what_was_committed_here_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash after the outcome was written and before the journal ended: no host is asked."""
    monkeypatch.setattr(journal, "committed", lambda: ["t1"])
    way = journal_of(states.PREPARED, TWO)
    assert two_phase.outcome(way, False) == "commit"


@pytest.mark.parametrize("answer", ["unknown", None])
def test_an_outcome_that_nobody_knows_now_decides_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    """Where a host can't be asked, or the operator has left, it fails and names the hosts."""
    monkeypatch.setattr(handover, "ask", lambda question: answer)
    monkeypatch.setattr(journal, "committed", list)
    way = journal_of(states.PREPARED, TWO)
    with pytest.raises(Failed, match=r"only all of its hosts together know \(a, b\)"):
        two_phase.outcome(way, True)


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without a journal, whose boot guard is in place."""
    monkeypatch.setattr(places, "KIT", tmp_path)
    monkeypatch.setattr(places, "JOURNAL", tmp_path / "journal.json")
    monkeypatch.setattr(journal, "OUTCOMES", tmp_path / "committed.json")
    monkeypatch.setattr(handover, "JOBS", tmp_path / "jobs")
    monkeypatch.setattr(guard, "guard_the_boot", lambda: None)
    monkeypatch.setitem(ORDERS, "app", "none")
    monkeypatch.setitem(ORDERS, "deploy", "t1")
    return tmp_path


@pytest.mark.usefixtures("kit")
def test_a_journal_takes_its_states_in_order() -> None:
    """From none to none, by both ways that end well."""
    for vote in (False, True):
        assert journal.state() == "none"
        journal.begin("release", "new", "old", {}, {})
        assert journal.state() == "switching"
        if vote:
            journal.prepare()
            assert journal.state() == "prepared"
        journal.commit()
    assert journal.committed() == ["t1", "t1"]


@pytest.mark.usefixtures("kit")
@pytest.mark.parametrize("act", [journal.prepare, journal.commit, journal.put_links_back])
def test_without_a_journal_there_is_nothing_to_decide(act: Callable[[], object]) -> None:
    with pytest.raises(states.IllegalTransition, match="'none' does not allow"):
        act()


@pytest.mark.usefixtures("kit")
def test_an_open_change_is_neither_begun_nor_prepared_again() -> None:
    """What it goes back to would be lost."""
    journal.begin("release", "new", "old", {}, {})
    with pytest.raises(states.IllegalTransition, match="'switching' does not allow 'begin'"):
        journal.begin("release", "newer", "new", {}, {})
    journal.prepare()
    with pytest.raises(states.IllegalTransition, match="'prepared' does not allow 'prepare'"):
        journal.prepare()
    way = journal.read()
    assert way is not None
    assert (way["from"], way["to"], way["state"]) == ("old", "new", "prepared")


def open_change(kit: Path, state: str) -> None:
    links = {str(kit / "current"): "releases/old"}
    way = {"kind": "release", "transaction": "t1", "state": state, "from": "old", "links": links}
    (kit / "journal.json").write_text(json.dumps(way))
    (kit / "current").symlink_to("releases/new")


def test_a_change_under_way_has_no_outcome_yet(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its unit lives a change is neither undone nor prepared, whatever its journal says."""
    monkeypatch.setattr(handover, "lives", lambda job: True)
    open_change(kit, states.PREPARED)
    assert journal.outcome("t1") == "prepared"
    (kit / "jobs/t1").mkdir(parents=True)
    assert journal.outcome("t1") == "under way"
    assert journal.outcome("t2") == "undone"
    (kit / "committed.json").write_text('["t1"]')
    assert journal.outcome("t1") == "committed"


@pytest.mark.parametrize("state", [states.SWITCHING, states.PREPARED])
def test_a_boot_rolls_back_only_before_the_vote(
    kit: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """A change that waits for the outcome on other hosts keeps its journal and its links."""
    monkeypatch.setattr(journal, "run", lambda *words: None)
    monkeypatch.setattr(audit, "write", lambda *words: None)
    monkeypatch.setitem(ORDERS, "app", "shop")
    open_change(kit, state)
    journal.boot()
    stays = state == states.PREPARED
    assert (kit / "journal.json").exists() is stays
    assert (kit / "current").readlink().name == ("new" if stays else "old")


def test_a_host_that_yields_releases_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another change takes the lock; this one starts again when the coordinator allows it."""
    monkeypatch.setattr(lock, "LOCK", tmp_path / "run/lock")
    monkeypatch.setattr(lock, "ORDERS", {"who": "ada", "verb": "ship"})
    monkeypatch.setattr(replacement, "refuse", lambda: None)
    happened: list[str] = []

    def ask(question: str) -> str:
        handle = lock.try_lock()
        assert handle, "the lock was not released for the other change"
        handle.close()
        happened.append(question)
        return "go"

    def change() -> dict[str, str]:
        assert lock.try_lock() is None
        happened.append("work")
        if len(happened) == 1:
            raise two_phase.Yield
        return {"a": "b"}

    monkeypatch.setattr(handover, "ask", ask)
    assert work.under_the_lock(change) == {"a": "b"}
    assert happened == ["work", "again", "work"]
