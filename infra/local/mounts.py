"""The root of a machine: an overlay over its base image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from infra.core.home import LocalCloudError
from infra.local.processes import STOP_S, wait_until


def mount_overlay(folder: Path, base: Path, owner: int, name: str) -> None:
    """Mount `folder`/root: what is written there goes to `folder`/upper, and `base` stays as it is.

    Raises LocalCloudError where the kernel refuses.
    """
    for part in ("upper", "work", "root"):
        (folder / part).mkdir(exist_ok=True)
    os.chown(folder / "upper", owner, owner)
    layers = f"lowerdir={base},upperdir={folder}/upper,workdir={folder}/work"
    command = ["mount", "-t", "overlay", f"origin-kit-{folder.name}", "-o", layers]
    done = subprocess.run(
        [*command, str(folder / "root")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LocalCloudError(
            f"the overlay can't be mounted ({done.stderr.strip()})",
            where=name,
            cure=(
                "it needs root, and a home on a plain disk: set ORIGIN_KIT_HOME to a folder that is"
                " not itself on an overlay"
            ),
        )


def unmount(root: Path) -> None:
    """Unmount a root, if it is mounted. Raises LocalCloudError where something still uses it."""
    if root.is_mount() and not wait_until(lambda: _unmounted(root), STOP_S):
        raise LocalCloudError(
            f"{root} can't be unmounted: something still uses it (`fuser -vm {root}`); then run it"
            " again"
        )


def _unmounted(root: Path) -> bool:
    done = subprocess.run(
        ["umount", str(root)],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
