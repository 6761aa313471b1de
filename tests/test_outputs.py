"""Where the contract and the secrets come from."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from rollout import outputs, secret_values
from rollout.outputs import OutputsError
from tests.e2e.kit import FAB

CONTRACT = json.loads((Path(__file__).parent / "golden" / "clouds" / "aws-dev.json").read_text())["outputs"]["contract"]
STATE = {"version": 3, "checkpoint": {"latest": {"resources": [{"type": "pulumi:pulumi:Stack", "outputs": {}}]}}}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No state of whoever runs this, and a `pulumi` that is a script of ours."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def cli(folder: Path, says: object, status: int = 0) -> Path:
    """A `pulumi` that notes its words and answers; where they are noted."""
    path = folder / "bin" / "pulumi"
    path.parent.mkdir(exist_ok=True)
    (folder / "answer").write_text(says if isinstance(says, str) else json.dumps(says))
    stream = "" if status == 0 else " >&2"
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/words\ncat {folder}/answer{stream}\nexit {status}\n')
    path.chmod(0o755)
    return folder / "words"


def backend(folder: Path, monkeypatch: pytest.MonkeyPatch, stack_outputs: dict[str, object]) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{folder}/backend")
    path = folder / "backend/.pulumi/stacks/origin-kit/aws-dev.json"
    path.parent.mkdir(parents=True)
    state = json.loads(json.dumps(STATE))
    state["checkpoint"]["latest"]["resources"][0]["outputs"] = stack_outputs
    path.write_text(json.dumps(state))


def test_a_file_backend_is_read_without_the_cli(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = cli(elsewhere, {}, 1)
    backend(elsewhere, monkeypatch, {"contract": CONTRACT})
    found = outputs.load("aws-dev")
    assert found.contract.to_json()["backend"]["origin"] == "http://203.0.113.20"
    assert secret_values.read(found) == {}
    assert not words.exists()


def test_secrets_come_from_the_cli_which_has_the_key(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file backend they are ciphertext; nothing of them is shown by printing the outputs."""
    words = cli(elsewhere, {"contract": CONTRACT, "secret_env": {"TOKEN": "hush-hush"}})
    backend(elsewhere, monkeypatch, {"contract": CONTRACT, "secret_env": {"ciphertext": "v1:x"}})
    found = outputs.load("aws-dev")
    assert secret_values.read(found) == {"TOKEN": "hush-hush"}
    assert "hush-hush" not in repr(found)
    assert words.read_text() == "stack output --json --show-secrets --stack aws-dev --non-interactive\n"


def test_secrets_that_are_no_map_are_said_to_be_none(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    cli(elsewhere, {"contract": CONTRACT, "secret_env": ["hush-hush"]})
    with pytest.raises(outputs.ContractError, match="secret_env: expected an object of texts by name") as caught:
        outputs.load("aws-dev")
    assert "hush-hush" not in str(caught.value)


def test_any_other_backend_is_the_cli_s(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    cli(elsewhere, {"contract": CONTRACT})
    assert outputs.read("aws-dev").environment == "aws-dev"
    cli(elsewhere, "error: no stack named 'aws-dev' found", 255)
    with pytest.raises(OutputsError, match="no stack named 'aws-dev' found"):
        outputs.read("aws-dev")
    cli(elsewhere, {})
    with pytest.raises(OutputsError, match="it is not up; run `fab up --stack aws-dev` first"):
        outputs.read("aws-dev")


def test_without_the_cli_a_file_does(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fab outputs > FILE`, or Pulumi's own JSON; one that hides its secrets is refused."""
    monkeypatch.setenv("PATH", str(elsewhere))
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    with pytest.raises(OutputsError, match="pass --outputs FILE"):
        outputs.read("aws-dev")
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps(CONTRACT))
    assert outputs.read("aws-dev", str(file)).environment == "aws-dev"
    file.write_text(json.dumps({"contract": CONTRACT, "secret_env": {"TOKEN": "x"}}))
    assert outputs.load("aws-dev", str(file)).secret_env == {"TOKEN": "x"}
    file.write_text(json.dumps({"contract": CONTRACT, "secret_env": "[secret]"}))
    with pytest.raises(OutputsError, match="made without --show-secrets"):
        outputs.load("aws-dev", str(file))
    for text, said in (("{", "not JSON"), ("[]", "not an object"), ("{}", "hold no contract")):
        file.write_text(text)
        with pytest.raises(ValueError, match=said):
            outputs.load("aws-dev", str(file))
    with pytest.raises(OutputsError, match="No such file"):
        outputs.load("aws-dev", str(elsewhere / "nowhere"))


def test_a_file_says_which_stack_it_is_of(elsewhere: Path) -> None:
    """Named as well, the stack has to be the same: else the code of one went to the hosts of the other."""
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps(CONTRACT))
    assert outputs.load(None, str(file)).contract.environment == "aws-dev"
    with pytest.raises(OutputsError, match="is the contract of stack aws-dev, and --stack says 'gcp-dev'"):
        outputs.load("gcp-dev", str(file))


@pytest.mark.parametrize(
    "verb", ["ship", "plan", "deploy", "rollback", "status", "history", "logs", "doctor", "outputs"]
)
def test_every_verb_refuses_another_stack_s_file(elsewhere: Path, verb: str) -> None:
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps(CONTRACT))
    words = [FAB, verb, "--stack", "local", "--outputs", str(file)]
    done = subprocess.run(words, cwd=outputs.ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "is the contract of stack aws-dev, and --stack says 'local'" in done.stderr


def test_a_ship_takes_the_code_of_the_file_s_stack(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$STACK and Pulumi's selection are for commands that name nothing; a file of an unknown stack has no code here."""
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps(CONTRACT | {"environment": "elsewhere"}))
    monkeypatch.setenv("STACK", "local")
    words = [FAB, "ship", "--outputs", str(file)]
    done = subprocess.run(words, cwd=outputs.ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "there is no stack 'elsewhere'; stacks/ has" in done.stderr


def test_a_state_of_another_stack_is_refused(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that was copied to another name does not lead to the hosts of the first."""
    backend(elsewhere, monkeypatch, {"contract": CONTRACT | {"environment": "aws-prod"}})
    with pytest.raises(OutputsError, match="the state of stack aws-dev holds the contract of aws-prod"):
        outputs.read("aws-dev")


@pytest.mark.parametrize("state", ["[]", '{"checkpoint": []}', '{"checkpoint": {"latest": {"resources": [1]}}}', "{"])
def test_a_broken_state_is_one_message(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    backend(elsewhere, monkeypatch, {})
    (elsewhere / "backend/.pulumi/stacks/origin-kit/aws-dev.json").write_text(state)
    with pytest.raises(OutputsError, match=r"aws-dev\.json: not "):
        outputs.read("aws-dev")


@pytest.mark.parametrize("secrets", [["x"], {"A": 1}, {"A B": "hush"}, {"A": "hush\0"}, "hush"])
def test_secrets_in_a_file_are_checked_and_never_quoted(elsewhere: Path, secrets: object) -> None:
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps({"contract": CONTRACT, "secret_env": secrets}))
    with pytest.raises(ValueError, match="secret_env: ") as caught:
        outputs.load(None, str(file))
    assert "hush" not in str(caught.value)


def test_a_stack_of_this_machine_that_is_not_up_says_so() -> None:
    with pytest.raises(OutputsError, match="run `fab up --stack local` first"):
        outputs.read("local")


def test_which_stack(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, else $STACK, else the one selected in Pulumi, else local; a typo lists what there is."""
    assert outputs.chosen_stack(None) == "local"
    digest = hashlib.sha1(str(outputs.ROOT / "Pulumi.yaml").encode()).hexdigest()
    selected = elsewhere / "pulumi" / "workspaces" / f"origin-kit-{digest}-workspace.json"
    selected.parent.mkdir(parents=True)
    selected.write_text('{"stack": "organization/origin-kit/gcp-dev"}')
    assert outputs.chosen_stack(None) == "gcp-dev"
    monkeypatch.setenv("STACK", "aws-dev")
    assert outputs.chosen_stack(None) == "aws-dev"
    assert outputs.chosen_stack("gcp-prod") == "gcp-prod"
    with pytest.raises(OutputsError, match=r"no stack 'prod'; stacks/ has aws-dev, .*local, local-names"):
        outputs.chosen_stack("prod")
