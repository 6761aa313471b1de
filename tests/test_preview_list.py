"""What is listed, swept and commented: states, fates, and texts that anybody may have written."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.core.previews import name_of
from rollout.finding import Finding
from rollout.previews import comment, leftovers, listing, registry, sweep
from rollout.previews.branches import Branches
from rollout.previews.lifetime import stamp
from rollout.previews.listing import Row
from rollout.previews.living import (
    BUSY,
    EXPIRED,
    INTERRUPTED,
    UNREADABLE,
    UP,
    VACANT,
    Known,
    known,
    of_branch,
)
from rollout.previews.making import Template
from rollout.previews.registry import Entry
from rollout.previews.run_records import Note, RunRecords, Sweep
from tests.test_render import load

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
BRANCH = "Über/x"
STACK = name_of(BRANCH)
THERE = Branches({BRANCH: "c" * 40}, {})
NOWHERE = Branches({}, {})


def entry(hours: float = 1, **noted: Any) -> Entry:
    """A preview that was updated so many hours ago."""
    contract = load("local-ip").to_json() | {
        "environment": STACK,
        "kind": "preview",
        "branch": BRANCH,
        "preview": {"owner": "ada"},
    }
    usual = {"branch": BRANCH, "owner": "ada", "commit": "c" * 40, "ttl_h": 72, "keep": False}
    updated = stamp(NOW - timedelta(hours=hours))
    return Entry(STACK, {"contract": contract, "preview": {**usual, "updated": updated, **noted}})


def slot(number: int = 2, hours: float = 1, doing: str = "") -> Known:
    """A vacant slot; its contract names the branch that has left."""
    stack = f"preview-slot-{number}"
    found = replace(entry(hours, vacant=True), stack=stack)
    return Known(stack, found, replace(note(doing), stack=stack) if doing else None)


def note(doing: str = "up", branch: str = BRANCH) -> Note:
    return Note(STACK, branch, doing, stamp(NOW), "/checkout")


# ------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (Known(STACK, entry(1)), UP),
        (Known(STACK, entry(72)), EXPIRED),
        (Known(STACK, entry(72, keep=True)), UP),
        (Known(STACK, entry(99, updated="?")), UP),
        (Known(STACK, entry(1), note()), INTERRUPTED),
        (Known(STACK, None, note()), INTERRUPTED),
        (Known(STACK, Entry(STACK)), INTERRUPTED),
        (Known(STACK, entry(1), note(), busy=True), BUSY),
        (Known(STACK, Entry(STACK, problem="broken")), UNREADABLE),
        (slot(), VACANT),
        (slot(hours=99), VACANT),
        (slot(doing="up"), INTERRUPTED),
        (slot(doing="down"), INTERRUPTED),
    ],
)
def test_a_preview_has_one_state(one: Known, state: str) -> None:
    assert one.state(NOW, 72) == state


def test_a_vacant_slot_has_no_branch() -> None:
    """Of its contract's nobody asks; one that takes it, or has not left it whole, is noted."""
    assert (slot().branch, slot().place.vacant) == ("", True)
    assert (slot(doing="up").branch, slot(doing="up").place.vacant) == (BRANCH, False)
    assert of_branch([slot()], BRANCH) is None
    assert Known(STACK, entry(vacant=True)).branch == BRANCH  # a name of its own, and no slot
    assert of_branch([slot()], "preview-slot-2") is not None


def test_a_preview_is_found_by_its_branch_or_its_name() -> None:
    found = [Known("preview-a-1", Entry("preview-a-1")), Known(STACK, entry())]
    assert of_branch(found, BRANCH) is found[1]
    assert of_branch(found, "preview-a-1") is found[0]
    assert of_branch(found, "other") is None


# -------------------------------------------------------------------------------------------- fates


@pytest.mark.parametrize(
    ("one", "there", "goes", "why"),
    [
        (Known(STACK, entry(1)), THERE, False, "expires in 71 h"),
        (Known(STACK, entry(73)), THERE, True, "expired 1 h ago"),
        (Known(STACK, entry(1)), NOWHERE, True, "its branch is gone"),
        (Known(STACK, entry(99, keep=True)), NOWHERE, False, "pinned by --keep"),
        (Known(STACK, entry(99), None, busy=True), NOWHERE, False, "a run is changing it now"),
        (Known(STACK, entry(1), note("down")), THERE, True, "its removal was interrupted"),
        (Known(STACK, entry(1), note("up")), THERE, False, "expires in 71 h"),
        (Known(STACK, Entry(STACK, problem="broken")), NOWHERE, False, "can't be read: broken"),
        (Known(STACK, Entry(STACK)), NOWHERE, False, "nobody knows its branch"),
        (Known(STACK, entry(1, updated="?")), THERE, False, "when it was updated can't be read"),
        (
            Known(STACK, entry(1)),
            Branches({}, None, problem="no network"),
            False,
            "whether its branch is gone is unknown",
        ),
        (
            Known(STACK, entry(1)),
            replace(THERE, merged=frozenset(["c" * 40])),
            True,
            "its branch is merged",
        ),
        (slot(), NOWHERE, False, "a vacant slot; removed in 71 h"),
        (slot(hours=73), THERE, True, "a slot that has been vacant for too long"),
        (slot(3), THERE, True, "a vacant slot, and preview_slots is 2"),
        (slot(doing="down"), THERE, True, "its removal was interrupted"),
    ],
)
def test_what_becomes_of_a_preview(one: Known, there: Branches, goes: bool, why: str) -> None:
    fate = sweep.judge(one, there, NOW, Template("", {"preview_slots": "2"}), None)
    assert (fate.goes, why in fate.why) == (goes, True), fate.why
    assert fate.wrong is any(word in why for word in ("can't be read", "nobody knows"))


def test_when_somebody_swept_is_said() -> None:
    """As far as this computer knows, and whether that is too long ago."""
    assert listing.swept_text(Sweep(stamp(NOW - timedelta(hours=3)), "ci"), NOW) == (
        "last sweep 3 h ago, by ci"
    )
    late = listing.swept_text(Sweep(stamp(NOW - timedelta(hours=50)), "ci"), NOW)
    assert late.endswith(": it should run every night")
    assert listing.swept_text(None, NOW).startswith("nobody sweeps")


# ----------------------------------------------------------------------------------------- the list


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a preview, one that was made partly, and one whose state is damaged."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(folder))
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))
    states = folder / "state/.pulumi/stacks/origin-kit"
    states.mkdir(parents=True)
    stack = {"type": "pulumi:pulumi:Stack", "outputs": entry(99).outputs}
    for name, resources in ((STACK, [stack]), ("preview-half-1", []), ("staging", [stack])):
        state = {"version": 3, "checkpoint": {"latest": {"resources": resources}}}
        (states / f"{name}.json").write_text(json.dumps(state))
    (states / "preview-z-1.json").write_text("{")
    (states / f"{STACK}.json.bak").write_text("{")
    return folder


def test_the_stacks_are_the_registry(home: Path) -> None:
    """Only those that are called as previews are; one that can't be read says why."""
    found = registry.all_("local")
    assert [one.stack for one in found] == ["preview-half-1", STACK, "preview-z-1"]
    assert found[1].contract and found[1].branch == BRANCH
    assert found[0].contract is None and not found[0].problem
    assert "preview-z-1.json: not JSON" in found[2].problem


def test_a_lock_counts_while_its_run_may_live(home: Path) -> None:
    """Of this host's runs those are gone whose process is; of another's nobody knows it here."""
    folder = home / "state/.pulumi/locks/organization/origin-kit" / STACK
    folder.mkdir(parents=True)
    for pid, host, held in ((os.getpid(), platform.node(), True), (0, platform.node(), False)):
        (folder / "x.json").write_text(json.dumps({"pid": pid, "hostname": host}))
        assert registry.all_("local")[1].locked is held
    (folder / "x.json").write_text(json.dumps({"pid": 0, "hostname": "elsewhere"}))
    assert registry.all_("local")[1].locked


def test_the_list_shows_all_of_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Template, "read", lambda: Template("", {"cloud": "local"}))
    found, swept = listing.rows(NOW)
    text = listing.as_text(found, swept, NOW)
    states = {row.name: row.state for row in found}
    assert states == {STACK: EXPIRED, "preview-half-1": INTERRUPTED, "preview-z-1": UNREADABLE}
    assert f"{BRANCH}  " in text and "nobody sweeps" in text
    document = json.loads(listing.as_json(found, swept, NOW))
    one = {each["name"]: each for each in document["previews"]}[STACK]
    assert one["age_s"] == 99 * 3600 and one["cost_month_usd"] == 0 and one["branch"] == BRANCH
    assert document["swept"] is None


def test_listing_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    assert known("local") == []
    assert not (tmp_path / "home").exists()


class MadeMeanwhile(RunRecords):
    """Another run makes the preview before this one gets its lock."""

    @contextmanager
    def held(self, stack: str, *words: Any) -> Iterator[None]:
        self.begin(stack, BRANCH, "up", Path("/checkout"))
        with super().held(stack, *words):
            yield


def test_what_is_made_meanwhile_is_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    config = tmp_path / "home/config" / f"Pulumi.{STACK}.yaml"
    records = MadeMeanwhile(RunRecords.of("local").folder)
    config.parent.mkdir()
    config.touch()
    assert leftovers.found("local") == [f"{STACK}: note {config}"]
    assert leftovers.remove("local", records) == []
    assert config.exists()


# -------------------------------------------------------------------------------------- the comment

ROW = Row(
    STACK, BRANCH, UP, "http://10.0.0.1", "http://10.0.0.2", "", "ada", "c" * 40, "", "", False, 0.0
)
GOOD = comment.Verdict(0, "works", "works: …", "works: …")


@pytest.mark.parametrize("hostile", ["`x` @team | <img>", "``` ![x](y)", "a\n# b", "|", "`"])
def test_what_anybody_wrote_stays_text(hostile: str) -> None:
    """In a code span of its own, on one line, with every bar of the table escaped."""
    text = comment.text(replace(ROW, branch=hostile), GOOD, NOW, subject=hostile)
    line = next(line for line in text.splitlines() if line.startswith("| Commit"))
    assert line.replace("\\|", "").count("|") == 3
    span = comment.code(hostile)
    fence = span[: len(span) - len(span.lstrip("`"))]
    inner = span[len(fence) : -len(fence)]
    assert fence not in inner.replace(fence + "`", "") or inner.strip("` ") == ""
    assert "\n" not in span and span in text


def test_a_comment_says_what_a_reviewer_asks() -> None:
    expiring = replace(ROW, expires=stamp(NOW + timedelta(hours=71)), cost=46.15)
    text = comment.text(expiring, GOOD, NOW)
    assert text.startswith(comment.MARK + "\n### Preview of `Über/x` is up\n")
    for line in (
        "| Page | <http://10.0.0.1/> |",
        "| Commit | `cccccccccccc` |",
        "| Reading | works |",
        "| Expires | 2026-12-03T11:00:00Z, 71 h from now, unless it is updated |",
        "| Cost | about $46 a month, by list prices of 2025 |",
    ):
        assert line in text.splitlines()


def test_a_red_doctor_names_its_findings() -> None:
    red = replace(GOOD, status=1, findings=[Finding("`````no````` answer", "run `fab deploy`", "")])
    text = comment.text(ROW, red, NOW)
    assert "is up, but something is wrong" in text
    opening, *_, closing = text[text.index("\n```") + 1 :].splitlines()
    assert opening == f"{closing}text" and text.count(closing) == 2


def test_a_preview_that_is_not_up_says_its_state() -> None:
    text = comment.text(replace(ROW, state=INTERRUPTED, origin="", commit=""), None, NOW)
    assert "is not up (interrupted)" in text and "Page" not in text
