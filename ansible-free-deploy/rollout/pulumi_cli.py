"""The Pulumi CLI, asked without a terminal for what it knows."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping

from infra.core.contract import Json
from rollout.stacks import ROOT

INSTALL = "https://www.pulumi.com/docs/install/"


def is_installed() -> bool:
    """Whether it is on PATH."""
    return shutil.which("pulumi") is not None


def run(
    *words: str,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `pulumi WORDS` in the project's folder. Raises subprocess.TimeoutExpired."""
    return subprocess.run(
        ["pulumi", *words, "--non-interactive"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=timeout_s,
    )


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """The command that failed, and why."""
    return f"`{' '.join(done.args)}` failed: {reason(done)}"


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why a command failed, in its own last line."""
    lines = done.stderr.strip().splitlines() or ["it gave no reason"]
    return lines[-1]


def stacks_in(listed: str) -> dict[str, Json]:
    """What `pulumi stack ls --json` has printed, by the stacks' names without their organization.
    Raises ValueError for anything else."""
    try:
        return {str(one["name"]).rsplit("/", 1)[-1]: one for one in json.loads(listed)}
    except (TypeError, KeyError) as problem:
        raise ValueError("not a list of stacks") from problem
