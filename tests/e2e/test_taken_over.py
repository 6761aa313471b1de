"""A pair that an older kit has made, and left in the middle of a deploy, is taken over by this one.

The older kit is a commit from this repository's history, with an environment of its own; then this
kit's files take their place, as a `git pull` would put them. CONTRIBUTING.md says how to move on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from infra.core.contract import Contract
from tests.support.kit import OLD, ROOT, Kit, manage

pytestmark = [pytest.mark.machines, pytest.mark.soak]

COMMITS = (
    "b19b6a5",  # before https: no challenge, and no contract in a generation
    "1c2b6ab",  # before threads, compression and the page's headers
    "c8e2b01",  # before hosts got their package, `on_host`
)
STACK = "before"
NEW = "http://localhost:7002"
ENGINES = [
    "embedded",
    pytest.param(
        "pulumi",
        marks=pytest.mark.skipif(
            shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH"
        ),
    ),
]
# A deploy whose process on the backend is killed when it has switched the links. It runs in the
# older checkout, under the names of that time.
INTERRUPTED = """
import sys
from rollout import deploy, outputs
found = outputs.load(sys.argv[1])
try:
    if hasattr(deploy, "everywhere"):
        deploy.everywhere(found, "deploy", die_at="link")
    else:
        from on_host.protocol import DEPLOY
        deploy.run_on_all_hosts(found, DEPLOY, die_at="link")
except deploy.ChangeError as problem:
    print(problem)
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout of its own: of the older commit, then of this one."""

    folder: Path
    kit: Kit

    def run(self, program: str, *words: str, status: int = 0) -> str:
        """What the program said, on both its outputs."""
        command = [str(self.folder / ".venv" / "bin" / program), *words]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.kit.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, (
            f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout + done.stderr

    def install(self) -> None:
        """What the README's commands do first."""
        subprocess.run(
            ["make", "-s", ".venv/run"], cwd=self.folder, check=True, env=without_the_venv()
        )

    def pull(self) -> None:
        """This kit's files in place of the older one's."""
        for name in ("infra", "ansible-free-deploy"):
            shutil.rmtree(self.folder / name)
            shutil.copytree(
                ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in ("Pulumi.yaml", "pyproject.toml", "uv.lock", "fabfile.py", "Makefile"):
            shutil.copy(ROOT / name, self.folder / name)
        self.install()


@pytest.fixture(params=COMMITS)
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Checkout:
    folder = tmp_path / "checkout"
    folder.mkdir()
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", request.param], capture_output=True, check=False
    )
    assert packed.returncode == 0, (
        f"commit {request.param} is not in this repository's history: {packed.stderr.decode()}"
    )
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as tar:
        tar.extractall(folder, filter="data")
    shutil.copytree(ROOT / ".tools", folder / ".tools", symlinks=True)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    made = Checkout(folder, Kit(tmp_path / "home"))
    made.install()
    return made


def without_the_venv() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")
    }


def write(checkout: Checkout, origin: str) -> None:
    """The stack's config, with one origin besides the page's own."""
    base = yaml.safe_load((ROOT / "stacks" / "Pulumi.local.yaml").read_text())["config"]
    config = {"config": base | {"origin-kit:extra_origins": [origin]}}
    (checkout.folder / "stacks" / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump(config))


def origins(checkout: Checkout) -> str:
    """What the backend's Django allows."""
    text = checkout.run("fab", "outputs", "--stack", STACK)
    found, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    contract = Contract.from_json(found)
    words = "shell -c 'from django.conf import settings; print(settings.CORS_ALLOWED_ORIGINS)'"
    return checkout.kit.ssh(contract.backend.hosts[0], manage("shop", words))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pair_of_the_kit_before_is_taken_over(checkout: Checkout, engine: str) -> None:
    """Status reports the interruption; deploy undoes or finishes it; ship, rollback and down work
    as on a pair of its own."""
    stack = ("--stack", STACK)
    write(checkout, OLD)
    try:
        checkout.run("fab", "up", *stack, "--engine", engine)
        write(checkout, NEW)
        assert "killed" in checkout.run("python", "-c", INTERRUPTED, STACK)
        checkout.pull()

        assert "interrupted: run `fab deploy`" in checkout.run("fab", "status", *stack, status=1)
        assert "a change that was interrupted is finished or undone first" in checkout.run(
            "fab", "plan", *stack
        )
        checkout.run("fab", "deploy", *stack)
        assert checkout.run("fab", "status", *stack).count("as the contract says") == 2
        assert NEW in origins(checkout) and OLD not in origins(checkout)

        assert "unchanged" in checkout.run("fab", "ship", *stack)
        assert "deployed" in checkout.run("fab", "history", *stack)
        checkout.run("fab", "rollback", *stack)
        assert OLD in origins(checkout) and NEW not in origins(checkout)
        checkout.run("fab", "deploy", *stack)
        assert "nothing to do" in checkout.run("fab", "up", *stack, "--engine", engine)
    finally:
        checkout.run("fab", "down", *stack, "--yes", "--engine", engine)
    assert list(checkout.kit.home.glob("*")) == []
