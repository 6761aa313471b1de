"""Previews: how long one takes to be made and updated on this machine, and a sweep of fifty that
stay; with UPDATE_DOCS=1 the table in docs/benchmarks.md."""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.core.previews import name_of
from tests.bench.page import at_most, head, row, update
from tests.bench.pair import line, seconds
from tests.support.kit import Kit
from tests.support.repository import Repository, repository

TURNS, STACKS = 3, 50
WANTED = {"full": 30, "frontend": 15, "update": 8, "sweep": 2}
ROWS = {
    "full": "warm `fab preview.up`, mode full",
    "update": "an update of a running one, page and configuration",
    "frontend": "warm `fab preview.up`, mode frontend",
    "sweep": f"`fab preview.sweep` of {STACKS} that stay",
}
BRANCH = "topic/bench"


@dataclass(frozen=True)
class Taken:
    """Seconds of a command by the clock, and of its own processor time and its children's: what
    else a busy machine does changes this one less. Hosts are not in it."""

    clock: float
    processor: float

    @classmethod
    def median(
        cls, work: Callable[[], object], before: Callable[[], object] = lambda: None
    ) -> Taken:
        """Of TURNS times that `work` takes; `before` is done each time and not counted."""
        clock, processor = [], []
        for _ in range(TURNS):
            before()
            earlier = _processor_time()
            clock.append(seconds(work))
            processor.append(_processor_time() - earlier)
        return cls(statistics.median(clock), statistics.median(processor))


def _processor_time() -> float:
    """Of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(kind: str, taken: Taken) -> None:
    shown = f"{taken.clock:.1f} s ({taken.processor:.1f} s)"
    line(f"{ROWS[kind]} (processor)", shown, f"< {WANTED[kind]} s")


def table(figures: Mapping[str, Taken]) -> list[str]:
    """The rows of docs/benchmarks.md."""
    lines = head("", "by the clock", "processor time of the command", "wanted, seconds")
    for kind, title in ROWS.items():
        taken = figures[kind]
        shown = (f"{taken.clock:.1f} s", f"{taken.processor:.1f} s")
        lines.append(row(title, *shown, at_most(round(taken.clock, 1), WANTED[kind])))
    return lines


def full(here: Repository) -> dict[str, Taken]:
    """Made from the image and wheels that are there already, updated, removed."""

    def up() -> None:
        here.fab("preview.up", "--branch", BRANCH)

    def down() -> None:
        here.fab("preview.down", "--branch", BRANCH)

    turn = iter(range(99))
    here.branch(BRANCH, "first")
    up()
    made = Taken.median(up, down)
    show("full", made)
    updated = Taken.median(up, lambda: here.branch(BRANCH, f"title {next(turn)}"))
    show("update", updated)
    return {"full": made, "update": updated}


def frontend(here: Repository) -> dict[str, Taken]:
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
        made = Taken.median(up, down)
        show("frontend", made)
        down()
    finally:
        here.fab("down", "--stack", "shared", "--yes")
    return {"frontend": made}


def fifty(here: Repository) -> dict[str, Taken]:
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
        swept = Taken.median(lambda: here.fab("preview.sweep"))
        show("sweep", swept)
    finally:
        for path in written:
            path.unlink()
    return {"sweep": swept}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        kit = Kit(Path(folder) / "home")
        with repository(kit, Path(folder) / "checkout", preview_max=99) as here:
            figures = full(here) | fifty(here) | frontend(here)
    update(previews=table(figures))


if __name__ == "__main__":
    main()
