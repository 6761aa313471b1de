"""Record what was put in a folder, and find what has changed in it since.

Root writes the record into the folder. A look costs one `stat` a file: a file that still has its
recorded size, times, owner and mode has its content too. Where one of these differs the content
decides; of every file when asked to be thorough (a failing disk changes no times).
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Iterator  # noqa: UP035 - Python 3.9 evaluates the alias

from on_host.files import write_durably

if TYPE_CHECKING:
    from on_host.on_disk import ManifestEntry

NAME = "manifest.json"
_OWN = (NAME, "turn", "venv", ".complete")  # the kit's own, which change or come later
# Python may write more compiled files there. That is harmless: it checks them against the source.
_CACHE = "__pycache__"


def write(folder: Path) -> None:
    """Record all that the folder holds. A release is never changed later, so this is done once."""
    entries = {}
    for path, place, status in _walk(folder):
        entries[path] = _entry(place, status)
    write_durably(folder / NAME, json.dumps(entries, separators=(",", ":")).encode())


def changes(folder: Path, *, thorough: bool = False) -> list[str]:
    """The paths that were removed, changed or added since `write`, relative to the folder.

    Nothing for a folder without a manifest: older kits wrote none.
    """
    try:
        recorded: dict[str, ManifestEntry] = json.loads((folder / NAME).read_bytes())
    except FileNotFoundError:
        return []
    except ValueError:
        return [NAME]
    changed = []
    for path, place, status in _walk(folder):
        entry = recorded.pop(path, None)
        if entry is None:
            if _CACHE not in Path(path).parts:
                changed.append(path)
            continue
        if not thorough and entry["stat"] == _times(status):
            continue
        if not _is_same(entry, place, status):
            changed.append(path)
    removed = list(recorded)
    return sorted(changed + removed)


def _walk(folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """(path inside, path, os.stat_result) of everything below the folder, but the kit's own."""
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(str(folder / inside)) as entries:
            for entry in entries:
                path = f"{inside}{entry.name}"
                if path in _OWN:
                    continue
                status = entry.stat(follow_symlinks=False)
                yield path, Path(entry.path), status
                if stat.S_ISDIR(status.st_mode):
                    pending.append(f"{path}/")


def _entry(place: Path, status: os.stat_result) -> ManifestEntry:
    return {
        "is": _facts(status),
        "stat": _times(status),
        "holds": _content(place, status),
    }


def _is_same(entry: ManifestEntry, place: Path, status: os.stat_result) -> bool:
    if entry["is"] != _facts(status):
        return False
    try:
        return entry["holds"] == _content(place, status)
    except OSError:  # a file that can't be read is of no use
        return False


def _facts(status: os.stat_result) -> list[int]:
    """Kind and mode, owner, group and size; 0 for a folder's size, which means nothing."""
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return [status.st_mode, status.st_uid, status.st_gid, size]


def _times(status: os.stat_result) -> list[int]:
    """The facts and times, which no edit can leave unchanged.

    The kernel sets the time of the last change of content or mode. A folder's own times are left
    out: they change with each name in it, and the names are compared anyway.
    """
    facts = _facts(status)
    if stat.S_ISDIR(status.st_mode):
        return facts
    return [*facts, status.st_mtime_ns, status.st_ctime_ns]


def _content(place: Path, status: os.stat_result) -> str:
    """The digest of a file, the target of a link; "" for anything else."""
    import hashlib

    if stat.S_ISLNK(status.st_mode):
        return str(place.readlink())
    if not stat.S_ISREG(status.st_mode):
        return ""
    digest = hashlib.sha256()
    with place.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
