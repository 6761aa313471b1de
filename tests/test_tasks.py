"""The verbs' own promises: nothing is torn down by mistake, and failures are one message."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.settings import SettingsError
from rollout import infrastructure, settings
from rollout.infrastructure import InfrastructureError
from tests.e2e.kit import FAB, ROOT
from tests.test_clouds import KEY

IMAGE = "ami-0123456789abcdef0"


@pytest.fixture
def cloud_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A stack on AWS, and a `pulumi` that notes what it was told."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(KEY)
    name = f"test-{os.getpid()}"
    text = (
        (ROOT / "stacks" / "Pulumi.aws-prod.yaml")
        .read_text()
        .replace("config:\n", f"config:\n  origin-kit:machine_image: {IMAGE}\n", 1)
    )
    path = ROOT / "stacks" / f"Pulumi.{name}.yaml"
    path.write_text(text)
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words\n')
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    yield name, tmp_path / "words"  # type: ignore[misc]
    path.unlink()


def fab(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([FAB, *words], cwd=ROOT, input=typed, capture_output=True, text=True, check=False, timeout=60)


def test_down_of_a_cloud_asks_for_the_stack_s_name(cloud_stack: tuple[str, Path]) -> None:
    """Anything but the name typed out removes nothing."""
    name, words = cloud_stack
    for typed in ("yes\n", "\n", "", f"{name}x\n"):
        done = fab("down", "--stack", name, typed=typed)
        assert done.returncode == 1
        assert "nothing was removed" in done.stderr
        assert "Traceback" not in done.stderr
    assert not words.exists()
    assert fab("down", "--stack", name, typed=f"{name}\n").returncode == 0
    assert words.read_text() == f"destroy --yes --skip-preview --stack {name}\n"


def test_a_cloud_needs_the_cli_and_says_where_to_get_it(
    cloud_stack: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = cloud_stack
    done = fab("up", "--stack", name, "--engine", "embedded")
    assert "the embedded engine serves the local cloud only; install the Pulumi CLI for aws" in done.stderr
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "the pulumi CLI is not on PATH; install it" in fab("up", "--stack", name).stderr
    assert fab("up", "--stack", name, "--engine", "terraform").returncode == 1


def test_all_mistakes_of_a_config_reach_the_person(tmp_path: Path) -> None:
    """One line each, with file and key; status 1."""
    path = ROOT / "stacks" / f"Pulumi.test-{os.getpid()}-x.yaml"
    path.write_text("config:\n  origin-kit:cloud: aws\n  origin-kit:max_age_s: soon\n")
    try:
        done = fab("up", "--stack", path.name.split(".")[1])
    finally:
        path.unlink()
    assert done.returncode == 1
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
    assert done.returncode == 1
    assert done.stderr.startswith("there is no stack 'lokal'; stacks/ has aws-dev, ")
    path = ROOT / "stacks" / f"Pulumi.test-{os.getpid()}-y.yaml"
    path.write_text("config:\n  a: b\n   c: d\n")
    try:
        done = fab("up", "--stack", path.name.split(".")[1])
    finally:
        path.unlink()
    assert done.returncode == 1
    assert f"{path.name}: line 3: not YAML" in done.stderr


def test_without_root_the_local_cloud_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InfrastructureError, match="it needs root; run it with sudo, or `make up`"):
        infrastructure.prepare_local(settings.read("local"))


def test_describe_tells_our_errors_from_bugs() -> None:
    """Ours as they are, any other with its kind."""
    import tasks

    assert tasks.describe(SettingsError(["a: b"])) == "a: b"
    assert "a bug in the kit" in tasks.describe(ValueError("x"))
