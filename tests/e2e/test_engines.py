"""Two engines, one state: what one has made the other agrees with and takes over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stackfile import stack_path
from tests.e2e.kit import ROOT, Kit, Stack

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
    salt = [line for line in kept.read_text().splitlines() if "encryptionsalt" in line] if kept.exists() else []
    config.write_text("\n".join([stack_path(ROOT, stack.name).read_text(), *salt, ""]))
    secret = home / "passphrase"
    environment = {
        **stack.kit.environment,
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": secret.read_text() if secret.exists() else "x",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    command = ["pulumi", *words, "--stack", stack.name, "--non-interactive", "--config-file", str(config)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def agrees(stack: Stack) -> bool:
    done = pulumi(stack, "preview", "--expect-no-changes", "--refresh")
    assert done.returncode == 0, done.stdout + done.stderr
    return "5 unchanged" in done.stdout


def kill_backend(stack: Stack) -> None:
    for record in stack.kit.home.glob("machines/*backend-1*/machine.json"):
        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)


def test_the_cli_takes_over_what_the_embedded_engine_has_made(stack: Stack) -> None:
    """No change to see; then the CLI starts a dead machine, and the embedded engine agrees and removes all."""
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
    stack.fab("down", "--engine", "embedded")
    assert list(stack.kit.home.glob("*")) == []


def test_the_embedded_engine_takes_over_what_the_cli_has_made(stack: Stack) -> None:
    """The other way round; and the CLI removes what the embedded engine has replaced."""
    stack.fab("up", "--engine", "pulumi")
    assert "nothing to change" in stack.fab("up", "--engine", "embedded").stdout
    assert agrees(stack)
    stack.write(memory_mb=384)
    text = stack.fab("up", "--engine", "embedded").stdout
    assert "replaces it: memory_mb changed" in text
    assert agrees(stack)
    stack.fab("down", "--engine", "pulumi")
    assert list(stack.kit.home.glob("*")) == []
    assert "encryptionsalt" not in stack.path.read_text()


def test_the_cli_and_the_embedded_engine_keep_each_other_out(stack: Stack) -> None:
    """The lock that one leaves is the lock that the other respects."""
    folder = stack.kit.home / "state/.pulumi/locks/organization/origin-kit" / stack.name
    folder.mkdir(parents=True)
    lock = {"pid": os.getpid(), "username": "ada", "hostname": os.uname().nodename, "timestamp": "2026-01-01T00:00:00Z"}
    (folder / "held.json").write_text(json.dumps(lock))
    for engine in ("pulumi", "embedded"):
        done = stack.fab("up", "--engine", engine, status=1)
        assert f"locked by ada@{os.uname().nodename}" in done.stdout + done.stderr
    (folder / "held.json").unlink()
