"""The verbs' own promises: nothing is torn down by mistake, and failures are one message."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pulumi
import pytest

import tasks
from infra.core import errors
from infra.core.errors import KitError
from infra.core.settings import WARNED, SettingsError
from rollout import infrastructure, local_stack, settings
from rollout.changes import Allowed
from rollout.engines import InfrastructureError
from rollout.local_stack import NotRootError
from tests.support import graph
from tests.support.kit import FAB, ROOT
from tests.support.terminals import at_a_terminal
from tests.test_clouds import KEY

IMAGE = "ami-0123456789abcdef0"


@dataclass
class Cloud:
    """A stack on AWS, and a `pulumi` that notes its orders and previews `steps`."""

    folder: Path
    name: str
    steps: list[dict[str, object]] = field(default_factory=list)

    def write(self, base: str) -> None:
        """The config of one of the stacks here, with an image."""
        text = (ROOT / "stacks" / f"Pulumi.{base}.yaml").read_text()
        self.path.write_text(
            text.replace("config:\n", f"config:\n  origin-kit:machine_image: {IMAGE}\n", 1)
        )

    @property
    def path(self) -> Path:
        return ROOT / "stacks" / f"Pulumi.{self.name}.yaml"

    def would(
        self, verb: str, name: str, type_: str = "aws:ec2/instance:Instance", *keys: str
    ) -> None:
        urn = f"urn:pulumi:{self.name}::origin-kit::origin-kit:aws:Cloud${type_}::{name}"
        self.steps.append({"op": verb, "urn": urn, "replaceReasons": list(keys)})
        (self.folder / "preview.json").write_text(json.dumps({"steps": self.steps}))

    def commands(self) -> list[str]:
        """Every command that `pulumi` was given, read once; reading is none."""
        words = self.folder / "words"
        lines = words.read_text().splitlines() if words.exists() else []
        words.unlink(missing_ok=True)
        return [line for line in lines if not line.startswith(("stack output", "stack ls"))]


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(KEY)
    made = Cloud(tmp_path, f"test-{os.getpid()}")
    made.write("aws-staging")
    (tmp_path / "preview.json").write_text('{"steps": []}')
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    (tmp_path / "stacks.json").write_text(
        json.dumps([{"name": "other"}, {"name": f"acme/{made.name}"}])
    )
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/words\n[ "$1" != preview ] || exec cat'
        f' {tmp_path}/preview.json\n[ "$1 $2" != "stack ls" ] || exec cat {tmp_path}/stacks.json\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    yield made
    made.path.unlink()


def fab(*words: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
    """`fab WORDS` with nobody there, or with somebody at a terminal who has `typed` something."""
    return at_a_terminal([FAB, *words], typed)


@pytest.mark.parametrize("name", tasks.ns.task_names)
def test_help_starts_with_one_sentence_on_one_line(name: str) -> None:
    """`fab --list` and `fab` show the first line only."""
    first, *rest = (tasks.ns[name].__doc__ or "").splitlines()
    assert first.endswith(".") and len(first) <= 80
    assert not rest or rest[0] == ""


def test_down_asks_for_the_stack_s_name(cloud: Cloud) -> None:
    """Anything but the name typed out at a terminal removes nothing, nor does nobody being
    there."""
    for typed in ("yes\n", "\n", "\x04", f"{cloud.name}x\n", None):
        done = fab("down", "--stack", cloud.name, typed=typed)
        assert done.returncode == (3 if typed in ("\x04", None) else 2), typed
        assert "nothing was removed" in done.stderr
        assert "Traceback" not in done.stderr
    assert cloud.commands() == []
    removed = [
        f"destroy --stack {cloud.name} --yes",
        f"stack rm --stack {cloud.name} --yes --preserve-config --non-interactive",
    ]
    assert fab("down", "--stack", cloud.name, typed=f"{cloud.name}\n").returncode == 0
    assert cloud.commands() == removed
    assert fab("down", "--stack", cloud.name, "--yes").returncode == 0
    assert cloud.commands() == removed


@pytest.mark.parametrize("there", [[], [{"name": "other"}]])
def test_down_of_a_stack_that_pulumi_does_not_have_says_so(
    cloud: Cloud, there: list[object]
) -> None:
    """Nothing to remove is fine, and no question."""
    (cloud.folder / "stacks.json").write_text(json.dumps(there))
    done = fab("down", "--stack", cloud.name)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        f"there is nothing of {cloud.name} to remove",
    )
    assert cloud.commands() == []


def test_down_keeps_a_stack_that_holds_the_key_to_its_secrets(cloud: Cloud) -> None:
    """Pulumi's cloud keeps a key a stack: without the stack nobody could read the config's secrets
    any more."""
    secret = "config:\n  origin-kit:env.TOKEN:\n    secure: AAABAA==\n"
    cloud.path.write_text(cloud.path.read_text().replace("config:\n", secret, 1))
    done = fab("down", "--stack", cloud.name, "--yes")
    assert done.returncode == 0
    assert (
        f"keeps the empty stack {cloud.name}: Pulumi holds the key to the secrets in its config"
        in done.stdout
    )
    assert cloud.commands() == [f"destroy --stack {cloud.name} --yes"]
    cloud.path.write_text("encryptionsalt: v1:abc\n" + cloud.path.read_text())
    fab("down", "--stack", cloud.name, "--yes")
    assert cloud.commands()[1].startswith("stack rm ")


def test_a_stack_that_pulumi_does_not_have_gets_the_next_step(cloud: Cloud) -> None:
    """`up` says where it comes from, `plan` that nothing is there; nothing is made in passing."""
    (cloud.folder / "stacks.json").write_text("[]")
    done = fab("up", "--stack", cloud.name)
    assert done.returncode == 2
    assert (
        f"Run `pulumi stack init {cloud.name}`, or `pulumi login` to the backend that has it"
        in done.stderr
    )
    assert infrastructure.plan(settings.read(cloud.name)).absent
    (cloud.folder / "stacks.json").write_text("pulumi: what?")
    assert fab("up", "--stack", cloud.name).returncode == 4
    assert "is this the login that you want?" in fab("down", "--stack", cloud.name, "--yes").stderr
    assert cloud.commands() == []


def test_down_of_a_local_stack_asks_as_well() -> None:
    """It holds data as others do; `make down` says --yes."""
    done = fab("down", "--stack", "local")
    assert done.returncode == 3
    assert "to remove local and its data, add --yes" in done.stderr


@pytest.mark.parametrize("words", [(), ("--yes",)])
def test_down_of_production_is_refused_before_anything(
    cloud: Cloud, words: tuple[str, ...]
) -> None:
    """`destroy` would remove routes, rules and names before it fails on the protected instance; it
    is never run."""
    cloud.write("aws-prod")
    done = fab("down", "--stack", cloud.name, *words, typed=f"{cloud.name}\n")
    assert done.returncode == 2
    assert f"stack {cloud.name} is production; nothing was removed" in done.stderr
    assert f"`pulumi state unprotect --all --stack {cloud.name}`" in done.stderr
    assert cloud.commands() == []


def lossy(cloud: Cloud) -> None:
    cloud.would("replace", "backend-1", "aws:ec2/instance:Instance", "subnetId")
    cloud.would("delete", "backend-2")
    cloud.would("delete", "backend-2", "aws:ec2/eip:Eip")
    cloud.would(
        "replace",
        "backend-22-1",
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        "cidrIpv4",
    )


def test_up_asks_before_it_replaces_or_deletes_data(cloud: Cloud) -> None:
    """With nobody there it stops before anything, names each with the reason, and says how to allow
    it."""
    lossy(cloud)
    done = fab("up", "--stack", cloud.name)
    assert done.returncode == 3
    assert (
        "backend-1    would replace the instance: subnetId changed; what it holds is lost"
        in done.stdout
    )
    assert "backend-2    would delete the public address; what it holds is lost" in done.stdout
    assert "backend-22-1" not in done.stdout
    assert (
        f"`fab up --stack {cloud.name} --allow-replace backend-1 --allow-delete backend-2`"
        in done.stderr
    )
    assert [line.split()[0] for line in cloud.commands()] == ["preview"]


@pytest.mark.parametrize("typed", ["yes\n", "backend-1\n", "\n"])
def test_any_answer_but_all_names_changes_nothing(cloud: Cloud, typed: str) -> None:
    """A `y` typed without reading is not enough."""
    lossy(cloud)
    done = fab("up", "--stack", cloud.name, typed=typed)
    assert done.returncode == 2
    assert "Type the names to go on (backend-1 backend-2): " in done.stdout
    assert "these are not the names; nothing was changed" in done.stderr
    assert [line.split()[0] for line in cloud.commands()] == ["preview"]


def test_up_goes_on_where_each_loss_is_allowed(cloud: Cloud) -> None:
    """By options, or by the names typed; and at once where nothing is lost."""
    lossy(cloud)
    wanted = settings.read(cloud.name)
    infrastructure.up(wanted, None, allowed=Allowed(replace=["backend-1"], delete=["backend-2"]))
    assert [line.split()[0] for line in cloud.commands()] == ["preview", "up"]
    fab("up", "--stack", cloud.name, typed="backend-1, backend-2\n")
    assert [line.split()[0] for line in cloud.commands()][:2] == ["preview", "up"]
    cloud.steps.clear()
    cloud.would("update", "backend-1")
    infrastructure.up(wanted, None)
    assert [line.split()[0] for line in cloud.commands()] == ["preview", "up"]


def test_up_says_once_that_a_key_has_a_new_name(cloud: Cloud) -> None:
    """`fab` does; the program, which runs twice, warns whoever runs it by hand."""
    cloud.path.write_text(cloud.path.read_text() + "\n  origin-kit:allowed_shapes: []\n")
    program = cloud.folder / "bin" / "pulumi"
    noted = cloud.folder / "noted"
    noting = f'#!/bin/sh\necho "$1 ${WARNED}" >> {noted}\n'
    program.write_text(program.read_text().replace("#!/bin/sh\n", noting, 1))
    done = fab("up", "--stack", cloud.name)
    assert done.stderr.count("this key is now called allowed_patterns") == 1
    runs = [line for line in noted.read_text().splitlines() if not line.startswith("stack ")]
    assert runs == ["preview 1", "up 1"]


def test_the_program_warns_whoever_runs_it_by_hand(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `fab` has warned, it does not."""
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    monkeypatch.setenv(WARNED, "1")
    graph.program(cloud.name, allowed_shapes="[]", timeout_s="31")
    assert warnings == []
    monkeypatch.delenv(WARNED)
    graph.program(cloud.name, allowed_shapes="[]", timeout_s="32")
    assert len(warnings) == 1 and "this key is now called allowed_patterns" in warnings[0]


STOPPED = (
    "backend-1    would update the instance: instanceType changed; it is stopped for a minute or"
    " two, and answers"
)


def test_up_stops_no_instance_unasked(cloud: Cloud) -> None:
    """Another machine type: plan shows it, up asks, or takes the option; with nobody there it is
    status 3."""
    cloud.would("update", "backend-1", "aws:ec2/instance:Instance", "instanceType")
    wanted = settings.read(cloud.name)
    shown = infrastructure.plan_text(infrastructure.plan(wanted), cloud.name)
    assert f"  {STOPPED}" in shown and "which asks first, or takes --allow-stop backend-1" in shown
    cloud.commands()
    done = fab("up", "--stack", cloud.name)
    assert done.returncode == 3
    assert STOPPED in done.stdout
    assert (
        "nothing was changed: backend-1 would be stopped for a while, and there is no terminal"
        in done.stderr
    )
    assert f"or run `fab up --stack {cloud.name} --allow-stop backend-1`" in done.stderr
    assert fab("up", "--stack", cloud.name, typed="y\n").returncode == 2
    assert [line.split()[0] for line in cloud.commands()] == ["preview", "preview"]
    fab("up", "--stack", cloud.name, typed="backend-1\n")
    assert [line.split()[0] for line in cloud.commands()][:2] == ["preview", "up"]
    fab("up", "--stack", cloud.name, "--allow-stop", "backend-1")
    assert [line.split()[0] for line in cloud.commands()][:2] == ["preview", "up"]


def test_losses_and_stops_are_one_question(cloud: Cloud) -> None:
    """Each with what becomes of it."""
    cloud.would("delete", "backend-2")
    cloud.would("update", "backend-1", "aws:ec2/instance:Instance", "instanceType")
    done = fab("up", "--stack", cloud.name)
    assert (
        "backend-2 would be lost, and backend-1 would be stopped for a while, and there is no"
        in done.stderr
    )
    assert "--allow-stop backend-1 --allow-delete backend-2`" in done.stderr


def test_a_preview_that_fails_says_why_and_changes_nothing(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its JSON holds the reasons: these are shown, and no `up` follows."""
    program = cloud.folder / "bin" / "pulumi"
    said = {
        "diagnostics": [
            {"severity": "error", "message": "backend-1 is protected"},
            {"severity": "info"},
        ]
    }
    (cloud.folder / "preview.json").write_text(json.dumps(said))
    program.write_text(program.read_text().replace("exec cat", "! cat", 1) + "exit 255\n")
    with pytest.raises(InfrastructureError, match="ended with status 255"):
        infrastructure.up(settings.read(cloud.name), None)
    assert capsys.readouterr().err == "backend-1 is protected\n"
    assert [line.split()[0] for line in cloud.commands()] == ["preview"]


def test_plan_says_what_it_could_not_ask(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes by name with the keys; without the CLI no verdict on the infrastructure. Never
    anything but a preview."""
    lossy(cloud)
    wanted = settings.read(cloud.name)
    found = infrastructure.plan(wanted)
    lines = infrastructure.plan_text(found, cloud.name).splitlines()
    assert (
        lines[1]
        == "  backend-1    would replace the instance: subnetId changed; WHAT IT HOLDS IS LOST"
    )
    assert lines[-1].endswith(
        "which asks first, or takes --allow-replace backend-1 --allow-delete backend-2"
    )
    assert [line.split()[0] for line in cloud.commands()] == ["preview"]
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    unasked = infrastructure.plan(wanted)
    assert "could not be asked: the pulumi CLI is not on PATH" in infrastructure.plan_text(
        unasked, cloud.name
    )
    assert not unasked.differs


def test_a_cloud_needs_the_cli_and_says_where_to_get_it(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = cloud.name
    done = fab("up", "--stack", name, "--engine", "embedded")
    assert (
        "the embedded engine serves the local cloud only; install the Pulumi CLI for aws"
        in done.stderr
    )
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "the pulumi CLI is not on PATH; install it" in fab("up", "--stack", name).stderr
    assert fab("up", "--stack", name, "--engine", "terraform").returncode == 2


def test_all_mistakes_of_a_config_reach_the_person() -> None:
    """One line each, with file and key; status 2."""
    path = ROOT / "stacks" / f"Pulumi.test-{os.getpid()}-x.yaml"
    path.write_text("config:\n  origin-kit:cloud: aws\n  origin-kit:max_age_s: soon\n")
    try:
        done = fab("up", "--stack", path.name.split(".")[1])
    finally:
        path.unlink()
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert all(line.startswith(f"stacks/{path.name}: ") for line in lines)
    assert {line.split(": ")[1] for line in lines} >= {
        "max_age_s",
        "application",
        "wsgi",
        "settings",
        "region",
        "ssh_from",
    }


def test_an_unknown_stack_and_broken_yaml_are_one_line() -> None:
    done = fab("deploy", "--stack", "lokal")
    assert done.returncode == 2
    assert done.stderr.startswith("there is no stack 'lokal'; stacks/ has aws-dev, ")
    path = ROOT / "stacks" / f"Pulumi.test-{os.getpid()}-y.yaml"
    path.write_text("config:\n  a: b\n   c: d\n")
    try:
        done = fab("up", "--stack", path.name.split(".")[1])
    finally:
        path.unlink()
    assert done.returncode == 2
    assert f"{path.name}: line 3: not YAML" in done.stderr


def test_without_root_the_local_cloud_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotRootError, match="it needs root; run it with sudo, or `make up`"):
        local_stack.prepare(settings.read("local"))


def test_describe_separates_our_errors_from_bugs() -> None:
    """Ours as they are, any other with its kind."""
    assert errors.describe(SettingsError(["a: b"])) == "a: b"
    assert errors.describe(KitError("no", where="a", cure="b", detail="c")) == "a: no; b\nc"
    assert errors.describe(ValueError("x")) == "ValueError: x (a bug in the kit: please report it)"
