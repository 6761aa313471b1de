"""Slots and caps, lifetimes, costs, the template, and what is kept of previews on this side."""

from __future__ import annotations

import multiprocessing
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from infra.core.home import occupying
from infra.core.previews import slot_name, slot_of
from rollout import local_stack
from rollout.previews import cost, lifetime, template
from rollout.previews.places import FullError, Living, choose
from rollout.previews.run_records import BusyError, RunRecords

# -------------------------------------------------------------------------------------- which stack

OLD = Living("preview-slot-2", "old", "2026-11-01T00:00:00Z")
NEW = Living("preview-slot-1", "new", "2026-11-02T00:00:00Z")


def test_a_branch_keeps_its_stack() -> None:
    """Whatever the template says of slots now."""
    assert choose("old", "preview-old-1", [OLD, NEW], slots=0, most=1) == "preview-slot-2"
    named = Living("preview-old-1", "old")
    assert choose("old", "preview-old-1", [named], slots=3, most=1) == "preview-old-1"


def test_the_first_free_slot_is_taken() -> None:
    assert choose("x", "preview-x-1", [], slots=2, most=1) == "preview-slot-1"
    assert choose("x", "preview-x-1", [OLD], slots=2, most=1) == "preview-slot-1"
    assert choose("x", "preview-x-1", [NEW], slots=2, most=1) == "preview-slot-2"


def test_a_vacant_slot_comes_before_one_that_is_not_made() -> None:
    """Its machines are there already; a number that the template no longer has is left alone."""
    vacant = Living("preview-slot-3", "", vacant=True)
    assert choose("x", "preview-x-1", [NEW, vacant], slots=3, most=1) == "preview-slot-3"
    assert choose("x", "preview-x-1", [NEW, vacant], slots=2, most=1) == "preview-slot-2"
    assert choose("new", "preview-new-1", [NEW, vacant], slots=3, most=1) == NEW.stack


def test_a_vacant_slot_is_no_preview_that_the_cap_counts() -> None:
    vacant = Living("preview-slot-1", "", vacant=True)
    assert choose("b", "preview-b-1", [vacant], slots=0, most=1) == "preview-b-1"


def test_all_slots_taken_is_a_refusal_with_the_oldest_first() -> None:
    with pytest.raises(FullError) as caught:
        choose("x", "preview-x-1", [NEW, OLD], slots=2, most=9)
    text = str(caught.value)
    assert text.startswith(
        "all 2 slots are taken; nothing was changed. The oldest:\n  old (updated"
    )
    assert text.endswith("`fab preview.down --branch old`, or run `fab preview.sweep`")


def test_a_slot_of_an_unknown_branch_is_not_free() -> None:
    """It was interrupted before anybody could read whose it is."""
    unknown = Living("preview-slot-1", "")
    assert choose("x", "preview-x-1", [unknown], slots=2, most=1) == "preview-slot-2"
    with pytest.raises(FullError, match="preview-slot-1, interrupted before it had a branch"):
        choose("x", "preview-x-1", [unknown], slots=1, most=1)


def test_the_cap_counts_every_preview() -> None:
    """Slots of an earlier template included."""
    living = [OLD, NEW, Living("preview-a-1", "a", "2026-11-01T00:00:00Z")]
    assert choose("b", "preview-b-1", living, slots=0, most=4) == "preview-b-1"
    with pytest.raises(FullError, match="there are 3 previews, and preview_max is 3"):
        choose("b", "preview-b-1", living, slots=0, most=3)


def test_one_that_is_half_made_is_not_counted_against_itself() -> None:
    mine = Living("preview-b-1", "")
    assert choose("b", "preview-b-1", [mine], slots=0, most=1) == "preview-b-1"


@given(some.lists(some.integers(1, 50), unique=True, max_size=20), some.integers(1, 50))
def test_no_two_branches_get_one_slot(taken: list[int], slots: int) -> None:
    living = [Living(slot_name(number), f"b{number}") for number in taken]
    if len({number for number in taken if number <= slots}) == slots:
        with pytest.raises(FullError):
            choose("x", "preview-x-1", living, slots, 1)
        return
    found = choose("x", "preview-x-1", living, slots, 1)
    assert found not in [preview.stack for preview in living]
    assert 1 <= (slot_of(found) or 0) <= slots


# --------------------------------------------------------------------- how long, and for how much


def test_a_preview_expires_hours_after_its_last_update() -> None:
    moment = datetime(2026, 11, 30, 23, 59, 59, 999, UTC)
    noted = lifetime.stamp(moment)
    assert noted == "2026-11-30T23:59:59Z"
    assert lifetime.expiry(noted, 72) == datetime(2026, 12, 3, 23, 59, 59, tzinfo=UTC)
    assert lifetime.expiry("yesterday", 72) is None


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(seconds=-3), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=71), "71 h"),
        (timedelta(hours=72), "3 d"),
    ],
)
def test_a_span_in_words(span: timedelta, words: str) -> None:
    assert lifetime.in_words(span) == words


def test_what_has_no_price_is_unknown() -> None:
    assert cost.a_month("local", "", "", 0, 2) == 0
    assert cost.a_month("aws", "eu-central-1", "x9.huge", 20, 2) is None
    assert cost.a_month("aws", "mars-north-1", "t3.small", 20, 2) is None
    assert cost.in_words(None) == "unknown"


def test_a_month_is_hours_addresses_and_disks() -> None:
    """Two t3.small with 20 GB each in Frankfurt: 2 × ((0.024 + 0.005) × 730 + 20 × 0.0952)."""
    amount = cost.a_month("aws", "eu-central-1", "t3.small", 20, 2)
    assert amount == pytest.approx(46.15, abs=0.01)
    assert cost.in_words(amount) == "about $46"


# ------------------------------------------------------------------------------------- the template

TEMPLATE = """\
# Ours.
encryptionsalt: v1:abc
config:
  origin-kit:cloud: aws
  origin-kit:env:
    FEATURE: "on"
  # Of all previews.
  origin-kit:env.SECRET_KEY:
    secure: v1:def
  origin-kit:frontend_name: app
"""
KEYS = some.sampled_from(["branch", "frontend_name", "preview_keep", "attached_backend"])
TEXTS = some.text(some.sampled_from("aÜ/😀'\"#:{}[]&*!|>%@`\\ -\n"), max_size=20)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some.dictionaries(KEYS, some.one_of(some.none(), some.booleans(), TEXTS)))
def test_a_generated_file_is_the_template_and_the_keys(values: dict[str, Any]) -> None:
    """Whatever a branch is called; nothing else of the template changes."""
    written = template.config_of(TEMPLATE, values)
    expected = yaml.safe_load(TEMPLATE)
    for key, value in values.items():
        expected["config"].pop(f"origin-kit:{key}", None)
        if value is not None:
            expected["config"][f"origin-kit:{key}"] = value
    assert yaml.safe_load(written) == expected
    assert "# Of all previews." in written


def test_secrets_that_one_stack_alone_can_read_are_refused() -> None:
    with pytest.raises(template.TemplateError, match="can be read by one stack only"):
        template.config_of(TEMPLATE.replace("encryptionsalt: v1:abc\n", ""), {})
    service = TEMPLATE.replace(
        "encryptionsalt: v1:abc", "secretsprovider: awskms://alias/x\nencryptedkey: abc"
    )
    written = template.config_of(service, {"branch": "x"})
    assert template.secrets_provider(written) == "awskms://alias/x"


# ------------------------------------------------------------------------------ the records of runs


def hold(folder: Path, ready: Any, release: Any) -> None:
    with RunRecords(folder).held("preview-x", 5, print):
        ready.set()
        release.wait(10)


def test_one_run_has_a_preview_at_a_time(tmp_path: Path) -> None:
    """The other one says that it waits; its lock goes with a process that is killed."""
    records, context = RunRecords(tmp_path), multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready, release))
    process.start()
    assert ready.wait(10)
    said: list[str] = []
    assert records.is_held("preview-x")
    with (
        pytest.raises(BusyError, match=rf"another run \(pid {process.pid}\) is changing"),
        records.held("preview-x", 0.2, said.append),
    ):
        pass
    assert said == [f"waits for another run (pid {process.pid})"]
    with records.held("preview-y", 0, said.append):
        pass
    process.kill()
    process.join()
    with records.held("preview-x", 5, said.append):
        assert not records.is_held("preview-y")
    assert not list(tmp_path.iterdir())


def test_a_run_begins_before_or_after_the_home_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the last preview's `down` its home goes, while an `up` waits for that very `down`."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))
    records = RunRecords.of("local")
    entered, ending = threading.Event(), threading.Event()

    def run() -> None:
        with records.held("preview-x", 5):
            entered.set()
            ending.wait(5)

    with occupying():
        thread = threading.Thread(target=run)
        thread.start()
        assert not entered.wait(0.3)
        assert not list(records.folder.iterdir())
    assert entered.wait(5)
    local_stack.leave_unused()
    assert records.is_held("preview-x")
    ending.set()
    thread.join()
    with records.choosing(0):  # it chooses a slot, of which there is no note yet
        local_stack.leave_unused()
        assert (records.folder / ".choosing.lock").exists()
    local_stack.leave_unused()
    assert not (tmp_path / "home").exists()


def test_what_was_interrupted_is_noted(tmp_path: Path) -> None:
    records = RunRecords(tmp_path)
    assert records.note("preview-x") is None
    records.begin("preview-x", "Über/x", "up", tmp_path)
    found = records.note("preview-x")
    assert found and (found.branch, found.doing, found.checkout) == ("Über/x", "up", str(tmp_path))
    (tmp_path / "preview-z.json").write_text("{")
    assert [note.stack for note in records.notes()] == ["preview-x", "preview-z"]
    records.end("preview-x")
    assert records.note("preview-x") is None


def test_a_sweep_is_noted(tmp_path: Path) -> None:
    records = RunRecords(tmp_path)
    assert records.last_sweep() is None
    records.swept("ada@laptop")
    found = records.last_sweep()
    assert found and found.by == "ada@laptop" and lifetime.parsed(found.at)
