"""Where the contract and the secrets come from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import ContractError
from rollout import outputs, secret_values, stacks, state_files
from rollout.stacks import UnknownStackError
from rollout.state_files import NotUpError, OutputsError
from tests.support import stackfiles
from tests.support.kit import FAB
from tests.support.stackfiles import StackFile

CONTRACT = json.loads((Path(__file__).parent / "golden" / "clouds" / "aws-dev.json").read_text())[
    "outputs"
]["contract"]
STATE = {
    "version": 3,
    "checkpoint": {"latest": {"resources": [{"type": "pulumi:pulumi:Stack", "outputs": {}}]}},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No state of whoever runs this, and a `pulumi` that is a script of ours."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def stack() -> Iterator[StackFile]:
    """aws-dev, with an image; its contract is `recorded(stack)`."""
    with stackfiles.like("aws-dev") as made:
        yield made


def recorded(stack: StackFile, **more: object) -> dict[str, Any]:
    return {"contract": CONTRACT | {"environment": stack.name}, **more}


def cli(folder: Path, says: object, status: int = 0, config: object = None) -> Path:
    """A `pulumi` that notes its words and answers, `pulumi config` with the second, and lists no
    stack; where they are noted."""
    path = folder / "bin" / "pulumi"
    path.parent.mkdir(exist_ok=True)
    (folder / "answer-stack").write_text(says if isinstance(says, str) else json.dumps(says))
    (folder / "answer-config").write_text(json.dumps(config or {}))
    stream = "" if status == 0 else " >&2"
    path.write_text(
        '#!/bin/sh\n[ "$1 $2" != "stack ls" ] || exec echo "[]"\n'
        f'echo "$@" >> {folder}/words\ncat {folder}/answer-$1{stream}\nexit {status}\n'
    )
    path.chmod(0o755)
    return folder / "words"


def backend(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    stack_outputs: dict[str, Any],
    stack: str = "aws-dev",
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{folder}/backend")
    path = folder / f"backend/.pulumi/stacks/origin-kit/{stack}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    state = json.loads(json.dumps(STATE))
    state["checkpoint"]["latest"]["resources"][0]["outputs"] = stack_outputs
    path.write_text(json.dumps(state))


def test_a_file_backend_is_read_without_the_cli(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    words = cli(elsewhere, {}, 1)
    backend(elsewhere, monkeypatch, recorded(stack), stack.name)
    found = outputs.load(stack.name)
    assert found.contract.to_json()["backend"]["origin"] == "http://203.0.113.20"
    assert secret_values.read(found) == {}
    assert not words.exists()


def test_secrets_come_from_the_cli_which_has_the_key(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """In a file backend they are ciphertext; nothing of them is shown by printing the outputs."""
    words = cli(
        elsewhere,
        recorded(stack, secret_env={"TOKEN": "hush-hush"}),
        config=configured(TOKEN="hush-hush"),
    )
    backend(elsewhere, monkeypatch, recorded(stack, secret_env={"ciphertext": "v1:x"}), stack.name)
    stack.edit(**{"env.TOKEN": {"secure": "v1:x"}})
    found = outputs.load(stack.name)
    assert secret_values.read(found) == {"TOKEN": "hush-hush"}
    assert "hush-hush" not in repr(found)
    options = f"--json --show-secrets --stack {stack.name} --non-interactive"
    assert words.read_text().splitlines() == [f"stack output {options}", f"config {options}"]


def test_secrets_of_https_reach_no_application(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """`pulumi config set --secret acme_eab_hmac`: next to those of the application."""
    both = configured(TOKEN="hush-hush") | {
        "origin-kit:acme_eab_hmac": {"value": "bWFj", "secret": True}
    }
    cli(elsewhere, recorded(stack), config=both)
    backend(elsewhere, monkeypatch, recorded(stack), stack.name)
    stack.edit(**{"acme_eab_hmac": {"secure": "v1:x"}})
    found = outputs.load(stack.name)
    assert secret_values.of_https(found) == {"acme_eab_hmac": "bWFj"}
    assert secret_values.read(found) == {"TOKEN": "hush-hush"}
    assert secret_values.names(found) == {"TOKEN"}


def test_secrets_that_are_no_map_are_said_to_be_none(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    cli(elsewhere, {"contract": CONTRACT, "secret_env": ["hush-hush"]})
    with pytest.raises(
        ContractError, match="secret_env: expected an object of texts by name"
    ) as caught:
        outputs.load("aws-dev")
    assert "hush-hush" not in str(caught.value)


def configured(**secrets: str) -> dict[str, object]:
    """What `pulumi config --json --show-secrets` says of secrets."""
    values = {
        f"origin-kit:env.{name}": {"value": value, "secret": True}
        for name, value in secrets.items()
    }
    return {"origin-kit:cloud": {"value": "aws", "secret": False}, **values}


def test_a_changed_secret_needs_no_pulumi_up(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """`pulumi config set --secret` and `fab deploy`: what the config holds now counts, a removed
    one is gone."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    cli(
        elsewhere,
        recorded(stack, secret_env={"TOKEN": "old", "GONE": "old"}),
        config=configured(TOKEN="new", KEY="k"),
    )
    stack.edit(**{"env.TOKEN": {"secure": "v1:x"}, "env.KEY": {"secure": "v1:y"}})
    assert outputs.load(stack.name).secret_env == {"TOKEN": "new", "KEY": "k"}
    stack.edit(**{"env.TOKEN": None, "env.KEY": None})
    assert outputs.load(stack.name).secret_env == {}


@pytest.mark.skipif(shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH")
def test_the_real_cli_names_the_secrets_of_the_config(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """As people set them, on a file backend of this test's own; any value comes as it is."""
    backend(elsewhere, monkeypatch, recorded(stack), stack.name)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "x")
    monkeypatch.setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
    words = [
        "pulumi",
        "config",
        "set",
        "--secret",
        "env.TOKEN",
        "--stack",
        stack.name,
        "--non-interactive",
    ]
    value = "a 'b' \"c\" ü $D \\"
    subprocess.run([*words, "--", value], cwd=stacks.ROOT, check=True, timeout=60)
    assert outputs.load(stack.name).secret_env == {"TOKEN": value}


def test_any_other_backend_is_the_cli_s(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    cli(elsewhere, recorded(stack))
    assert outputs.read(stack.name).environment == stack.name
    cli(elsewhere, "error: no stack named 'aws-dev' found", 6)
    with pytest.raises(NotUpError, match="the stack is not up; run `fab up"):
        outputs.read("aws-dev")
    cli(elsewhere, "error: access denied", 255)
    with pytest.raises(OutputsError, match="access denied"):
        outputs.read("aws-dev")
    cli(elsewhere, {})
    with pytest.raises(
        OutputsError, match="the stack is not up; run `fab up --stack aws-dev` first"
    ):
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
    both = {"secret_env": {"TOKEN": "x"}, "secret_https": {"frontend_key": "k"}}
    file.write_text(json.dumps({"contract": CONTRACT, **both}))
    assert outputs.load("aws-dev", str(file)).secret_env == {"TOKEN": "x", "frontend_key": "k"}
    file.write_text(json.dumps({"contract": CONTRACT, "secret_https": "[secret]"}))
    with pytest.raises(OutputsError, match="--show-secrets"):
        outputs.load("aws-dev", str(file))
    file.write_text(json.dumps({"contract": CONTRACT, "secret_env": "[secret]"}))
    with pytest.raises(OutputsError, match="made without --show-secrets"):
        outputs.load("aws-dev", str(file))
    for text, said in (("{", "not JSON"), ("[]", "not an object"), ("{}", "hold no contract")):
        file.write_text(text)
        with pytest.raises(ValueError, match=said):
            outputs.load("aws-dev", str(file))
    with pytest.raises(OutputsError, match="No such file"):
        outputs.load("aws-dev", str(elsewhere / "nowhere"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"address": "-oProxyCommand=x"}, "contract.standby.backend-1.address: invalid value"),
        ({"user": "../root"}, "contract.standby.backend-1.user: invalid value"),
        ({"host_keys": []}, "contract.standby.backend-1.host_keys: none"),
    ],
)
def test_a_standby_machine_is_checked_like_any_host(
    elsewhere: Path, more: dict[str, Any], said: str
) -> None:
    """The kit connects to it as well, although it is not part of the contract."""
    host = CONTRACT["backend"]["hosts"][0]
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps({"contract": CONTRACT, "standby": {"backend-1": host}}))
    assert outputs.load("aws-dev", str(file)).standby["backend-1"].name == host["name"]
    file.write_text(json.dumps({"contract": CONTRACT, "standby": {"backend-1": host | more}}))
    with pytest.raises(ContractError) as caught:
        outputs.load("aws-dev", str(file))
    assert said in str(caught.value)


@pytest.mark.parametrize("standby", ["backend-1", ["backend-1"], 7])
def test_standby_machines_are_an_object(elsewhere: Path, standby: object) -> None:
    """Anything else in a file of outputs is an error that names the file."""
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps({"contract": CONTRACT, "standby": standby}))
    with pytest.raises(ContractError, match="standby: expected an object") as caught:
        outputs.load("aws-dev", str(file))
    assert caught.value.where == str(file)


def test_a_file_says_which_stack_it_is_of(elsewhere: Path) -> None:
    """Named as well, the stack has to be the same: else the code of one went to the hosts of the
    other."""
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps(CONTRACT))
    assert outputs.load(None, str(file)).contract.environment == "aws-dev"
    with pytest.raises(
        OutputsError, match="is the contract of stack aws-dev, and --stack says 'gcp-dev'"
    ):
        outputs.load("gcp-dev", str(file))


@pytest.mark.parametrize(
    "verb", ["ship", "plan", "deploy", "rollback", "status", "history", "logs", "doctor", "outputs"]
)
def test_every_verb_refuses_another_stack_s_file(elsewhere: Path, verb: str) -> None:
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps(CONTRACT))
    words = [FAB, verb, "--stack", "local", "--outputs", str(file)]
    done = subprocess.run(
        words, cwd=stacks.ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "is the contract of stack aws-dev, and --stack says 'local'" in done.stderr


def test_a_ship_takes_the_code_of_the_file_s_stack(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$STACK and Pulumi's selection are for commands that name nothing; a file of an unknown stack
    has no code here."""
    file = elsewhere / "outputs.json"
    file.write_text(json.dumps(CONTRACT | {"environment": "elsewhere"}))
    monkeypatch.setenv("STACK", "local")
    words = [FAB, "ship", "--outputs", str(file)]
    done = subprocess.run(
        words, cwd=stacks.ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "there is no stack 'elsewhere'; stacks/ has" in done.stderr


def test_a_state_of_another_stack_is_refused(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that was copied to another name does not lead to the hosts of the first."""
    backend(elsewhere, monkeypatch, {"contract": CONTRACT | {"environment": "aws-prod"}})
    with pytest.raises(
        OutputsError, match="the state of stack aws-dev holds the contract of aws-prod"
    ):
        outputs.read("aws-dev")


@pytest.mark.parametrize(
    "state", ["[]", '{"checkpoint": []}', '{"checkpoint": {"latest": {"resources": [1]}}}', "{"]
)
def test_a_broken_state_is_one_message(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
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


# -------------------------------------------------------------------------------------- which stack


def select(folder: Path, workspace: object, root: Path = stacks.ROOT) -> None:
    """What `pulumi stack select` leaves."""
    digest = hashlib.sha1(str(root / "Pulumi.yaml").encode()).hexdigest()
    path = folder / "pulumi" / "workspaces" / f"origin-kit-{digest}-workspace.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(workspace if isinstance(workspace, str) else json.dumps(workspace))


def test_which_stack(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, else $STACK, else $PULUMI_STACK, else the one selected in Pulumi, else local; and it
    says which."""
    assert str(stacks.choose(None)) == "stack local (the default)"
    select(elsewhere, {"stack": "organization/origin-kit/gcp-dev"})
    assert str(stacks.choose(None)) == "stack gcp-dev (selected in Pulumi)"
    monkeypatch.setenv("PULUMI_STACK", "organization/origin-kit/aws-staging")
    assert str(stacks.choose(None)) == "stack aws-staging ($PULUMI_STACK)"
    monkeypatch.setenv("STACK", "aws-dev")
    assert str(stacks.choose(None)) == "stack aws-dev ($STACK)"
    assert str(stacks.choose("gcp-prod")) == "stack gcp-prod (--stack)"
    with pytest.raises(
        UnknownStackError, match=r"no stack 'prod'; stacks/ has aws-dev, .*local, local-https, "
    ):
        stacks.choose("prod")
    monkeypatch.setenv("STACK", "prod")
    with pytest.raises(
        UnknownStackError, match=r"no stack 'prod' \(\$STACK\); stacks/ has aws-dev"
    ):
        stacks.choose(None)


def test_the_selection_is_that_of_the_backend(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CLI keeps one selection a backend; another backend's is none; what an older CLI wrote
    counts after it."""
    by_backend = {
        "file://~": "organization/origin-kit/gcp-dev",
        "s3://bucket": "organization/origin-kit/aws-prod",
    }
    select(elsewhere, {"stacks": by_backend})
    assert stacks.chosen_stack(None) == "local"
    (elsewhere / "pulumi" / "credentials.json").write_text('{"current": "file://~"}')
    assert stacks.chosen_stack(None) == "gcp-dev"
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    assert stacks.chosen_stack(None) == "aws-prod"
    monkeypatch.setenv("PULUMI_BACKEND_URL", "gs://bucket")
    select(elsewhere, {"stacks": by_backend, "stack": "gcp-staging"})
    assert stacks.chosen_stack(None) == "gcp-staging"


def test_the_selection_is_found_through_a_link(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pulumi names its file by the path that the shell shows, links and all."""
    (elsewhere / "link").symlink_to(stacks.ROOT)
    select(elsewhere, {"stack": "aws-prod"}, elsewhere / "link")
    assert stacks.chosen_stack(None) == "local"
    monkeypatch.setenv("PWD", str(elsewhere / "link" / "docs"))
    assert stacks.chosen_stack(None) == "aws-prod"


@pytest.mark.parametrize(
    "workspace", ["", "[]", '{"stacks": 3}', '{"stacks": ["x"]}', '{"stack": ""}']
)
def test_a_workspace_file_that_names_nothing_selects_nothing(
    elsewhere: Path, workspace: str
) -> None:
    select(elsewhere, workspace)
    assert stacks.chosen_stack(None) == "local"


@pytest.mark.skipif(shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH")
def test_what_the_cli_selects_is_chosen(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """The real CLI, on a file backend of this test's own: its selection and the kit's are one."""
    (elsewhere / "state").mkdir()
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{elsewhere}/state")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "x")
    monkeypatch.setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
    state = elsewhere / f"state/.pulumi/stacks/origin-kit/{stack.name}.json"
    state.parent.mkdir(parents=True)
    whole = {"version": 3, "checkpoint": {"stack": f"organization/origin-kit/{stack.name}"}}
    state.write_text(json.dumps(whole))
    words = ["pulumi", "stack", "select", stack.name, "--non-interactive"]
    subprocess.run(words, cwd=stacks.ROOT, check=True, timeout=60)
    assert str(stacks.choose(None)) == f"stack {stack.name} (selected in Pulumi)"


def first_line(*words: str) -> str:
    """The line that names the stack, of a verb that goes no further: nothing is up."""
    done = subprocess.run(
        [FAB, *words], cwd=stacks.ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1 and "run `fab up" in done.stderr, done.stdout + done.stderr
    return next(
        line for line in (done.stdout + done.stderr).splitlines() if line.startswith("stack ")
    )


def fab_plan() -> str:
    """A plan of a stack that is not up is one all the same."""
    return subprocess.run(
        [FAB, "plan"], cwd=stacks.ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize(
    "verb", ["ship", "deploy", "rollback", "status", "history", "logs", "doctor"]
)
def test_every_verb_names_its_stack_and_what_chose_it(elsewhere: Path, verb: str) -> None:
    """In its first line: a command that means another environment than its reader shows it before
    it does anything."""
    assert first_line(verb) == "stack local (the default)"
    assert fab_plan().startswith("stack local (the default)\n")


def test_what_other_programs_read_has_the_name_on_stderr(elsewhere: Path) -> None:
    for words in (["outputs"], ["status", "--json"], ["deploy", "--json"]):
        done = subprocess.run(
            [FAB, *words], cwd=stacks.ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stdout == ""
        assert done.stderr.startswith("stack local (the default)\n")


# ------------------------------------------------------------------------------------------- config


def test_an_edit_of_the_config_is_in_the_contract(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """The outputs are those of the last `pulumi up`; what is wanted of the hosts is what the config
    says now."""
    backend(elsewhere, monkeypatch, recorded(stack), stack.name)
    stack.edit(extra_origins=["https://other.example.com"], workers=5)
    found = outputs.ready(outputs.load(stack.name))
    assert "https://other.example.com" in found.contract.cors.allowed_origins
    assert found.contract.application.workers == 5
    assert found.contract.to_json()["backend"]["hosts"][0]["address"] == "203.0.113.20"
    assert found.notes == []


@pytest.mark.usefixtures("many_hosts")
def test_a_deploy_stops_where_other_infrastructure_is_needed(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """It names each key with what there is and what is asked, and `fab up`; others may look, and
    read the same."""
    infrastructure = {
        "cloud": "aws",
        "machine_type": "t3.small",
        "ssh_from": ["198.51.100.0/24"],
        "later": 1,
    }
    backend(elsewhere, monkeypatch, recorded(stack, infrastructure=infrastructure), stack.name)
    stack.edit(machine_type="t3.large", workers=5)
    found = outputs.load(stack.name)
    keys = [
        "machine_type: t3.small → t3.large",
        'ssh_from: ["198.51.100.0/24"] → ["203.0.113.0/24"]',
    ]
    assert [str(one) for one in found.pending] == keys
    assert (
        found.notes[0]
        == f"{keys[0]}: needs other infrastructure: run `fab up --stack {stack.name}`"
    )
    assert found.contract.application.workers == 5
    words = [FAB, "deploy", "--stack", stack.name]
    done = subprocess.run(
        words, cwd=stacks.ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert done.stderr.splitlines() == [
        (
            f"stacks/Pulumi.{stack.name}.yaml needs other infrastructure: run `fab up --stack"
            f" {stack.name}`; nothing was changed"
        ),
        *(f"  {key}" for key in keys),
    ]


@pytest.mark.usefixtures("many_hosts")
def test_outputs_of_an_older_program_are_compared(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """Counts, production and names stand in the contract itself; what else there was is unknown,
    and stops nothing."""
    backend(elsewhere, monkeypatch, recorded(stack), stack.name)
    stack.edit(machine_type="t3.large", region="eu-west-1")
    assert outputs.load(stack.name).pending == ()
    stack.edit(domain="shop.example.com", dns_zone="Z1", production=True, tls="acme")
    found = outputs.load(stack.name)
    assert [one.key for one in found.pending] == ["production", "domain"]
    assert (
        found.contract.frontend.origin == "https://203.0.113.10"
    )  # until there is a record for the name


def test_hosts_of_the_program_before_are_counted(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    two = json.loads(json.dumps(recorded(stack)))
    hosts = two["contract"]["backend"]["hosts"]
    hosts.append(hosts[0] | {"name": "backend-2", "address": "203.0.113.21"})
    backend(elsewhere, monkeypatch, two, stack.name)
    found = outputs.load(stack.name)
    assert [str(one) for one in found.pending] == ["backend_count: 2 → 1"]
    assert len(found.contract.backend.hosts) == 2


def test_names_of_the_program_before_are_read_from_its_origins(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    named = json.loads(json.dumps(recorded(stack)))
    named["contract"]["frontend"]["origin"] = "http://app.shop.example.com"
    named["contract"]["backend"]["origin"] = "http://api.shop.example.com"
    backend(elsewhere, monkeypatch, named, stack.name)
    stack.edit(domain="shop.example.com", dns_zone="Z1", backend_name="django")
    found = outputs.load(stack.name)
    assert [str(one) for one in found.pending] == ["backend_name: api → django"]
    assert found.contract.backend.origin == "http://api.shop.example.com"
    stack.edit(domain="", dns_zone="", backend_name="api")
    assert [str(one) for one in outputs.load(stack.name).pending] == [
        'domain: shop.example.com → ""'
    ]


def test_a_local_state_is_a_local_stack_s(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """A stack that was local and is now said to be on a cloud is not deployed to its local
    machines."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    path = state_files.kit_checkpoint(stack.name)
    path.parent.mkdir(parents=True)
    state = json.loads(json.dumps(STATE))
    state["checkpoint"]["latest"]["resources"][0]["outputs"] = recorded(stack)
    path.write_text(json.dumps(state))
    with pytest.raises(OutputsError, match="cloud: local → aws"):
        outputs.ready(outputs.load(stack.name))


@pytest.mark.parametrize("verb", ["ship", "plan", "deploy", "status", "doctor", "outputs"])
def test_every_mistake_of_the_config_stops_what_goes_by_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile, verb: str
) -> None:
    """All of them at once, and nothing is done; `status` asks the hosts all the same."""
    backend(elsewhere, monkeypatch, recorded(stack), stack.name)
    stack.edit(workers="many", max_age_s=-1, extra_origins=["nonsense"], wrokers=3)
    words = [FAB, verb, "--stack", stack.name]
    done = subprocess.run(
        words, cwd=stacks.ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    for key in ("workers", "max_age_s", "extra_origins", "wrokers"):
        assert f"stacks/Pulumi.{stack.name}.yaml: {key}: " in (
            done.stdout if verb == "status" else done.stderr
        )
    assert "Traceback" not in done.stderr


def test_a_rollback_needs_no_valid_config(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """rollback, history and logs go by the outputs of the last `fab up` then, and say so."""
    backend(elsewhere, monkeypatch, recorded(stack), stack.name)
    stack.edit(workers="many")
    found = outputs.load(stack.name, strict=False)
    assert found.contract.to_json() == outputs._of(recorded(stack)).contract.to_json()
    assert "workers: 'many' is not a whole number" in found.notes[0]
    assert "the outputs of the last `fab up` count" in found.notes[0]


def test_who_deploys_needs_no_public_key(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, stack: StackFile
) -> None:
    """`ssh_key_file` is for the instances that `fab up` makes; a runner that deploys has a key in
    its agent."""
    monkeypatch.setenv("HOME", str(elsewhere))
    backend(elsewhere, monkeypatch, recorded(stack), stack.name)
    assert outputs.ready(outputs.load(stack.name)).contract.environment == stack.name
