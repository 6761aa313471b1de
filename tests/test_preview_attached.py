"""What the verbs of previews make of the environment that one is attached to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rollout.previews import attached, making, registry, sweep, up
from rollout.previews.attach import attach
from rollout.previews.living import Known
from rollout.previews.making import Template
from rollout.previews.permitted import DeniedError
from rollout.previews.registry import Entry
from rollout.previews.removing import Removals
from rollout.previews.run_records import Note, RunRecords
from rollout.previews.sweep import Swept
from rollout.previews.up import Wishes
from rollout.state_files import NotUpError
from tests.support.previews import (
    ENVIRONMENT,
    FakeHost,
    bring_up,
    environment,
    production,
    state,
    without_hosts,
    write_preview,
    write_state,
)
from tests.test_settings import GOOD

ONE, TWO = "preview-one-0123abcd", "preview-two-4567abcd"
AT_ONE, AT_TWO = "http://10.77.0.11", "http://10.77.0.12"
FRONTEND = {"preview_mode": "frontend", "attach_to": ENVIRONMENT, "cloud": "local"}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """The environment's backend host."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    return bring_up(monkeypatch, environment())


def template(**config: str) -> Template:
    return Template("", {**FRONTEND, **config})


def known(stack: str) -> Known:
    """A preview as the stacks have it."""
    (entry,) = [one for one in registry.all_("local") if one.stack == stack]
    return Known(stack, entry)


def removals(*previews: Known) -> Removals:
    return Removals(previews, RunRecords.of("local"), template(), Wishes())


def test_which_environment_a_preview_is_attached_to(fake: FakeHost) -> None:
    """Its contract says it, else its program's note; where nothing is left of it, the template."""
    write_preview(ONE, AT_ONE, attached_to="staging")
    assert attached.environments_of(known(ONE), template()) == ["staging"]
    noted = Entry(TWO, {"preview": {"attach_to": "dev"}})
    assert attached.environments_of(Known(TWO, noted), template()) == ["dev"]
    assert attached.environments_of(Known(TWO), template()) == [ENVIRONMENT]
    full = template(preview_mode="full", attach_to="")
    assert attached.environments_of(Known(TWO), full) == []
    assert attached.environments([known(ONE)], template()) == [ENVIRONMENT, "staging"]
    assert attached.environments([], full) == []


def test_a_record_names_every_environment_that_may_answer(fake: FakeHost, tmp_path: Path) -> None:
    """The one of an earlier `attach_to`, of which neither the stack nor the template knows after an
    interrupted run; also where the stack is gone, or has a backend of its own by now."""
    records = RunRecords.of("local")
    records.begin(ONE, "feature/x", "up", tmp_path, ["dev", "staging"])
    note = records.note(ONE)
    assert attached.environments_of(Known(ONE, note=note), template()) == ["dev", "staging"]
    write_preview(ONE, AT_ONE, attached_to="staging")
    now = replace(known(ONE), note=note)
    assert attached.environments_of(now, template()) == ["dev", "staging"]
    own = Entry(ONE, {"preview": {"attach_to": ""}})
    assert attached.environments_of(Known(ONE, own, note), template()) == ["dev", "staging"]
    older = Note(ONE, "feature/x", "down", "", "")  # of a kit that did not note it
    assert attached.environments_of(Known(ONE, note=older), template()) == [ENVIRONMENT]


@pytest.mark.parametrize("attaches_to", ["", "other"])
def test_a_preview_that_moves_is_answered_by_its_former_environment_no_more(
    fake: FakeHost,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    attaches_to: str,
) -> None:
    """As soon as the new one answers it, or it has a backend of its own."""
    write_preview(ONE, AT_ONE)
    attach(ENVIRONMENT)
    write_preview(ONE, AT_ONE, attached_to="other")
    answered: list[str] = []

    def attaching(environment: str, *, needed: str, wait_s: int) -> str:
        answered.append(f"{environment} answers {needed}, {dict(fake.attached)}")
        return answered[-1]

    monkeypatch.setattr(up, "attach", attaching)
    settings = replace(making.for_a_build(Template("", GOOD)), stack=ONE, attach_to=attaches_to)
    up._attach(settings, [ENVIRONMENT], Wishes())
    assert answered == [f"other answers {ONE}, {{'{ONE}': '{AT_ONE}'}}"] * bool(attaches_to)
    assert fake.attached == {} and AT_ONE not in fake.allowed
    assert f"no longer answers {ONE} ({AT_ONE})" in capsys.readouterr().out


def test_the_page_calls_the_backend_that_runs(fake: FakeHost) -> None:
    """The origin is the hosts', whatever the recorded outputs say."""
    fake.contract["backend"]["origin"] = "http://10.9.9.9"
    assert making.attached_backend(template()) == "http://10.9.9.9"
    assert making.attached_backend(template(preview_mode="full")) == ""
    assert making.attached_backend(template(attach_to="")) == ""


def test_production_is_refused_before_anything_is_made(fake: FakeHost) -> None:
    fake.hold(without_hosts(production()))
    with pytest.raises(DeniedError, match=r"local is production; set `attachable: true`"):
        making.attached_backend(template())


def test_a_preview_is_deregistered_and_stays_so(
    fake: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    """Again when its stack is gone: somebody may have read the stacks before."""
    path = write_preview(ONE, AT_ONE)
    attach(ENVIRONMENT)
    attached.deregister(ENVIRONMENT, frozenset([ONE]), 60)
    assert fake.attached == {}
    assert f"no longer answers {ONE} ({AT_ONE})" in capsys.readouterr().out
    fake.hold({**fake.contract, "attached": {ONE: AT_ONE}})
    fake.contract["cors"]["allowed_origins"].append(AT_ONE)
    path.unlink()
    attached.deregister(ENVIRONMENT, frozenset([ONE]), 60)
    assert fake.attached == {} and AT_ONE not in fake.allowed


def test_an_environment_that_is_gone_answers_nobody(
    fake: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    """A preview outlives it, and goes all the same."""
    write_state(ENVIRONMENT, state({}))
    attached.deregister(ENVIRONMENT, frozenset([ONE]), 60)
    assert f"{ENVIRONMENT}, which it was attached to, is not up" in capsys.readouterr().out
    assert attached.dead(ENVIRONMENT) == {}
    assert attached.mend(ENVIRONMENT, 60, frozenset()) is None
    with pytest.raises(NotUpError):
        making.attached_backend(template())


def test_a_sweep_mends_a_list_that_names_a_dead_preview(fake: FakeHost) -> None:
    """It shows that before, and says what it has mended; one that is alive stays."""
    write_preview(ONE, AT_ONE)
    gone = write_preview(TWO, AT_TWO)
    attach(ENVIRONMENT)
    gone.unlink()
    assert attached.dead(ENVIRONMENT) == {TWO: AT_TWO}
    assert sweep.dead_lists([], template()) == [
        f"{ENVIRONMENT} answers {TWO} ({AT_TWO}), which is gone"
    ]
    done = Swept()
    sweep.mend(ENVIRONMENT, removals(), done)
    assert done.fixed == [f"{ENVIRONMENT} no longer answers {TWO} ({AT_TWO})"]
    assert fake.attached == {ONE: AT_ONE}
    again = Swept()
    sweep.mend(ENVIRONMENT, removals(), again)
    assert (again.fixed, again.failed) == ([], [])


def test_a_list_that_can_not_be_mended_is_named(fake: FakeHost) -> None:
    gone = write_preview(TWO, AT_TWO)
    attach(ENVIRONMENT)
    gone.unlink()
    fake.differs = ["nginx/site.conf"]
    done = Swept()
    sweep.mend(ENVIRONMENT, removals(), done)
    assert done.failed[0].startswith(f"{ENVIRONMENT}: backend-1 runs a configuration that")
