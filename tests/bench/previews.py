"""Previews: how long one takes to be made, updated and removed on this machine, and a sweep of
fifty that stay."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from infra.core.previews import name_of
from tests.bench.pair import line, seconds
from tests.support.kit import Kit
from tests.support.repository import Repository, repository

TURNS, STACKS = 3, 50
WANTED = {"full": 30, "frontend": 15, "update": 8, "sweep": 2}
BRANCH = "topic/bench"


def median(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Of TURNS times that `work` takes; `before` is done each time and not counted."""
    times = []
    for _ in range(TURNS):
        before()
        times.append(seconds(work))
    return statistics.median(times)


def show(title: str, taken: float, kind: str) -> None:
    line(title, f"{taken:.1f} s", f"< {WANTED[kind]} s")


def full(here: Repository) -> None:
    """Made from the image and wheels that are there already, updated, removed."""

    def up() -> None:
        here.fab("preview.up", "--branch", BRANCH)

    def down() -> None:
        here.fab("preview.down", "--branch", BRANCH)

    turn = iter(range(99))
    here.branch(BRANCH, "first")
    up()
    show("warm `fab preview.up`, mode full", median(up, down), "full")
    show(
        "an update of a running one, page and configuration",
        median(up, lambda: here.branch(BRANCH, f"title {next(turn)}")),
        "update",
    )


def frontend(here: Repository) -> None:
    """The page alone, attached to an environment that is up."""
    local = here.folder / "stacks" / "Pulumi.local.yaml"
    (here.folder / "stacks" / "Pulumi.shared.yaml").write_text(local.read_text())
    here.fab("up", "--stack", "shared")
    here.template(preview_mode="frontend", attach_to="shared")

    def up() -> None:
        here.fab("preview.up", "--branch", BRANCH)

    def down() -> None:
        here.fab("preview.down", "--branch", BRANCH)

    try:
        down()
        up()
        show("warm `fab preview.up`, mode frontend", median(up, down), "frontend")
        down()
    finally:
        here.fab("down", "--stack", "shared", "--yes")


def fifty(here: Repository) -> None:
    """The states of fifty previews that have a branch and time left."""
    own = name_of(BRANCH)
    states = here.kit.home / "state/.pulumi/stacks/origin-kit"
    made = (states / f"{own}.json").read_text()
    written = []
    for number in range(STACKS - 1):
        branch = f"topic/{number}"
        here.git("branch", branch, "main")
        text = made.replace(own, name_of(branch)).replace(json.dumps(BRANCH), json.dumps(branch))
        written.append(states / f"{name_of(branch)}.json")
        written[-1].write_text(text)
    try:
        said = here.fab("preview.sweep").stdout
        assert f"nothing to do: {STACKS} previews stay" in said, said
        show(
            f"`fab preview.sweep` of {STACKS} that stay",
            median(lambda: here.fab("preview.sweep")),
            "sweep",
        )
    finally:
        for path in written:
            path.unlink()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        kit = Kit(Path(folder) / "home")
        with repository(kit, Path(folder) / "checkout", preview_max=99) as here:
            full(here)
            fifty(here)
            frontend(here)


if __name__ == "__main__":
    main()
