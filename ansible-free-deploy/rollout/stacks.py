"""Which stack a verb is about, and which backend Pulumi uses: what the person chose, in order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from infra.core import exits
from infra.core.errors import KitError
from infra.core.previews import TEMPLATE
from infra.core.rules import quote

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "origin-kit"


class UnknownStackError(KitError):
    """There is no such stack; the text lists those that exist."""

    exit_status = exits.USAGE


def stack_names() -> list[str]:
    """Every stack that has a config file in stacks/; the template of previews is none."""
    names = set()
    for path in (ROOT / "stacks").glob("Pulumi.*.yaml"):
        names.add(path.stem.removeprefix("Pulumi."))
    return sorted(names - {TEMPLATE})


@dataclass(frozen=True)
class Choice:
    """A stack, and what has chosen it."""

    name: str
    source: str

    def __str__(self) -> str:
        return f"stack {self.name} ({self.source})"


def choose(name: str | None) -> Choice:
    """`name`, else $STACK, else what Pulumi would take ($PULUMI_STACK, then the selected stack),
    else `local`.

    Raises UnknownStackError, which names the source of the choice.
    """
    chosen = next(choice for choice in _choices(name) if choice.name)
    known = stack_names()
    if chosen.name in known:
        return chosen
    source = "" if name else f" ({chosen.source})"
    raise UnknownStackError(
        f"there is no stack {quote(chosen.name)}{source}", cure=f"stacks/ has {', '.join(known)}"
    )


def chosen_stack(name: str | None) -> str:
    """The name of the stack that `choose` chooses."""
    return choose(name).name


def _choices(name: str | None) -> Iterator[Choice]:
    yield Choice(name or "", "--stack")
    yield Choice(os.environ.get("STACK", ""), "$STACK")
    of_pulumi = os.environ.get("PULUMI_STACK", "")
    yield Choice(of_pulumi.rsplit("/", 1)[-1], "$PULUMI_STACK")
    yield Choice(_selected(), "selected in Pulumi")
    yield Choice("local", "the default")


def _selected() -> str:
    """The stack that `pulumi stack select` wrote for today's backend; empty where it wrote none."""
    for folder in _project_folders():
        chosen = _selected_in(folder)
        if chosen:
            return chosen.rsplit("/", 1)[-1]
    return ""


def _selected_in(folder: Path) -> str:
    """The stack that is selected for the project in `folder`, as Pulumi names it."""
    project_file = str(folder / "Pulumi.yaml").encode()
    digest = sha1(project_file, usedforsecurity=False).hexdigest()
    path = pulumi_home() / "workspaces" / f"{PROJECT}-{digest}-workspace.json"
    try:
        workspace = json.loads(path.read_text())
        by_backend = workspace.get("stacks") or {}
        # Older CLIs wrote `stack`.
        return str(by_backend.get(backend_url()) or workspace.get("stack") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _project_folders() -> Iterator[Path]:
    """Where this checkout is, first as the shell names it: Pulumi doesn't resolve links in the
    names of its files."""
    here = Path(os.environ.get("PWD", "/"))
    for folder in (here, *here.parents):
        if folder != ROOT and _is_root(folder):
            yield folder
    yield ROOT


def _is_root(folder: Path) -> bool:
    try:
        return folder.is_absolute() and folder.samefile(ROOT)
    except OSError:
        return False


def pulumi_home() -> Path:
    """The folder of the CLI's own files."""
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def backend_url() -> str:
    """The backend that Pulumi is logged in to; empty where it is logged in to none."""
    if url := os.environ.get("PULUMI_BACKEND_URL"):
        return url
    try:
        credentials = json.loads((pulumi_home() / "credentials.json").read_text())
        return str(credentials.get("current") or "")
    except (OSError, ValueError):
        return ""
