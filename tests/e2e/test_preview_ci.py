"""The commands of the workflows, parsed from them, in their order, on the local cloud: a push,
another one, the night's sweep, the pull request closed."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kit import FAB, ROOT, Kit
from tests.support.workflows import commands, workflow

pytestmark = [pytest.mark.machines, pytest.mark.soak]

BRANCH = "Feature/Äpfel&Birnen"
TOKEN = "credential-of-the-job"
JOBS = workflow("preview")["jobs"]
BUILD = workflow("preview-build")["jobs"]["build"]
# What a branch would do to the job that ships it: every file of the kit that a job reads first.
HOSTILE = """
import os
if os.environ.get("AWS_SESSION_TOKEN"):
    open({canary!r}, "a").write(__file__ + os.environ["AWS_SESSION_TOKEN"])
"""


def git(folder: Path, *words: str) -> str:
    person = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "safe.directory=*"]
    done = subprocess.run(
        ["git", *person, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@dataclass(frozen=True)
class Runner:
    """What a job has: a checkout, and a folder for its files."""

    kit: Kit
    checkout: Path
    temp: Path

    def run(self, command: str, status: int = 0, **variables: str) -> str:
        """A command of a workflow, as its shell runs it."""
        folders = [str(Path(FAB).parent), str(ROOT / ".tools" / "bin"), os.environ["PATH"]]
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=self.checkout,
            env={
                **self.kit.environment,
                "PATH": os.pathsep.join(folders),
                "RUNNER_TEMP": str(self.temp),
                "BRANCH": BRANCH,
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == status, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout


@dataclass(frozen=True)
class Project:
    """A repository on a server, and the checkouts of a person and of two jobs."""

    origin: Path
    person: Path
    build: Runner
    ship: Runner
    canary: Path

    def push(self, text: str) -> str:
        """The branch with this on its page, and hostile to whoever runs it with credentials."""
        (self.person / "examples/frontend/index.html").write_text(f"<p>{text}")
        hostile = HOSTILE.format(canary=str(self.canary))
        for name in ("fabfile.py", "ansible-free-deploy/tasks.py", "examples/backend/manage.py"):
            path = self.person / name
            text_there = path.read_text()
            if "AWS_SESSION_TOKEN" not in text_there:
                path.write_text(f"{text_there}{hostile}")
        template = self.person / "stacks" / "Pulumi.preview.yaml"
        if "STOLEN" not in template.read_text():
            template.write_text(template.read_text() + '  origin-kit:env: {STOLEN: "yes"}\n')
        git(self.person, "commit", "-qam", text)
        git(self.person, "push", "-q", "origin", BRANCH)
        return git(self.person, "rev-parse", "HEAD")

    def built(self, commit: str) -> None:
        """What the job without credentials does, and hands over."""
        git(self.build.checkout, "fetch", "-q", "origin", commit)
        git(self.build.checkout, "checkout", "-q", "--detach", commit)
        for command in commands(BUILD):
            self.build.run(command)
        handed_over = self.ship.temp / "built"
        handed_over.mkdir(exist_ok=True)
        (self.build.checkout / "release.tar.gz").replace(handed_over / "release.tar.gz")

    def job(self, name: str) -> list[str]:
        """What each command of a job with credentials prints."""
        git(self.ship.checkout, "fetch", "-q", "--prune", "origin")
        return [self.ship.run(command, AWS_SESSION_TOKEN=TOKEN) for command in commands(JOBS[name])]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    kit = Kit(tmp_path / "home")
    origin = tmp_path / "origin.git"
    git(tmp_path, "clone", "-q", "--bare", str(ROOT), str(origin))
    git(origin, "update-ref", "refs/heads/main", git(ROOT, "rev-parse", "HEAD"))
    git(origin, "symbolic-ref", "HEAD", "refs/heads/main")
    for name in ("person", "build", "ship"):
        git(tmp_path, "clone", "-q", "-b", "main", str(origin), name)
        (tmp_path / f"{name}-temp").mkdir()
    git(tmp_path / "person", "switch", "-q", "-c", BRANCH)
    build, ship = (
        Runner(kit, tmp_path / name, tmp_path / f"{name}-temp") for name in ("build", "ship")
    )
    made = Project(origin, tmp_path / "person", build, ship, tmp_path / "canary")
    try:
        yield made
    finally:
        ship.run('fab preview.down --branch "$BRANCH"')


def page_of(comment: str) -> str:
    (line,) = [line for line in comment.splitlines() if line.startswith("| Page |")]
    return line.split("<")[1].split(">")[0]


def shown(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as answer:
        return str(answer.read().decode())


def test_a_pull_request_from_its_first_push_to_its_end(project: Project) -> None:
    """Each job's commands in their order. The branch's kit, template and scripts are hostile: none
    of them runs where there are credentials, and nothing of its template arrives."""
    commit = project.push("first words")
    project.built(commit)
    _, comment = project.job("up")
    assert comment.startswith("<!-- origin-kit preview -->\n")
    assert commit[:12] in comment
    address = page_of(comment)
    assert shown(address) == "<p>first words"

    project.built(project.push("second words"))
    _, comment = project.job("up")
    assert page_of(comment) == address  # the same preview, updated
    assert shown(address) == "<p>second words"

    (swept,) = project.job("sweep")
    assert "nothing to do: 1 preview stays" in swept
    written = next(project.ship.checkout.glob("stacks/Pulumi.preview-*.yaml")).read_text()
    assert "STOLEN" not in written

    (gone,) = project.job("down")
    assert "is gone" in gone
    assert not list(project.ship.checkout.glob("stacks/Pulumi.preview-*.yaml"))
    assert not list(project.ship.kit.home.glob("machines/*/machine.json"))
    (again,) = project.job("down")
    assert "there is no preview of" in again
    assert not project.canary.exists()
