"""An environment's list of attached previews: what it starts from, what it sends, and who comes
first."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.core.contract import Contract, Host, Json
from on_host.generations import Generation
from rollout import access, hosts, outputs
from rollout.change import ChangeError
from rollout.outputs import Outputs
from rollout.previews import afterwards
from rollout.previews import attach as attaching
from rollout.previews.attach import Attached, attach
from rollout.previews.permitted import DeniedError
from rollout.previews.running import AttachError
from rollout.state_files import NotUpError
from tests.support.previews import (
    ENVIRONMENT,
    FakeHost,
    bring_up,
    environment,
    production,
    sessions,
    state,
    without_hosts,
    write_preview,
    write_state,
)

ONE, TWO = "preview-one-0123abcd", "preview-two-4567abcd"
AT_NAME = "https://one-0123abcd.example.com"
AT_ONE, AT_TWO = "http://10.77.0.11", "http://10.77.0.12"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


Up = Callable[..., FakeHost]


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> Up:
    """Have an environment up, whose one backend host runs `contract`."""

    def make(contract: Contract | None = None, **facts: object) -> FakeHost:
        return bring_up(monkeypatch, contract or environment(), **facts)

    return make


def but_for_the_list(contract: Json) -> Json:
    """What a host runs, without its origins."""
    rest: Json = json.loads(json.dumps(contract))
    rest.pop("attached", None)
    rest["cors"].pop("allowed_origins")
    return rest


def test_a_live_preview_is_answered(up: Up) -> None:
    """And the other way round: one that is leaving is not, though its stack is there."""
    fake = up()
    before = but_for_the_list(fake.contract)
    write_preview(ONE, AT_ONE)
    found = attach(ENVIRONMENT, needed=ONE)
    assert found == Attached(ENVIRONMENT, {ONE: AT_ONE}, added={ONE: AT_ONE})
    assert str(found) == f"{ENVIRONMENT} now answers {ONE} ({AT_ONE})"
    assert fake.attached == {ONE: AT_ONE} and AT_ONE in fake.allowed
    assert but_for_the_list(fake.contract) == before

    assert attach(ENVIRONMENT, leaving=frozenset([ONE])).removed == {ONE: AT_ONE}
    assert fake.attached == {} and AT_ONE not in fake.allowed


def test_nothing_is_written_where_the_list_is_right(up: Up) -> None:
    fake = up()
    write_preview(ONE, AT_ONE)
    attach(ENVIRONMENT)
    fake.sent.clear()
    assert not attach(ENVIRONMENT).changed
    assert fake.verbs == ["running"]


def test_it_starts_from_what_runs_and_not_from_the_recorded_outputs(up: Up) -> None:
    """Other limits, an environment and origins that were deployed since: they stay."""
    now = environment()
    now = replace(
        now,
        application=replace(now.application, workers=7, env={"FEATURE": "on"}),
        cors=replace(now.cors, allowed_origins=(*now.cors.allowed_origins, "http://10.9.9.9")),
    )
    fake = up(now)
    write_preview(ONE, AT_ONE)
    attach(ENVIRONMENT)
    assert fake.contract["application"]["workers"] == 7
    assert fake.contract["application"]["env"] == {"FEATURE": "on"}
    assert fake.allowed == [*now.cors.allowed_origins, AT_ONE]


def test_no_secret_leaves_the_host_or_comes_to_it(up: Up) -> None:
    """The names are enough; the orders say that the host keeps its own, and which generation they
    were made for."""
    fake = up(secrets={"TOKEN": "hush-hush"})
    write_preview(ONE, AT_ONE)
    attach(ENVIRONMENT)
    assert "hush-hush" not in json.dumps(fake.sent)
    (deployed,) = [orders for orders in fake.sent if orders["verb"] == "deploy"]
    assert deployed["keeps_secrets"] is True and deployed["expects"] == "g1"
    assert not {"secrets", "certificate", "logins"} & set(deployed)
    assert 'TOKEN=""' in text_of(deployed["generation"], "secrets.env")


def text_of(generation: Generation, path: str) -> str:
    return next(file["text"] for file in generation["files"] if file["path"] == path)


def test_an_origin_that_the_config_lists_is_no_preview_s(up: Up) -> None:
    """So no preview's end takes it away."""
    now = environment()
    own = (*now.cors.allowed_origins, AT_ONE)
    fake = up(replace(now, cors=replace(now.cors, allowed_origins=own)))
    write_preview(ONE, AT_ONE)
    assert attach(ENVIRONMENT, needed=ONE).origins == {}
    attach(ENVIRONMENT, leaving=frozenset([ONE]))
    assert fake.allowed == list(own) and "deploy" not in fake.verbs


def test_dead_previews_leave_the_list(up: Up) -> None:
    """What `fab preview.sweep` does with a list that a rollback, or a deploy that read the stacks
    before, has brought back."""
    fake = up()
    write_preview(ONE, AT_ONE)
    gone = write_preview(TWO, AT_TWO)
    attach(ENVIRONMENT)
    gone.unlink()
    assert attach(ENVIRONMENT).removed == {TWO: AT_TWO}
    assert fake.attached == {ONE: AT_ONE}


def test_a_preview_that_can_not_be_read_stays(up: Up) -> None:
    """Nobody knows that it is gone."""
    fake = up()
    path = write_preview(ONE, AT_ONE)
    attach(ENVIRONMENT)
    path.write_text("{")
    write_preview(TWO, AT_TWO)
    assert attach(ENVIRONMENT).added == {TWO: AT_TWO}
    assert fake.attached == {ONE: AT_ONE, TWO: AT_TWO}


def test_previews_of_other_environments_are_theirs(up: Up) -> None:
    fake = up()
    write_preview(ONE, AT_ONE, attached_to="staging")
    assert not attach(ENVIRONMENT).changed
    assert fake.verbs == ["running"]


# ------------------------------------------------------------------------------------ who is first


def test_another_change_that_came_first_is_not_undone(up: Up) -> None:
    """The environment's own deploy between the question and the change: it begins again from that,
    and only the list is another one."""
    fake = up()
    write_preview(ONE, AT_ONE)
    theirs = environment()
    theirs = replace(theirs, application=replace(theirs.application, threads=9))
    fake.before["deploy"] = lambda host: host.hold(without_hosts(theirs))
    assert attach(ENVIRONMENT).added == {ONE: AT_ONE}
    assert fake.contract["application"]["threads"] == 9
    assert fake.verbs.count("running") == 2 and fake.verbs.count("deploy") == 2


@pytest.mark.parametrize("at", ["status", "deploy"])
def test_two_attaches_at_once_both_end_up_listed(up: Up, at: str) -> None:
    """The one that loses reads the stacks again, too."""
    fake = up()
    write_preview(ONE, AT_ONE)

    def another(_: FakeHost) -> None:
        write_preview(TWO, AT_TWO)
        assert attach(ENVIRONMENT, needed=TWO).origins == {ONE: AT_ONE, TWO: AT_TWO}

    fake.before[at] = another
    assert attach(ENVIRONMENT, needed=ONE).origins == {ONE: AT_ONE, TWO: AT_TWO}
    assert fake.attached == {ONE: AT_ONE, TWO: AT_TWO}


def test_a_preview_that_goes_during_another_s_attach_is_not_left_listed(up: Up) -> None:
    """Its stack was read before it went: the stacks are read again after the change."""
    fake = up()
    write_preview(ONE, AT_ONE)
    path = write_preview(TWO, AT_TWO)
    fake.before["deploy"] = lambda _: path.unlink()
    attach(ENVIRONMENT, needed=ONE)
    assert fake.attached == {ONE: AT_ONE}


def test_it_does_not_try_without_end(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = up()
    write_preview(ONE, AT_ONE)
    monkeypatch.setattr(attaching, "TRIES", 3)

    def overtake(host: FakeHost) -> None:
        host.hold(host.contract)
        host.before["deploy"] = overtake

    fake.before["deploy"] = overtake
    with pytest.raises(AttachError, match=r"changed by others 3 times .*run this again"):
        attach(ENVIRONMENT)
    assert fake.attached == {}


def test_an_interrupted_change_is_finished_first(up: Up) -> None:
    """It is asked for what is current there, so that nothing else changes."""
    fake = up(unfinished=True)
    write_preview(ONE, AT_ONE)
    attach(ENVIRONMENT)
    assert fake.verbs == ["running", "rollback", "running", "status", "deploy"]
    assert fake.attached == {ONE: AT_ONE}


def test_a_change_that_was_undone_meanwhile_is_no_failure(up: Up) -> None:
    """Another generation is current then, and it begins from that."""
    fake = up(unfinished=True)
    write_preview(ONE, AT_ONE)
    fake.before["rollback"] = lambda host: host.hold(host.contract)
    assert attach(ENVIRONMENT).added == {ONE: AT_ONE}


# ---------------------------------------------------------------------------------- what stops it


def moving(contract: Contract) -> Contract:
    return replace(contract, frontend=replace(contract.frontend, former=("http://10.1.1.1",)))


def test_a_move_under_way_is_not_disturbed(up: Up) -> None:
    """Its list of origins belongs to it until it has ended."""
    fake = up(moving(environment()))
    write_preview(ONE, AT_ONE)
    with pytest.raises(AttachError, match=r"is moving to .*when `fab move` has finished"):
        attach(ENVIRONMENT)
    assert fake.verbs == ["running"]


def test_what_this_checkout_would_render_differently_is_not_touched(up: Up) -> None:
    """Another version of the kit, or an edit by hand: more than the list would change."""
    fake = up(differs=["current", "nginx/site.conf"])
    write_preview(ONE, AT_ONE)
    with pytest.raises(AttachError, match=r"render differently \(nginx/site.conf\)"):
        attach(ENVIRONMENT)
    assert "deploy" not in fake.verbs


@pytest.mark.parametrize("path", ["certificate", "generations/g0/secrets.env"])
def test_what_is_no_rendering_stops_nothing(up: Up, path: str) -> None:
    fake = up(differs=[path])
    write_preview(ONE, AT_ONE)
    attach(ENVIRONMENT)
    assert fake.attached == {ONE: AT_ONE}


def test_a_host_of_an_older_kit_says_so(up: Up) -> None:
    """One that wrote no contract into a generation, or another one."""
    fake = up()
    write_preview(ONE, AT_ONE)
    fake.contract["brand_new"] = 1
    with pytest.raises(AttachError, match="was deployed by another version of the kit"):
        attach(ENVIRONMENT)
    fake.contract = None  # type: ignore[assignment]
    with pytest.raises(AttachError, match=r"does not say what it runs: .*another version"):
        attach(ENVIRONMENT)


@pytest.mark.parametrize(
    ("cli", "why"),
    [
        ("", "it is not up, so that nothing can be attached"),
        (
            "error: no stack named 'local-names' found",
            "it is not up, so that nothing can be attached",
        ),
        (
            "error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions",
            "it is not up on this machine, and the Pulumi CLI is not logged in, so",
        ),
    ],
)
def test_an_environment_that_is_not_up_has_a_next_step(
    cli: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the CLI, and with one that knows no such stack, or whose user has not logged in."""
    if cli:
        program = tmp_path / "pulumi"
        program.write_text(f"#!/bin/sh\necho {shlex.quote(cli)} >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(NotUpError, match=why) as problem:
        attach("local-names")
    assert "`fab up --stack local-names` from its own checkout" in str(problem.value)


def test_production_takes_no_preview_unless_its_config_says_so(up: Up) -> None:
    """What is attached already goes, all the same."""
    fake = up(production())
    write_preview(ONE, AT_NAME)
    with pytest.raises(DeniedError, match=r"local is production: set `attachable: true`"):
        attach(ENVIRONMENT, needed=ONE)
    assert not attach(ENVIRONMENT).changed and "deploy" not in fake.verbs
    fake.contract["attachable"] = True
    attach(ENVIRONMENT, needed=ONE)
    assert fake.attached == {ONE: AT_NAME}
    del fake.contract["attachable"]
    assert attach(ENVIRONMENT).removed == {ONE: AT_NAME}


def test_a_preview_that_the_rules_refuse_keeps_no_other_out(up: Up) -> None:
    """Of two previews, one at an origin that production never answers."""
    fake = up(production(attachable=True))
    write_preview(ONE, AT_ONE)
    write_preview(TWO, AT_NAME)
    found = attach(ENVIRONMENT, needed=TWO)
    assert fake.attached == {TWO: AT_NAME}
    assert list(found.refused) == [ONE]
    with pytest.raises(DeniedError, match=f"{ONE} can't be attached to {ENVIRONMENT}: "):
        attach(ENVIRONMENT, needed=ONE)


def test_a_preview_without_a_stack_is_refused(up: Up) -> None:
    up()
    with pytest.raises(DeniedError, match="no stack says that"):
        attach(ENVIRONMENT, needed=ONE)


def test_hosts_that_hold_different_configurations_are_not_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = environment()
    (first,) = now.backend.hosts
    second = Host("backend-2", "10.77.0.99", 22, first.user, first.host_keys)
    now = replace(now, backend=replace(now.backend, hosts=(first, second)))
    write_state(ENVIRONMENT, state({"contract": now.to_json()}))
    write_preview(ONE, AT_ONE)
    other = replace(now, application=replace(now.application, workers=9))
    fakes = {
        first.name: FakeHost(first, without_hosts(now)),
        second.name: FakeHost(second, without_hosts(other)),
    }
    monkeypatch.setattr(hosts, "session", sessions(fakes))
    monkeypatch.setattr(access, "identity", lambda contract: None)
    with pytest.raises(AttachError, match="hold different configurations"):
        attach(ENVIRONMENT)
    fakes[second.name].contract = without_hosts(now)
    attach(ENVIRONMENT)
    assert [fake.attached for fake in fakes.values()] == [{ONE: AT_ONE}] * 2


def test_a_host_that_fails_is_an_error(up: Up) -> None:
    fake = up()
    write_preview(ONE, AT_ONE)

    def fails(host: FakeHost) -> None:
        from rollout.host_errors import HostError

        raise HostError(host.host, "nginx does not come up")

    fake.before["deploy"] = fails
    with pytest.raises(ChangeError, match="nginx does not come up"):
        attach(ENVIRONMENT)


# ---------------------------------------------------------------- after the environment's own verbs


def deployed(fake: FakeHost) -> Outputs:
    """The environment's own deploy: it read the stacks, and the host holds what it asked for."""
    found = outputs.load(ENVIRONMENT)
    fake.hold(without_hosts(found.contract))
    return found


def test_a_deploy_settles_what_came_or_went_meanwhile(up: Up) -> None:
    """It had read the stacks before, and knew nothing of it."""
    fake = up()
    path = write_preview(ONE, AT_ONE)
    found = deployed(fake)
    assert afterwards.settle(found) is None
    path.unlink()
    write_preview(TWO, AT_TWO)
    settled = afterwards.settle(found)
    assert settled and (settled.added, settled.removed) == ({TWO: AT_TWO}, {ONE: AT_ONE})
    assert fake.attached == {TWO: AT_TWO}


def test_a_rollback_names_the_previews_that_it_has_brought_back(up: Up) -> None:
    """Those that are gone, or are at another origin now."""
    fake = up()
    path = write_preview(ONE, AT_ONE)
    write_preview(TWO, AT_TWO)
    found = deployed(fake)
    assert afterwards.brought_back(found) == []
    path.unlink()
    assert afterwards.brought_back(found) == [
        f"the preview {ONE} ({AT_ONE}) is gone, and the backend still answers it: run"
        " `fab preview.sweep` or `fab deploy`"
    ]
    write_preview(ONE, AT_NAME)
    assert len(afterwards.brought_back(found)) == 1
