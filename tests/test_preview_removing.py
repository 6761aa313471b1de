"""Several previews removed together: their environment learns of it by one deploy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.core.errors import KitError
from infra.core.settings import Settings
from rollout import engines, stacks
from rollout.previews import registry, sweep
from rollout.previews.attach import attach
from rollout.previews.living import known
from rollout.previews.making import Template
from rollout.previews.run_records import RunRecords
from rollout.previews.sweep import Fate, Swept
from rollout.previews.up import Wishes
from rollout.stacks import PROJECT
from tests.support.previews import (
    ENVIRONMENT,
    FakeHost,
    bring_up,
    environment,
    in_a_checkout,
    preview,
    state,
    write_state,
)

ONE, TWO, LIVES = "preview-slot-1", "preview-slot-2", "preview-slot-3"
AT_ONE, AT_TWO, AT_LIVES = "http://10.77.0.11", "http://10.77.0.12", "http://10.77.0.13"
READ = Template(
    "config:\n  origin-kit:cloud: local\n",
    {
        "preview_mode": "frontend",
        "attach_to": ENVIRONMENT,
        "cloud": "local",
        "application": "shop",
    },
)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """The environment's backend host, which answers three previews; of two the branch is gone."""
    in_a_checkout(tmp_path, monkeypatch)
    found = bring_up(monkeypatch, environment())
    for stack, origin in ((ONE, AT_ONE), (TWO, AT_TWO), (LIVES, AT_LIVES)):
        contract = {**preview(stack, origin).to_json(), "project": PROJECT}
        noted = {"attach_to": ENVIRONMENT, "branch": "feature/x"}
        write_state(stack, state({"contract": contract, "preview": noted}))
    attach(ENVIRONMENT)
    found.sent.clear()
    return found


class Destroyed(list[str]):
    """The stacks whose resources were removed; `before` happens before one is."""

    def __init__(self, before: Callable[[str], None]) -> None:
        super().__init__()
        self.before = before

    def __call__(self, settings: Settings, _engine: str) -> None:
        self.before(settings.stack)
        self.append(settings.stack)


def destroying(patch: pytest.MonkeyPatch, before: Callable[[str], None]) -> Destroyed:
    made = Destroyed(before)
    patch.setattr(engines, "destroy", made)
    return made


def swept() -> Swept:
    """A sweep that takes down all but the last."""
    fates = [Fate(one, one.stack != LIVES, "its branch is gone") for one in known("local")]
    return sweep.carry_out(READ, fates, (), Wishes(engine="embedded"))


def there() -> list[str]:
    return [one.stack for one in registry.all_("local")]


def test_an_environment_is_deployed_once_for_all(
    fake: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first of them goes; what is alive stays answered all the time."""
    seen = []
    gone = destroying(monkeypatch, lambda stack: seen.append(dict(fake.attached)))
    done = swept()
    assert gone == [ONE, TWO] and there() == [LIVES]
    assert seen == [{LIVES: AT_LIVES}] * 2 and fake.attached == {LIVES: AT_LIVES}
    assert fake.verbs.count("deploy") == 1
    assert done.failed == []
    assert done.fixed == ["feature/x is gone (its branch is gone)"] * 2
    assert RunRecords.of("local").notes() == []
    assert not list((stacks.ROOT / "stacks").iterdir())


def test_a_killed_one_is_continued_by_the_next(
    fake: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are noted as going before anything is done, also the one that is gone by then."""

    def killed(stack: str) -> None:
        if stack == TWO:
            raise KeyboardInterrupt

    destroying(monkeypatch, killed)
    with pytest.raises(KeyboardInterrupt):
        swept()
    assert there() == [TWO, LIVES]
    assert [note.doing for note in RunRecords.of("local").notes()] == ["down", "down"]
    gone = destroying(monkeypatch, lambda stack: None)
    assert swept().failed == []
    assert gone == [TWO] and there() == [LIVES]
    assert RunRecords.of("local").notes() == []


def test_one_that_can_t_be_destroyed_keeps_its_state_and_is_not_answered(
    fake: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go; what its state says would have it answered again."""

    def fails(stack: str) -> None:
        if stack == ONE:
            raise KitError("it hangs")

    destroying(monkeypatch, fails)
    done = swept()
    assert done.failed == ["feature/x: it hangs"] and there() == [ONE, LIVES]
    assert fake.attached == {LIVES: AT_LIVES}
    assert [note.stack for note in RunRecords.of("local").notes()] == [ONE]


def test_previews_stay_while_their_environment_can_t_be_changed(
    fake: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a dead preview would be answered. The cause is named with each, and not once more."""
    gone = destroying(monkeypatch, lambda stack: None)
    fake.differs = ["nginx/site.conf"]
    done = swept()
    assert gone == [] and there() == [ONE, TWO, LIVES]
    assert len(done.failed) == 2 and done.fixed == []
    assert all("backend-1 runs a configuration that" in line for line in done.failed)


def test_one_that_was_updated_meanwhile_stays(
    fake: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or is being changed now; the other one goes."""
    gone = destroying(monkeypatch, lambda stack: None)
    with RunRecords.of("local").held(ONE, 0):
        done = swept()
    assert gone == [TWO]
    assert "feature/x stays: a run is changing it now" in done.fixed
