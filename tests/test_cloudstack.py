"""The last of a cloud stack: the real CLI, over a file backend and pretended providers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.core.stackfile import stack_values
from rollout import cloudstack
from tests.support import pretend, stackfiles
from tests.support.graph import ROOT
from tests.support.kit import FAB
from tests.support.stackfiles import StackFile
from tests.test_clouds import KEY
from tests.test_old_state import cli


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A login of this test's own."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(KEY)
    (tmp_path / "backend").mkdir()
    with pretend.providers() as debug:
        values = {
            "HOME": tmp_path,
            "PULUMI_BACKEND_URL": f"file://{tmp_path}/backend",
            "PULUMI_DEBUG_PROVIDERS": debug,
            "PULUMI_CONFIG_PASSPHRASE": pretend.PASSPHRASE,
            "PULUMI_HOME": tmp_path / "home",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PATH": f"{Path(FAB).parent}:{os.environ['PATH']}",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))
        yield


@pytest.fixture
def stack() -> Iterator[StackFile]:
    with stackfiles.like("aws-staging") as made:
        yield made


def run(*words: str) -> str:
    done = subprocess.run(
        words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return done.stdout


@cli
def test_down_leaves_no_stack_and_keeps_its_config(pulumi: None, stack: StackFile) -> None:
    """Not even an empty one in `pulumi stack ls`; a second `down` says so, and `stack init` begins
    again."""
    init = ("pulumi", "stack", "init", "--stack", stack.name, "--no-select", "--non-interactive")
    run(*init)
    run(
        "pulumi",
        "config",
        "set",
        "--secret",
        "env.TOKEN",
        "t",
        "--stack",
        stack.name,
        "--non-interactive",
    )
    before = stack_values(ROOT, stack.name)
    run("pulumi", "up", "--yes", "--skip-preview", "--stack", stack.name, "--non-interactive")
    assert [one["name"] for one in json.loads(run("pulumi", "stack", "ls", "--json"))] == [
        stack.name
    ]
    assert f"{stack.name} is gone" in run(FAB, "down", "--stack", stack.name, "--yes")
    assert json.loads(run("pulumi", "stack", "ls", "--json")) == []
    assert stack_values(ROOT, stack.name) == before
    assert f"there is nothing of {stack.name} to remove" in run(
        FAB, "down", "--stack", stack.name, "--yes"
    )
    run(*init)
    assert run("pulumi", "config", "get", "env.TOKEN", "--stack", stack.name).strip() == "t"


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ("", False),
        ("config:\n  a: b\n", False),
        ("config:\n  a:\n    secure: x\n", True),
        ("config:\n  a:\n    b:\n    - c:\n        secure: x\n", True),
        ("encryptionsalt: v1:x\nconfig:\n  a:\n    secure: x\n", False),
        ("secretsprovider: awskms://x\nencryptedkey: y\nconfig:\n  a:\n    secure: x\n", False),
    ],
)
def test_a_stack_stays_where_its_secrets_would_go_with_it(config: str, kept: bool) -> None:
    """Pulumi's cloud keeps a key a stack; a passphrase's salt and a key service's key stand in the
    file."""
    assert cloudstack.goes_with_its_secrets(config) == kept
