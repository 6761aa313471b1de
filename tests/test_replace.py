"""`fab replace` without hosts: its steps, its journal, its edit of the config."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from infra.core.serials import Serials
from infra.core.settings import Settings
from infra.core.stackfile import StackFileError, with_key
from rollout import replace
from rollout.changes import Change
from rollout.replace.store import Copy, Journal, Store, StoreError
from tests.test_settings import GOOD

KEY = "origin-kit:serials"


@pytest.mark.parametrize(
    ("serials", "first"),
    [("1", "add"), ("1+2", "add"), ("2+1", "switch"), ("2-1", "unprotect"), ("2", "remove")],
)
def test_the_config_says_where_it_goes_on(serials: str, first: str) -> None:
    """Whoever killed the run before, and wherever."""
    assert replace.first_step(Serials.parse(serials), old=1) == first


def test_what_a_host_needs_of_the_steps() -> None:
    """A frontend has no data; only production is protected."""
    names = [step.name for step in replace.steps("frontend", production=False)]
    assert names == [
        "add",
        "ready",
        "build",
        "ship",
        "deploy",
        "switch",
        "verify",
        "remove",
        "clear",
    ]
    assert [step.name for step in replace.steps("backend", True, "switch")] == [
        "switch",
        "verify",
        "unprotect",
        "remove",
        "clear",
    ]
    everything = replace.steps("backend", True)
    assert len(everything) == len(replace.STEPS)
    assert all(callable(getattr(replace.Replacement, step.name)) for step in everything)
    serving = [step.name for step in everything if step.serving]
    assert serving == [step.name for step in everything][: everything.index(everything[8])]


def machine(verb: str, name: str) -> Change:
    return Change(f"urn:pulumi:x::origin-kit::c$pulumi-python:dynamic/local:Machine::{name}", verb)


def test_only_what_is_named_is_lost() -> None:
    """The old machine, in the last run; its namesake of another kind is something else."""
    refuse_others = replace.only("machine backend-1")
    refuse_others([machine("delete", "backend-1"), machine("create", "backend-1-2")])
    for change in (
        machine("delete", "frontend-1"),
        machine("replace", "backend-1-2"),
        Change("urn:pulumi:x::origin-kit::aws:ec2/eip:Eip::backend-1", "delete"),
    ):
        with pytest.raises(replace.UnexpectedError, match="nothing to do with it"):
            refuse_others([change])


FILE = """# mine
config:
  # a comment
  origin-kit:cloud: local
  origin-kit:env:
    A: "b"
encryptionsalt: v1:x
"""


def test_the_config_is_edited_in_place() -> None:
    """Every other byte stays; a second edit replaces the first, in whatever form that is; none is
    none."""
    once = with_key(FILE, KEY, '{backend-1: "1+2"}')
    assert yaml.safe_load(once)["config"][KEY] == {"backend-1": "1+2"}
    assert once.replace(f'  {KEY}: {{backend-1: "1+2"}}\n', "") == FILE
    twice = with_key(once, KEY, '{backend-1: "2+1"}')
    assert yaml.safe_load(twice)["config"][KEY] == {"backend-1": "2+1"}
    block = FILE.replace(
        "  origin-kit:env:",
        f'  {KEY}:\n    backend-1: "1+2"\n    frontend-1: "3"\n  origin-kit:env:',
    )
    assert with_key(block, KEY, None) == FILE
    assert with_key(FILE, KEY, None) == FILE
    with pytest.raises(StackFileError, match="write after"):
        with_key("config: {}\n", KEY, "{}")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    return Store(Settings.read(GOOD, "x"))


def test_a_copy_counts_for_its_closing_alone(store: Store) -> None:
    """And only as it was sent; nobody else can read it."""
    journal = store.write(Journal("backend-1", 1, 2))
    with store.arriving(journal) as arrival:
        arrival.write(b"data")
        good = Copy("closing", 4, arrival.digest(), {})
        with pytest.raises(StoreError, match="damaged"):
            store.keep(journal, arrival, Copy("closing", 4, "0" * 64, {}))
        journal = store.keep(journal, arrival, good)
    assert store.read() == journal
    assert store.place(journal).stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert store.has(journal, "closing") and not store.has(journal, "another")
    store.place(journal).write_bytes(b"dat")
    assert not store.has(journal, "closing")


def test_a_copy_of_before_says_nothing_of_a_seed(store: Store) -> None:
    """Its journal was written by a kit that did not ask; no preview had been replaced by one."""
    journal = Journal("backend-1", 1, 2, copy=Copy("closing", 4, "0" * 64, {}, "done"))
    assert store.write(journal) == store.read()
    path = store.folder / "x.json"
    path.write_text(path.read_text().replace(', "seed": "done"', ""))
    found = store.read()
    assert found and found.copy and found.copy.seed == ""


def test_a_copy_that_was_cut_short_leaves_nothing(store: Store) -> None:
    journal = store.write(Journal("backend-1", 1, 2))
    with pytest.raises(KeyboardInterrupt), store.arriving(journal) as arrival:
        arrival.write(b"half")
        raise KeyboardInterrupt
    assert {path.suffix for path in store.folder.iterdir()} == {".json"}


def test_a_finished_replacement_s_journal_is_removed(store: Store) -> None:
    """The config has gone further: nothing that it says may be taken back to what an old journal
    says."""
    store.write(Journal("backend-1", 1, 2))
    later = Settings.read(GOOD | {"serials": '{"backend-1": "3"}'}, "x")
    assert replace.journal_of(store, later, "backend-1", keep_copy=False) is None
    assert store.read() is None
    store.write(Journal("backend-1", 1, 2))
    again = Settings.read(GOOD | {"serials": '{"backend-1": "2+3"}'}, "x")
    assert replace.journal_of(store, again, "backend-1", keep_copy=False) == Journal(
        "backend-1", 2, 3
    )
    with pytest.raises(replace.ReplaceError, match="backend-1 is being replaced"):
        replace.journal_of(store, again, "frontend-1", keep_copy=False)


def test_two_at_once_exclude_each_other(store: Store) -> None:
    with store.locked(), pytest.raises(StoreError, match="under way here"), store.locked():
        pass


def test_a_damaged_journal_is_named(store: Store) -> None:
    (store.folder / "x.json").write_text("{}")
    with pytest.raises(StoreError, match="remove it"):
        store.read()


def test_a_cloud_s_journal_needs_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the operator's own state folder."""
    monkeypatch.delenv("ORIGIN_KIT_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    settings = Settings(**{**vars(Settings.read(GOOD, "x")), "cloud": "aws"})
    assert Store(settings).folder == tmp_path / "origin-kit" / "replace"
    assert os.access(tmp_path / "origin-kit" / "replace", os.W_OK)
