"""The workflows of `.github` and the jobs of `.gitlab-ci.yml`, as data."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.installed import installed
from tests.support.kit import ROOT

FOLDER = ROOT / ".github" / "workflows"
KIT = ROOT / ".github" / "actions" / "kit" / "action.yml"
GITLAB = ROOT / ".gitlab-ci.yml"
ACTIONLINT = "v1.7.12"
Job = dict[str, Any]

_FAB = re.compile(r"\.venv/bin/(fab [^\n;|]*?)(?= > | \|\| |[\n;]|$)")


def actionlint() -> Path:
    """The program, built once for each version."""
    folder = ROOT / ".tools" / f"actionlint-{ACTIONLINT}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "actionlint").exists():
            module = f"github.com/rhysd/actionlint/cmd/actionlint@{ACTIONLINT}"
            subprocess.run(
                [installed("go") or "go", "install", module],
                env={**os.environ, "GOBIN": str(folder)},
                check=True,
                capture_output=True,
                text=True,
                timeout=600,
            )
    return folder / "actionlint"


def workflow(name: str) -> Job:
    """A workflow by its file's name. YAML 1.1 reads its `on` as true."""
    read: dict[Any, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    return {"on" if key is True else key: value for key, value in read.items()}


def steps(job: Job) -> list[Job]:
    """A job's steps."""
    return list(job["steps"])


def gitlab() -> dict[str, Job]:
    """The jobs, each with what it extends; templates are left out."""
    content: Job = list(yaml.safe_load_all(GITLAB.read_text()))[1]
    reserved = {"workflow", "default", "stages"}
    found = {}
    for name, job in content.items():
        if name not in reserved and not name.startswith("."):
            found[name] = {**content.get(job.get("extends", ""), {}), **job}
    return found


def commands(job: Job) -> list[str]:
    """The `fab` commands of a job of either kind, in their order."""
    texts = [step.get("run", "") for step in job.get("steps", ())]
    for part in ("before_script", "script", "after_script"):
        texts += job.get(part, ())
    return [found for text in texts for found in _FAB.findall(text)]
