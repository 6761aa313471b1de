"""Remove folders of releases and environments."""

from __future__ import annotations

from pathlib import Path

from on_host.runtime import Failed, last_lines, run


def discard(folder: Path) -> None:
    """Remove a folder so that an interrupted removal never looks like a complete folder."""
    partial = folder
    if folder.suffix != ".partial":
        partial = folder.with_name(folder.name + ".partial")
        remove(partial)
        folder.rename(partial)
    remove(partial)


def remove(folder: Path) -> None:
    """Remove a tree of any depth, without following links.

    In an earlier version of the kit, the application could write to some of these trees.
    """
    done = run("rm", "-rf", "--one-file-system", "--", str(folder))
    if done.returncode:
        raise Failed(
            f"{folder} can't be removed; remove it on the host, then run this again",
            last_lines(done.stdout),
        )
