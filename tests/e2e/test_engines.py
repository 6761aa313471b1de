"""Two engines, one state: what one has made the other agrees with and takes over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from infra.core.previews import name_of
from infra.core.stackfile import stack_path
from tests.support.kit import ROOT, Kit, Stack

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH"),
]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack.of(Kit(tmp_path / "home")) as made:
        yield made


def pulumi(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    """The CLI as a person would run it over the kit's own backend."""
    home = stack.kit.home
    config = home.with_name(f"{home.name}-by-hand.yaml")
    kept = home / "config" / f"Pulumi.{stack.name}.yaml"
    salt = (
        [line for line in kept.read_text().splitlines() if "encryptionsalt" in line]
        if kept.exists()
        else []
    )
    config.write_text("\n".join([stack_path(ROOT, stack.name).read_text(), *salt, ""]))
    secret = home / "passphrase"
    environment = {
        **stack.kit.environment,
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": secret.read_text() if secret.exists() else "x",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    command = [
        "pulumi",
        *words,
        "--stack",
        stack.name,
        "--non-interactive",
        "--config-file",
        str(config),
    ]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def agrees(stack: Stack, resources: int = 5) -> bool:
    done = pulumi(stack, "preview", "--expect-no-changes", "--refresh")
    assert done.returncode == 0, done.stdout + done.stderr
    return f"{resources} unchanged" in done.stdout


def kill_backend(stack: Stack) -> None:
    for record in stack.kit.home.glob("machines/*backend-1*/machine.json"):
        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)


def test_the_cli_takes_over_what_the_embedded_engine_has_made(stack: Stack) -> None:
    """No change to see; then the CLI starts a dead machine, and the embedded engine agrees and
    removes all."""
    first = stack.fab("up", "--engine", "embedded").stdout
    assert "(embedded engine)" in first
    assert agrees(stack)
    contract = stack.contract
    kill_backend(stack)
    text = stack.fab("up", "--engine", "pulumi").stdout
    assert "(pulumi engine)" in text
    assert "running" in text or "updated" in text
    assert stack.contract == contract
    assert agrees(stack)
    assert "nothing to change" in stack.fab("up", "--engine", "embedded").stdout
    stack.fab("down", "--yes", "--engine", "embedded")
    assert list(stack.kit.home.glob("*")) == []


def test_the_embedded_engine_takes_over_what_the_cli_has_made(stack: Stack) -> None:
    """The other way round; and the CLI removes what the embedded engine has changed."""
    stack.fab("up", "--engine", "pulumi")
    assert "nothing to change" in stack.fab("up", "--engine", "embedded").stdout
    assert agrees(stack)
    stack.write(memory_mb=384)
    text = stack.fab("up", "--engine", "embedded").stdout
    assert "backend-1    updates it: memory_mb changed" in text
    assert agrees(stack)
    stack.fab("down", "--yes", "--engine", "pulumi")
    assert list(stack.kit.home.glob("*")) == []
    assert "encryptionsalt" not in stack.path.read_text()


@pytest.mark.soak
def test_a_preview_with_another_environment_s_backend_comes_up_by_both(tmp_path: Path) -> None:
    """One machine, whose page calls the other's backend; every verb takes it as it is, and `pulumi
    up` by hand changes nothing. The longest branch's name fits everywhere."""
    branch = f"Feature/{uuid4().hex}/" + "\u00fc" * 150
    usual: dict[str, object] = {
        "branch": branch,
        "preview_mode": "frontend",
        "attach_to": "staging",
        "attached_backend": "http://10.213.254.74",  # nobody's
        "preview_commit": "0123abc",
        "preview_updated": "2026-11-30T18:00:00Z",
    }
    with Stack.of(Kit(tmp_path / "home"), name_of(branch), **usual) as stack:
        assert "(embedded engine)" in stack.fab("up", "--engine", "embedded").stdout
        contract = stack.contract
        assert (contract.kind, contract.branch) == ("preview", branch)
        assert [role for role, _ in contract.hosts] == ["frontend"]
        with urllib.request.urlopen(f"{contract.frontend.origin}/config.json", timeout=10) as page:
            assert json.load(page)["backend"] == "http://10.213.254.74"
        assert agrees(stack, 4)
        assert "(pulumi engine)" in stack.fab("up", "--engine", "pulumi").stdout
        done = pulumi(stack, "up", "--yes", "--skip-preview")  # with the kit's passphrase now
        assert done.returncode == 0, done.stdout + done.stderr
        assert "nothing to change" in stack.fab("up", "--engine", "embedded").stdout
        state = stack.kit.home / "state/.pulumi/stacks/origin-kit" / f"{stack.name}.json"
        resources = json.loads(state.read_text())["checkpoint"]["latest"]["resources"]
        shown = next(one["outputs"] for one in resources if "preview" in one.get("outputs", {}))
        shown = shown["preview"]
        assert (shown["mode"], shown["commit"], shown["slot"]) == ("frontend", "0123abc", 0)
        assert "frontend-1" in stack.fab("status").stdout
        assert "no finding" not in stack.fab("doctor", status=1).stdout
        assert "attached to staging" in stack.fab("logs", "--role", "backend", status=2).stderr
        assert "\nfrontend-1\n" in stack.fab("logs").stdout
        stack.fab("history")
        stack.fab("down", "--yes", "--engine", "pulumi")
        assert list(stack.kit.home.glob("*")) == []


def test_what_the_cli_leaves_behind_is_not_in_the_way(stack: Stack, tmp_path: Path) -> None:
    """By hand over the user's own login it is refused and nothing is adopted; over the kit's it
    writes its salt into the tracked file; a killed one leaves empty files: `up` and `down` go on
    all the same."""
    stack.fab("up", "--engine", "pulumi")
    environment = {
        **stack.kit.environment,
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "PULUMI_HOME": str(tmp_path / "pulumi"),
        "PULUMI_CONFIG_PASSPHRASE": "x",
    }
    (tmp_path / "other").mkdir()

    def by_hand(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["pulumi", *words, "--stack", stack.name, "--non-interactive"]
        return subprocess.run(
            command, cwd=ROOT, env=environment | more, capture_output=True, text=True, check=False
        )

    other = {"PULUMI_BACKEND_URL": f"file://{tmp_path / 'other'}"}
    before = stack.path.read_text()
    by_hand("stack", "init", **other)
    refused = by_hand("up", "--yes", "--skip-preview", **other)
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert "is local, and its state is not in" in said
    assert f"export PULUMI_BACKEND_URL=file://{stack.kit.home}/state" in said
    assert (
        "Machine"
        not in (tmp_path / f"other/.pulumi/stacks/origin-kit/{stack.name}.json").read_text()
    )
    stack.path.write_text(before)  # it has got the other backend's salt, of another passphrase
    assert agrees(stack)

    own = {
        "PULUMI_BACKEND_URL": f"file://{stack.kit.home / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": (stack.kit.home / "passphrase").read_text(),
    }
    done = by_hand("up", "--yes", "--skip-preview", **own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "encryptionsalt" in stack.path.read_text()
    for path in stack.kit.home.glob("state/.pulumi/**/*.attrs"):
        path.write_text("")
    assert "nothing to do" in stack.fab("up", "--engine", "pulumi").stdout
    stack.path.write_text(before + "encryptionsalt: v1:gqYBZ5JaZOI=:v1:of:another\n")
    stack.fab("down", "--yes", "--engine", "pulumi")
    assert list(stack.kit.home.glob("*")) == []


def test_a_renamed_local_stack_is_refused(stack: Stack) -> None:
    """Its machines are known by the stack's name: under another one every verb, and `pulumi up` by
    hand, would replace them or take them for somebody else's."""
    stack.fab("up", "--engine", "pulumi")
    stack.kit.ssh(stack.contract.backend.hosts[0], "echo two hundred orders > /var/lib/shop/orders")
    running, own = (
        stack.processes(),
        {
            **stack.kit.environment,
            "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "PULUMI_BACKEND_URL": f"file://{stack.kit.home / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(stack.kit.home / "passphrase"),
        },
    )
    other = f"{stack.name}-2"

    def by_hand(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["pulumi", *words, "--non-interactive"]
        return subprocess.run(
            command, cwd=ROOT, env=own, capture_output=True, text=True, check=False
        )

    done = by_hand("stack", "rename", other, "--stack", stack.name)
    assert done.returncode == 0, done.stderr
    try:
        rename_back = f"pulumi stack rename {stack.name} --stack {other}"
        for verb, *words in (
            ["up"],
            ["up", "--take-over"],
            ["down", "--yes"],
            ["plan"],
            ["deploy"],
            ["status"],
        ):
            refused = stack.kit.fab(verb, "--stack", other, *words, status=1)
            assert (
                f"stack {other} was {stack.name}" in refused.stderr
                and rename_back in refused.stderr
            )
            assert "Traceback" not in refused.stderr
        refused = by_hand("up", "--yes", "--skip-preview", "--stack", other)
        assert refused.returncode != 0
        assert rename_back in refused.stdout + refused.stderr
    finally:
        done = by_hand(*rename_back.split()[1:])
    assert done.returncode == 0, done.stderr
    assert stack.processes() == running
    assert "nothing to do" in stack.fab("up", "--engine", "pulumi").stdout
    assert "two hundred" in stack.kit.ssh(
        stack.contract.backend.hosts[0], "cat /var/lib/shop/orders"
    )
    stack.fab("down", "--yes", "--engine", "pulumi")
    assert list(stack.kit.home.glob("*")) == []


def test_local_cloud_errors_are_messages_under_the_cli(stack: Stack) -> None:
    """Pulumi's plugin would show it as a traceback through this kit's files. Nothing was made."""
    subprocess.run(["ip", "link", "add", "ok-test-taken", "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "addr", "add", "10.214.253.1/24", "dev", "ok-test-taken"], check=True)
        stack.write(subnet="10.214.253.0/24")
        done = stack.fab("up", "--engine", "pulumi", status=1)
    finally:
        subprocess.run(["ip", "link", "delete", "ok-test-taken"], check=True)
    said = done.stdout + done.stderr
    assert "subnet 10.214.253.0/24 overlaps a network of this host; set another one" in said
    # The CLI's own host may add a traceback of its own.
    assert "machines.py" not in said and "LocalCloudError" not in said
    assert list(stack.kit.home.glob("machines/*/machine.json")) == []


def test_the_cli_and_the_embedded_engine_keep_each_other_out(stack: Stack) -> None:
    """The lock that one leaves is the lock that the other respects."""
    folder = stack.kit.home / "state/.pulumi/locks/organization/origin-kit" / stack.name
    folder.mkdir(parents=True)
    lock = {
        "pid": os.getpid(),
        "username": "ada",
        "hostname": os.uname().nodename,
        "timestamp": "2026-01-01T00:00:00Z",
    }
    (folder / "held.json").write_text(json.dumps(lock))
    for engine in ("pulumi", "embedded"):
        done = stack.fab("up", "--engine", engine, status=4)
        assert f"locked by ada@{os.uname().nodename}" in done.stdout + done.stderr
    (folder / "held.json").unlink()
