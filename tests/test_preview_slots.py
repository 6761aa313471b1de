"""The machines of a slot on the operator's side: emptied and kept, or destroyed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Contract, Json
from infra.core.home import state_dir
from infra.core.settings import Settings
from infra.core.stackfile import stack_values
from rollout import access, hosts, infrastructure, stacks
from rollout.host_errors import HostError
from rollout.previews import down, living, registry, slots, template
from rollout.previews.attach import attach
from rollout.previews.living import Known, known, of_branch
from rollout.previews.making import Template
from rollout.previews.run_records import RunRecords
from rollout.previews.up import Wishes
from rollout.stacks import PROJECT
from tests.support.previews import (
    ENVIRONMENT,
    FakeHost,
    bring_up,
    environment,
    in_a_checkout,
    preview,
    sessions,
    state,
    write_state,
)

BRANCH, SLOT, ORIGIN = "feature/x", "preview-slot-1", "http://10.77.0.11"
CONFIG = {
    "cloud": "local",
    "application": "shop",
    "wsgi": "shop.wsgi:application",
    "settings": "shop.settings",
    "backend_path": "examples/backend",
    "frontend_path": "examples/frontend",
    "preview_mode": "frontend",
    "attach_to": ENVIRONMENT,
    "preview_slots": "2",
}
NOW = datetime(2026, 11, 30, 19, tzinfo=UTC)
READ = Template("config:\n  origin-kit:cloud: local\n", CONFIG)


class Emptied(FakeHost):
    """A host of the slot; `fails` is what happens at the order to empty it."""

    fails: Callable[[], object] = staticmethod(lambda: None)

    def ask(self, verb: str, orders: Any, **_: Any) -> Json:
        self.sent.append({**orders, "verb": verb})
        assert verb == "empty"
        self.fails()
        return {}


@dataclass
class Slot:
    """A branch's preview in a slot, attached to an environment, and all that becomes of both."""

    host: Emptied
    environment: FakeHost
    steps: list[str] = field(default_factory=list)

    @property
    def found(self) -> Known:
        found = of_branch(known("local"), SLOT)
        assert found
        return found

    def down(self, **wishes: Any) -> down.Gone:
        with RunRecords.of("local").held(SLOT, 0):
            wished = Wishes(engine="embedded", **wishes)
            return down.remove(self.found, BRANCH, RunRecords.of("local"), READ, wished)

    def taken(self) -> None:
        slots.taken(self.found, READ, "embedded", 60)

    def up(self, settings: Settings, _engine: str, take_over: bool, allowed: object) -> None:
        """What the program would export."""
        assert stack_values(stacks.ROOT, SLOT)[f"{PROJECT}:preview_vacant"] is True
        assert allowed == slots.DISPOSABLE and self.environment.attached == {}
        self.steps.append("vacant" if settings.preview_vacant else "up")
        write(settings.preview_vacant)

    def destroy(self, settings: Settings, *_: Any, **__: Any) -> bool:
        self.steps.append("destroyed")
        (state_dir() / f".pulumi/stacks/{PROJECT}/{settings.stack}.json").unlink()
        return True


def write(vacant: bool) -> Contract:
    """The slot's state."""
    contract = replace(preview(SLOT, ORIGIN), project=PROJECT, branch=BRANCH)
    noted = {
        "attach_to": ENVIRONMENT,
        "branch": BRANCH,
        "vacant": vacant,
        "updated": "2026-11-30T18:00:00Z",
    }
    write_state(SLOT, state({"contract": contract.to_json(), "preview": noted}))
    return contract


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slot:
    in_a_checkout(tmp_path, monkeypatch)
    other = bring_up(monkeypatch, environment())
    contract = write(vacant=False)
    ((_, host),) = contract.hosts
    made = Slot(Emptied(host, {}), other)
    monkeypatch.setattr(hosts, "session", sessions({host.name: made.host, other.host.name: other}))
    monkeypatch.setattr(access, "identity", lambda contract: None)
    monkeypatch.setattr(infrastructure, "up", made.up)
    monkeypatch.setattr(infrastructure, "down", made.destroy)
    attach(ENVIRONMENT)
    assert other.attached == {SLOT: ORIGIN}
    return made


def test_a_branch_leaves_its_slot_and_the_slot_stays(slot: Slot) -> None:
    """Its origin is refused before anything else, its hosts are emptied before anybody may take
    the slot, and nothing is noted of it on this side."""
    slot.host.fails = lambda: slot.steps.append(f"emptied, {dict(slot.environment.attached)}")
    gone = slot.down()
    assert slot.steps == ["emptied, {}", "vacant"]
    assert str(gone) == f"the preview of {BRANCH} is gone; {SLOT} stays for the next branch"
    assert slot.found.state(NOW, 72) == living.VACANT and slot.found.branch == ""
    assert slot.environment.attached == {} and registry.live(ENVIRONMENT).origins == {}
    assert RunRecords.of("local").notes() == [] and not template.has(SLOT)


def test_a_slot_that_can_not_be_emptied_is_destroyed(slot: Slot) -> None:
    def fails() -> None:
        raise HostError(slot.host.host, "it does not answer")

    slot.host.fails = fails
    assert str(slot.down()) == f"the preview of {BRANCH} is gone"
    assert slot.steps == ["destroyed"] and known("local") == []


def test_a_slot_is_taken_by_nobody_until_it_is_empty(slot: Slot) -> None:
    """Emptying it was interrupted: it is the branch's still, and the next run finishes."""

    def stopped() -> None:
        raise KeyboardInterrupt

    slot.host.fails = stopped
    with pytest.raises(KeyboardInterrupt):
        slot.down()
    assert (slot.found.branch, slot.found.place.vacant) == (BRANCH, False)
    assert slot.found.state(NOW, 72) == living.INTERRUPTED
    slot.host.fails = lambda: None
    slot.down()
    assert slot.steps == ["vacant"] and slot.found.is_vacant


def test_a_slot_that_a_template_no_longer_has_is_destroyed(slot: Slot) -> None:
    few = replace(READ, config={**CONFIG, "preview_slots": "0"})
    assert [slots.stays(slot.found, read) for read in (READ, few)] == [True, False]
    slot.down(destroy=True)
    assert slot.steps == ["destroyed"] and slot.host.sent == []


def test_who_takes_a_vacant_slot_has_it_emptied_once_more(slot: Slot) -> None:
    """Whatever was put there meanwhile; and where that fails, there are new machines."""
    slot.taken()
    assert slot.host.sent == []  # it is not vacant
    write(vacant=True)
    slot.taken()
    assert slot.host.verbs == ["empty"] and slot.steps == []

    def fails() -> None:
        raise HostError(slot.host.host, "it does not answer")

    slot.host.fails = fails
    slot.taken()
    assert slot.steps == ["destroyed"] and known("local") == []


def test_the_end_of_a_vacant_slot_is_asked_for(slot: Slot) -> None:
    """By its own name: the branch that had it has no preview."""
    write(vacant=True)
    assert of_branch(known("local"), BRANCH) is None
    slot.down(destroy=True)
    assert slot.steps == ["destroyed"] and RunRecords.of("local").notes() == []
