"""A git repository with the kit, its example and a template of previews, for tests of branches."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.core.contract import Contract
from tests.support.kit import FAB, ROOT, Kit, copy_of_the_checkout

_WHO = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
PAGE, VIEW = "examples/frontend/index.html", "examples/backend/shop/branch.py"


@dataclass
class Repository:
    """A checkout of its own, over the home of `kit`."""

    kit: Kit
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(cls, kit: Kit, folder: Path, **config: Any) -> Repository:
        """One commit on `main`. `config` are keys of the template on top of the usual ones."""
        folder.mkdir(parents=True)
        made = cls(kit, copy_of_the_checkout(folder))
        shutil.copy(ROOT / ".gitignore", folder)
        made.template(**config)
        made.git("init", "-q", "-b", "main")
        made.git("add", "-A")
        made.git("commit", "-q", "-m", "the kit")
        return made

    def template(self, **config: Any) -> None:
        """Write the template: the local stack's keys and these."""
        base = yaml.safe_load((ROOT / "stacks" / "Pulumi.local.yaml").read_text())["config"]
        base.pop("origin-kit:extra_origins")
        config = {"memory_mb": 384, **config}
        whole = base | {f"origin-kit:{key}": value for key, value in config.items()}
        text = yaml.safe_dump({"config": whole})
        (self.folder / "stacks" / "Pulumi.preview.yaml").write_text(text)

    def git(self, *words: str) -> str:
        command = ["git", *_WHO, "-C", str(self.folder), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def branch(self, name: str, title: str) -> str:
        """Make or move on a branch whose page has this title; the commit. `main` stays checked
        out."""
        if self.git("branch", "--list", name):
            self.git("switch", "-q", name)
        else:
            self.git("switch", "-q", "-c", name)
        page = self.folder / PAGE
        head, _, rest = page.read_text().partition("<title>")
        page.write_text(f"{head}<title>{title}{rest[rest.index('</title>') :]}")
        self.git("commit", "-q", "-a", "-m", f"title {title}")
        commit = self.git("rev-parse", "HEAD")
        self.git("switch", "-q", "main")
        return commit

    @property
    def environment(self) -> dict[str, str]:
        return {**self.kit.environment, "PYTHONPATH": str(self.folder)}

    def fab(
        self, *words: str, status: int | None = 0, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """`fab WORDS` in this checkout."""
        done = subprocess.run(
            [FAB, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        said = f"fab {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, said
        assert status in (None, done.returncode), said
        return done

    def started(self, *words: str) -> subprocess.Popen[str]:
        """`fab WORDS` under way, in a process group of its own."""
        return subprocess.Popen(
            [FAB, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def listed(self) -> dict[str, dict[str, Any]]:
        """The previews by their branches, as `preview.list --json` has them; a vacant slot by its
        own name."""
        document = json.loads(self.fab("preview.list", "--json").stdout)
        return {one["branch"] or one["name"]: one for one in document["previews"]}

    def contract(self, branch: str) -> Contract:
        return self.of_stack(self.listed()[branch]["name"])

    def of_stack(self, stack: str) -> Contract:
        """The contract of a stack of this checkout."""
        return Contract.from_json(json.loads(self.fab("outputs", "--stack", stack).stdout))


@contextmanager
def repository(kit: Kit, folder: Path, **config: Any) -> Iterator[Repository]:
    """One whose previews are gone afterwards, whatever happened."""
    made = Repository.make(kit, folder, **config)
    try:
        yield made
    finally:
        for name in made.listed():
            made.fab("preview.down", "--branch", name, "--destroy", status=None)


def left(home: Path) -> list[str]:
    """Everything that a home's previews have left on this machine: files, mounts, bridges,
    processes."""
    found = [str(path) for path in home.rglob("*")] if home.exists() else []
    found += [
        line for line in Path("/proc/self/mounts").read_text().splitlines() if str(home) in line
    ]
    for link in Path("/sys/class/net").glob("ok-*"):
        if str(home) in (link / "ifalias").read_text():
            found.append(link.name)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(home) in words and process.name != str(os.getpid()):
            found.append(words.replace("\0", " "))
    return found
