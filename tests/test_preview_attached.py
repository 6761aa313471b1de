"""What the verbs of previews make of the environment that one is attached to."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.previews import attached, making, registry, sweep
from rollout.previews.attach import attach
from rollout.previews.living import Known
from rollout.previews.making import Template
from rollout.previews.permitted import DeniedError
from rollout.previews.registry import Entry
from rollout.previews.removing import Removals
from rollout.previews.run_records import RunRecords
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
    assert attached.environment_of(known(ONE), template()) == "staging"
    noted = Entry(TWO, {"preview": {"attach_to": "dev"}})
    assert attached.environment_of(Known(TWO, noted), template()) == "dev"
    assert attached.environment_of(Known(TWO), template()) == ENVIRONMENT
    full = template(preview_mode="full", attach_to="")
    assert attached.environment_of(Known(TWO), full) == ""
    assert attached.environments([known(ONE)], template()) == [ENVIRONMENT, "staging"]
    assert attached.environments([], full) == []


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
