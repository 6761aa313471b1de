"""Verbs of previews: make, list, remove and sweep them, and what a pull request says of one."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit

from infra.core import exits
from rollout import report
from rollout.options import BUILT, JSON, TAKE_OVER
from rollout.verb import CHANGES, verb

BRANCH = "the branch, or its preview's name (default: the branch that is checked out)"
ENGINE = "pulumi or embedded (default: the CLI where it is installed)"
WAIT = "how long to wait for another run on the same preview, e.g. 90s or 5m (default: 10m)"
_WAIT_S = 600


def _seconds(wait: str | None) -> int:
    from rollout import deploy

    return deploy.seconds(wait) if wait else _WAIT_S


@verb(
    stopped=CHANGES,
    help={
        "branch": "the branch (default: the one that is checked out)",
        "keep": "it never expires, and updates keep it so",
        "built": BUILT,
        "engine": ENGINE,
        "take-over": TAKE_OVER,
        "wait": WAIT,
    },
)
def up(
    _: Context,
    branch: str | None = None,
    keep: bool = False,
    built: str | None = None,
    engine: str | None = None,
    take_over: bool = False,
    wait: str | None = None,
) -> None:
    """Make or update a branch's preview: ship the branch, check it, print its address.

    Its config comes from stacks/Pulumi.preview.yaml. A branch that is checked out is shipped as its
    files are, any other as its last commit. Every update begins its lifetime again.
    """
    from rollout import up as steps
    from rollout.previews.up import Wishes
    from rollout.previews.up import up as make

    started = time.monotonic()
    file = Path(built) if built else None
    made = make(Wishes(branch, keep, engine, take_over, _seconds(wait), file))
    ending = "nothing to do: a later commit is up"
    if made.result:
        ending = steps.show(made.settings, made.result)
    report.line(f"\n{made.settings.stack}: {ending}, {time.monotonic() - started:.1f} s")


@verb(help={"file": "the file to write"})
def build(_: Context, file: str) -> None:
    """Write the release of the checked out branch, for fab preview.up --built FILE.

    It asks nobody and needs no credentials: builds of the branch run here, and not there.
    """
    from rollout import build as building
    from rollout.previews import making

    settings = making.for_a_build(making.Template.read())
    report.line("\n".join(building.build(settings, Path(file))))


@verb(name="list", help={"json": JSON})
def list_(_: Context, json: bool = False) -> None:
    """List every preview: branch, origin, owner, commit, age, expiry, state, cost.

    And when the last sweep ran, or that nobody sweeps.
    """
    from rollout.previews import listing

    now = datetime.now(UTC)
    found, swept = listing.rows(now)
    show = listing.as_json if json else listing.as_text
    report.line(show(found, swept, now))


@verb(
    stopped=CHANGES,
    help={
        "branch": BRANCH,
        "destroy": "also the machines of a slot, which otherwise stay for the next branch",
        "engine": ENGINE,
        "take-over": TAKE_OVER,
        "wait": WAIT,
    },
)
def down(
    _: Context,
    branch: str | None = None,
    destroy: bool = False,
    engine: str | None = None,
    take_over: bool = False,
    wait: str | None = None,
) -> None:
    """Remove the preview of a branch and everything in it, whatever state it is in.

    It finishes a removal that was interrupted, and takes down what is made partly. The machines of
    a slot are emptied and stay; --destroy removes them, also those of a vacant slot (--branch
    preview-slot-1).
    """
    from rollout.previews.down import down as take_down
    from rollout.previews.up import Wishes

    wishes = Wishes(branch, False, engine, take_over, _seconds(wait), destroy=destroy)
    report.line(str(take_down(wishes)))


@verb(
    stopped=CHANGES,
    help={
        "dry-run": "show what would go, and change nothing",
        "engine": ENGINE,
    },
)
def sweep(
    _: Context,
    dry_run: bool = False,
    engine: str | None = None,
) -> None:
    """Remove previews that have expired or whose branch is gone, and what was left.

    It shows all of them first. Status 1 where somebody has to look: one can't be read, or can't be
    removed.
    """
    from rollout.previews import sweep as sweeping
    from rollout.previews.up import Wishes

    swept = sweeping.sweep(Wishes(engine=engine), dry_run, datetime.now(UTC))
    report.line(sweeping.ending(swept, dry_run))
    if not swept.is_clean:
        raise Exit(code=exits.WRONG)


@verb(help={"branch": BRANCH})
def comment(_: Context, branch: str | None = None) -> None:
    """Print the pull request's comment as Markdown on stdout, nothing else.

    URL, commit, what a browser may do there, expiry, cost. Status 1 where the doctor is red, or the
    preview is not up.
    """
    from rollout.previews import commenting

    text, status = commenting.comment(branch, datetime.now(UTC))
    report.line(text)
    if status:
        raise Exit(code=status)
