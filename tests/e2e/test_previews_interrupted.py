"""Previews that are interrupted, made twice at once, broken or another checkout's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_preview_story import page
from tests.support.kit import Kit
from tests.support.repository import Repository, left, repository

pytestmark = [pytest.mark.machines, pytest.mark.soak]
BRANCH = "topic/one"
MOST_STEPS = 60
DELETED = ("frontend-1", "backend-1", "network")  # `down` says a line of each


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("interrupted")
    with repository(Kit(folder / "home"), folder / "checkout") as made:
        made.branch(BRANCH, "one")
        made.branch("topic/two", "two")
        made.branch("topic/three", "three")
        yield made


def stopped_after(process: subprocess.Popen[str], lines: int, how: str) -> bool:
    """Stop a run when it has said so many lines; whether it had not ended before. `killed`: fab
    alone, as the kernel does it; `ended`: it and all that it has started; `asked`: by ^C."""
    assert process.stdout
    for _ in range(lines):
        if not process.stdout.readline():
            process.wait(60)
            return False
    if how == "killed":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL if how == "ended" else signal.SIGINT)
    process.communicate(timeout=120)
    return True


@pytest.mark.parametrize("how", ["killed", "ended", "asked"])
def test_up_goes_on_wherever_it_was_interrupted(here: Repository, how: str) -> None:
    """After each line that it says, one more each time; the last run finishes it."""
    for lines in range(1, MOST_STEPS):
        if not stopped_after(here.started("preview.up", "--branch", BRANCH), lines, how):
            break
        assert here.listed()[BRANCH]["state"] in ("interrupted", "up", "changing")
    here.fab("preview.up", "--branch", BRANCH)
    one = here.listed()[BRANCH]
    assert one["state"] == "up" and "<title>one</title>" in page(one["origin"])


@pytest.mark.parametrize("how", ["killed", "ended", "asked"])
def test_down_goes_on_wherever_it_was_interrupted(here: Repository, how: str) -> None:
    """Whatever is there then is listed, until nothing is."""
    for lines in range(1, 8):
        here.fab("preview.up", "--branch", BRANCH)
        if not stopped_after(here.started("preview.down", "--branch", BRANCH), lines, how):
            break
        listed = here.listed()
        if BRANCH not in listed:  # it had said its last line: that all of it is gone
            assert lines > len(DELETED) and left(here.kit.home) == []
            break
        assert listed[BRANCH]["state"] in ("interrupted", "up", "changing")
        here.fab("preview.down", "--branch", BRANCH)
        assert BRANCH not in here.listed()
        assert left(here.kit.home) == []


def test_what_is_half_made_is_taken_down(here: Repository) -> None:
    """By `down`, and by the sweep where the branch is gone."""
    for lines, verb in ((2, "down"), (4, "sweep"), (9, "down")):
        assert stopped_after(here.started("preview.up", "--branch", BRANCH), lines, "ended")
        if verb == "down":
            here.fab("preview.down", "--branch", BRANCH)
        else:
            here.git("branch", "-m", BRANCH, "away")
            said = here.fab("preview.sweep").stdout
            here.git("branch", "-m", "away", BRANCH)
            assert f"fixed  {BRANCH} is gone" in said
        assert here.listed() == {} and left(here.kit.home) == []


def test_an_interrupted_sweep_is_finished_by_the_next(here: Repository) -> None:
    here.fab("preview.up", "--branch", BRANCH)
    here.git("branch", "-m", BRANCH, "away")
    for lines in range(1, 7):
        if not stopped_after(here.started("preview.sweep"), lines, "ended"):
            break
    here.fab("preview.sweep")
    here.git("branch", "-m", "away", BRANCH)
    assert here.listed() == {} and left(here.kit.home) == []


def test_two_runs_on_one_branch_are_one_after_the_other(here: Repository) -> None:
    """The second waits, and the last commit serves; a `down` meanwhile waits as well."""
    first = here.started("preview.up", "--branch", BRANCH)
    commit = here.branch(BRANCH, "later")
    second = here.started("preview.up", "--branch", BRANCH)
    said = [run.communicate(timeout=400)[0] for run in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert any("waits for another run" in text for text in said)
    one = here.listed()[BRANCH]
    assert one["commit"] == commit and "<title>later</title>" in page(one["origin"])
    removing = here.started("preview.down", "--branch", BRANCH)
    making = here.started("preview.up", "--branch", BRANCH)
    said = [run.communicate(timeout=400)[0] for run in (removing, making)]
    assert (removing.returncode, making.returncode) == (0, 0), said
    here.fab("preview.down", "--branch", BRANCH)
    assert left(here.kit.home) == []


def test_slots_are_taken_in_turn_and_never_evicted(here: Repository) -> None:
    """Two slots, three branches: the third is refused with the oldest one's name."""
    here.template(preview_slots=2)
    runs = [here.started("preview.up", "--branch", name) for name in (BRANCH, "topic/two")]
    assert [(run.communicate(timeout=400), run.returncode)[1] for run in runs] == [0, 0]
    names = {one["name"] for one in here.listed().values()}
    assert names == {"preview-slot-1", "preview-slot-2"}
    refused = here.fab("preview.up", "--branch", "topic/three", status=2).stderr
    assert "all 2 slots are taken; nothing was changed" in refused and "topic/two" in refused
    freed = here.listed()["topic/two"]["name"]
    here.fab("preview.down", "--branch", "topic/two")
    here.fab("preview.up", "--branch", "topic/three")
    assert here.listed()["topic/three"]["name"] == freed
    here.template()
    for name in (BRANCH, "topic/three"):  # the template has no slot any more: nothing stays
        here.fab("preview.down", "--branch", name)
    assert here.listed() == {} and left(here.kit.home) == []


def test_what_can_t_be_read_is_never_made_over(here: Repository) -> None:
    """A damaged state: listed, reported, left alone by everything."""
    here.fab("preview.up", "--branch", BRANCH)
    one = here.listed()[BRANCH]
    state = here.kit.home / "state/.pulumi/stacks/origin-kit" / f"{one['name']}.json"
    good = state.read_text()
    state.write_text(good[:100])
    try:
        document = json.loads(here.fab("preview.list", "--json").stdout)
        assert [each["state"] for each in document["previews"]] == ["unreadable"]
        for verb, status in (("down", 4), ("sweep", 1)):
            more = ("--branch", one["name"]) if verb == "down" else ()
            said = here.fab(f"preview.{verb}", *more, status=status)
            assert "can't be read" in said.stdout + said.stderr
        assert "<title>" in page(one["origin"])
    finally:
        state.write_text(good)
    assert here.listed()[BRANCH]["state"] == "up"


def test_what_no_state_speaks_for_is_found_and_removed(here: Repository) -> None:
    """Machines, mounts, bridge and notes of a preview whose state was lost."""
    here.fab("preview.up", "--branch", BRANCH)
    stack = here.listed()[BRANCH]["name"]
    for path in (here.kit.home / "state/.pulumi/stacks/origin-kit").glob(f"{stack}.json*"):
        path.unlink()
    would = here.fab("preview.sweep", "--dry-run").stdout
    for kind in ("machine", "mount of", "bridge", "stacks/Pulumi."):
        assert f"left   {stack}: {kind}" in would
    assert f"fixed  the rest of {stack} is gone" in here.fab("preview.sweep").stdout
    assert left(here.kit.home) == []


def test_another_checkout_s_preview_is_left_alone(here: Repository, tmp_path: Path) -> None:
    """On one host two checkouts list the same previews, and each removes its own."""
    here.fab("preview.up", "--branch", BRANCH)
    other = Repository(here.kit, tmp_path / "other")
    shutil.copytree(here.folder, other.folder, symlinks=True)
    for path in (other.folder / "stacks").glob("Pulumi.preview-*"):
        path.unlink()
    assert other.listed()[BRANCH]["checkout"] == str(here.folder)
    for verb in ("up", "down"):
        said = other.fab(f"preview.{verb}", "--branch", BRANCH, status=2).stderr
        assert "belongs to" in said and "nothing was changed" in said
    other.git("branch", "-qD", BRANCH)
    assert f"stays  {BRANCH}: belongs to" in other.fab("preview.sweep").stdout
    other.fab("preview.up", "--branch", "topic/two")
    assert set(here.listed()) == {BRANCH, "topic/two"}
    other.fab("preview.down", "--branch", "topic/two")
    assert here.listed()[BRANCH]["state"] == "up"
    here.fab("preview.down", "--branch", BRANCH)
    assert left(here.kit.home) == []
