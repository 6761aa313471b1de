"""The stacks are the registry of previews: where their states are, and what can't be read of
them."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

import pytest

from infra.core.contract import Contract
from rollout import outputs
from rollout.previews import registry, words
from rollout.previews.registry import Live, RegistryError
from rollout.previews.run_records import RunRecords
from rollout.stacks import PROJECT
from tests.support.ended import ended_unnoticed
from tests.support.previews import (
    ENVIRONMENT,
    environment,
    preview,
    state,
    write_preview,
    write_state,
)

ONE, TWO = "preview-one-0123abcd", "preview-two-4567abcd"
AT_ONE, AT_TWO = "http://10.77.0.11", "http://10.77.0.12"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No state of whoever runs this, and the environment up."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi"))
    write_state(ENVIRONMENT, state({"contract": environment().to_json()}))
    return tmp_path


def test_what_is_attached_to_an_environment_is_in_the_states() -> None:
    write_preview(TWO, AT_TWO)
    write_preview(ONE, AT_ONE)
    write_preview("preview-three-89abcdef", "http://10.77.0.13", attached_to="staging")
    write_state("preview-four-89abcdef", state({}))
    assert registry.live(ENVIRONMENT) == Live({ONE: AT_ONE, TWO: AT_TWO})


def test_one_whose_removal_has_begun_is_attached_to_nothing(elsewhere: Path) -> None:
    """Its state is there until the last resource is gone, and a deploy of the environment in the
    meantime would answer it again; `preview.up` takes the note over."""
    write_preview(ONE, AT_ONE)
    write_preview(TWO, AT_TWO)
    records = RunRecords.of("local")
    records.begin(ONE, "feature/x", "down", elsewhere)
    found = registry.live(ENVIRONMENT)
    assert found == Live({TWO: AT_TWO}, going=frozenset([ONE]))
    assert found.gone({ONE: AT_ONE, TWO: AT_TWO}) == {ONE: AT_ONE}
    loaded = outputs.load(ENVIRONMENT)
    assert loaded.contract.attached == {TWO: AT_TWO}
    assert loaded.notes == [
        f"the preview {ONE} is not attached: its removal has begun; finish it with `fab"
        f" preview.down --branch {ONE}`"
    ]
    records.begin(ONE, "feature/x", "up", elsewhere)
    assert registry.live(ENVIRONMENT) == Live({ONE: AT_ONE, TWO: AT_TWO})


def test_the_removal_of_a_preview_on_a_cloud_counts_too(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records are this user's; those of local previews say nothing of it."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{elsewhere}/backend")
    monkeypatch.setenv("XDG_STATE_HOME", str(elsewhere / "user"))
    contract = preview(TWO, AT_TWO, "aws-dev").to_json()
    write_state(TWO, state({"contract": contract}), elsewhere / "backend")
    RunRecords.of("local").begin(TWO, "feature/x", "down", elsewhere)
    monkeypatch.delenv("ORIGIN_KIT_HOME")
    assert registry.live("aws-dev") == Live({TWO: AT_TWO})
    RunRecords.of("aws").begin(TWO, "feature/x", "down", elsewhere)
    assert registry.live("aws-dev") == Live(going=frozenset([TWO]))


def test_an_entry_says_what_its_state_says() -> None:
    """A stack that was made partly has no contract."""
    write_preview(ONE, AT_ONE)
    write_state(TWO, state({}))
    one, two = registry.all_("local")
    assert (one.contract, one.branch, one.problem) == (preview(ONE, AT_ONE), "feature/x", "")
    assert (two.contract, two.branch, two.problem) == (None, "", "")


def test_only_a_run_that_lives_holds_a_preview() -> None:
    """Not one that was killed, also where nobody has waited for its end; another computer's is
    never taken for dead."""
    base = write_preview(ONE, AT_ONE).parents[2]
    lock = base / "locks" / "organization" / PROJECT / ONE / "one.json"
    lock.parent.mkdir(parents=True)
    with ended_unnoticed() as dead:
        for holder, is_held in (
            ({"hostname": platform.node(), "pid": os.getpid()}, True),
            ({"hostname": platform.node(), "pid": dead}, False),
            ({"hostname": "elsewhere", "pid": dead}, True),
            ({"hostname": platform.node()}, True),
        ):
            lock.write_text(json.dumps(holder))
            assert registry.all_("local")[0].locked is is_held, holder


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('{"checkpoint": 1}', "not a state that Pulumi wrote"),
        (state({"contract": {"contract": 99}}), "its contract can't be read: another version"),
        (state({"contract": 1}), "its contract can't be read: another version"),
        (
            state({"contract": preview(ONE, AT_ONE).to_json()}),
            f"its state holds the contract of {ONE}",
        ),
    ],
)
def test_a_state_that_can_not_be_read_hides_no_other(text: str, why: str) -> None:
    """It is listed with the reason, and may be attached: nobody knows."""
    write_preview(ONE, AT_ONE)
    write_state(TWO, text)
    found = registry.live(ENVIRONMENT)
    assert found.origins == {ONE: AT_ONE}
    assert why in found.unknown[TWO]


def test_a_file_backend_is_read_without_the_cli(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Previews on a cloud are not those of the kit's home, and the other way round."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{elsewhere}/backend")
    monkeypatch.setenv("PATH", "/nonexistent")
    contract = preview(TWO, AT_TWO, "aws-dev").to_json()
    write_state(TWO, state({"contract": contract}), elsewhere / "backend")
    write_preview(ONE, AT_ONE)
    assert registry.live("aws-dev").origins == {TWO: AT_TWO}
    assert registry.live(ENVIRONMENT).origins == {ONE: AT_ONE}


def cli(folder: Path, monkeypatch: pytest.MonkeyPatch, listed: object, outputs: object) -> Path:
    """A `pulumi` that lists these stacks, and says this of each; where its words are noted."""
    path = folder / "bin" / "pulumi"
    path.parent.mkdir()
    (folder / "ls").write_text(json.dumps(listed))
    (folder / "output").write_text(json.dumps(outputs))
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/words\ncat {folder}/$2\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://state")
    return folder / "words"


def test_any_other_backend_is_asked_by_the_cli(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all stacks, then for each preview; secrets stay hidden."""
    listed = [
        {"name": "organization/aws-dev", "resourceCount": 30},
        {"name": f"organization/{ONE}", "resourceCount": 4, "updateInProgress": True},
    ]
    contract = preview(ONE, AT_ONE, "aws-dev").to_json()
    noted = cli(elsewhere, monkeypatch, listed, {"contract": contract, "secret_env": "[secret]"})
    assert registry.live("aws-dev") == Live({ONE: AT_ONE})
    (entry,) = registry.all_("aws")
    assert entry.locked
    words = noted.read_text()
    assert "aws-dev" not in words and "--show-secrets" not in words


def test_a_backend_that_does_not_answer_is_no_empty_one(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://state")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RegistryError, match="is not on PATH"):
        registry.live("aws-dev")
    noted = cli(elsewhere, monkeypatch, [], {})
    noted.with_name("ls").unlink()
    with pytest.raises(RegistryError, match=r"`pulumi stack ls --json --non-interactive` failed"):
        registry.live("aws-dev")


def test_fifty_previews_are_read_at_once() -> None:
    """No engine, no YAML: `fab preview.sweep` reads them every time."""
    for number in range(50):
        write_preview(f"preview-{number}-0123abcd", f"http://10.77.1.{number}")
    started = time.process_time()
    assert len(registry.live(ENVIRONMENT).origins) == 50
    assert time.process_time() - started < 1.0


# --------------------------------------------------------------------------- what verbs make of it


def test_every_verb_wants_the_live_previews() -> None:
    """The contract of the environment: its config's origins, then those of the stacks."""
    write_preview(ONE, AT_ONE)
    found = outputs.load(ENVIRONMENT)
    assert found.contract.attached == {ONE: AT_ONE}
    assert found.contract.cors.allowed_origins[-1] == AT_ONE
    assert found.notes == []


def test_a_preview_that_is_not_answered_is_named_with_the_reason() -> None:
    write_state(TWO, "{")
    found = outputs.load(ENVIRONMENT)
    assert found.contract.attached == {}
    assert found.notes[0].startswith(f"the preview {TWO} is not attached: ")
    assert "not JSON" in found.notes[0]


def test_a_file_of_outputs_is_all_there_is(elsewhere: Path) -> None:
    """As `fab outputs` printed it, attached previews included."""
    write_preview(ONE, AT_ONE)
    contract = outputs.load(ENVIRONMENT).contract
    file = elsewhere / "contract.json"
    file.write_text(json.dumps(contract.to_json()))
    (elsewhere / "home").rename(elsewhere / "gone")
    assert outputs.load(None, str(file)).contract == contract


def held(*attached: dict[str, str] | None) -> list[dict[str, object]]:
    """What hosts report that answer these previews; None for one that does not say."""
    return [{"origins": {} if one is None else {"attached": one}} for one in attached]


def wanted(**attached: str) -> Contract:
    from infra.core.previews import attach

    return attach(environment(), attached)


@pytest.mark.parametrize(
    ("attached", "hosts", "lines"),
    [
        ({}, held(None, {}), []),
        ({ONE: AT_ONE}, held({ONE: AT_ONE}, None), [f"attached previews: {ONE} ({AT_ONE})"]),
        (
            {},
            held({ONE: AT_ONE}, {ONE: AT_ONE}),
            [
                f"the preview {ONE} ({AT_ONE}) is gone, and the backend still answers it: run"
                " `fab preview.sweep` or `fab deploy`"
            ],
        ),
        (
            {ONE: AT_ONE},
            held({ONE: AT_ONE}, {}),
            [
                f"attached previews: {ONE} ({AT_ONE})",
                f"{ONE} ({AT_ONE}) is attached, and not every backend answers it yet: run `fab"
                " deploy`",
            ],
        ),
        ({ONE: AT_ONE}, held(None), [f"attached previews: {ONE} ({AT_ONE})"]),
    ],
)
def test_what_status_and_plan_say_of_previews(
    attached: dict[str, str], hosts: list[dict[str, object]], lines: list[str]
) -> None:
    assert words.lines(wanted(**attached), hosts) == lines
