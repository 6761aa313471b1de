"""What a host's transaction decides by itself, without a host: which generations stay."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from on_host import activation, guard, journal, places, states, work
from on_host.configuration import switch
from on_host.orders import ORDERS
from on_host.runtime import Failed


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


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without a journal, whose boot guard is in place."""
    monkeypatch.setattr(places, "KIT", tmp_path)
    monkeypatch.setattr(places, "JOURNAL", tmp_path / "journal.json")
    monkeypatch.setattr(journal, "OUTCOMES", tmp_path / "committed.json")
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
