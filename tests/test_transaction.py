"""What a host's transaction decides by itself, without a host: which generations stay."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from on_host import activation, journal, places, work
from on_host.configuration import switch
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


@pytest.mark.parametrize("state", [journal.SWITCHING, journal.PREPARED])
def test_a_run_that_ends_after_its_vote_says_that_it_is_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    """Also one that was killed: the journal knows, whatever the failure is."""
    monkeypatch.setattr(places, "JOURNAL", tmp_path / "journal.json")
    places.JOURNAL.write_text(json.dumps({"links": {}, "state": state}))
    work.report_failure(Failed("the work on the host was killed"))
    assert json.loads(capsys.readouterr().out)["in_doubt"] is (state == journal.PREPARED)
