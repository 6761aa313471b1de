"""Removing what a release was made of."""

from __future__ import annotations

from pathlib import Path

from on_host.runtime import Failed, last_lines, run


def discard(folder: Path) -> None:
    """Remove a folder so that nobody takes what is left of it for the whole, even if this is cut
    short."""
    partial = folder if folder.suffix == ".partial" else folder.with_name(folder.name + ".partial")
    if partial != folder:
        remove(partial)
        folder.rename(partial)
    remove(partial)


def remove(folder: Path) -> None:
    """Remove a tree of any depth, never through a link: an earlier version of this let the
    application fill some."""
    done = run("rm", "-rf", "--one-file-system", "--", str(folder))
    if done.returncode:
        raise Failed(f"{folder} can't be removed", last_lines(done.stdout))
