"""Files and links that are whole and on the disk, or as they were before."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def private_folder(folder: Path) -> None:
    """Make a folder that only root can enter; one that exists becomes one."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def sync(folder: Path) -> None:
    """What the folder lists is on the disk."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# A secret that nginx's workers read as well, such as a file of passwords: the group is theirs.
NGINX_READS = 0o640
_NGINX_GROUP = "www-data"  # a user and a group of every Debian (base-passwd)


def group_of(mode: int) -> int:
    """The group id of a file of the kit's with this mode: root's, but for what nginx's workers
    read."""
    if mode != NGINX_READS:
        return 0
    import grp

    return grp.getgrnam(_NGINX_GROUP).gr_gid


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The whole file or the one before; on the disk when this returns. One that nginx's workers
    read is given to their group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(str(new), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode & 0o700)
    with os.fdopen(descriptor, "wb") as handle:
        if mode == NGINX_READS:
            os.fchown(descriptor, -1, group_of(mode))
        os.fchmod(descriptor, mode)
        handle.write(data)
        handle.flush()
        os.fsync(descriptor)
    new.replace(path)


def point(place: Path, target: str) -> None:
    """Make `place` a link to `target` by one rename, durably."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    new.symlink_to(target)
    new.replace(place)
    sync(place.parent)


def exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders of one file system in one step (renameat2(2))."""
    import ctypes

    here = -100  # AT_FDCWD
    exchange_both = 2  # RENAME_EXCHANGE
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.renameat2(
        here,
        os.fsencode(one),
        here,
        os.fsencode(other),
        exchange_both,
    )
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def link_of(path: str | Path) -> str | None:
    """What the link points to, or None where there is no link."""
    try:
        return str(Path(path).readlink())
    except OSError:
        return None


def json_lines(path: Path) -> list[tuple[int, Any]]:
    """The objects in a file of JSON lines, each with its place; none where there is no file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    found = []
    for number, line in enumerate(lines):
        with contextlib.suppress(ValueError):  # a line cut short by a pulled plug
            found.append((number, json.loads(line)))
    return found
