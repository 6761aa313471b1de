"""What was put in a folder, written down by root beside it, and what of it is not so any more.

A look costs one `stat` a file: what has the size, times, owner and mode that it was left with has
its content too. Where one of these differs, and of every file when asked to be thorough (a failing
disk changes no times), the content decides.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Iterator  # noqa: UP035 - Python 3.9 evaluates the alias

from on_host.files import write_durably
from on_host.orders import Json

NAME = "manifest.json"
_OWN = (NAME, "turn", "venv", ".complete")  # the kit's own, which change or come later
_CACHE = (  # whatever else Python leaves in there is no harm: it is checked against its source
    "__pycache__"
)


def write(folder: Path) -> None:
    """Note all that the folder holds. What is shipped is never changed afterwards, so this is
    written once."""
    entries = {path: _entry(place, found) for path, place, found in _walk(folder)}
    write_durably(folder / NAME, json.dumps(entries, separators=(",", ":")).encode())


def changes(folder: Path, *, thorough: bool = False) -> list[str]:
    """What is gone, other or new since `write`, as paths inside the folder; nothing for one without
    a manifest."""
    try:
        noted = json.loads((folder / NAME).read_bytes())
    except FileNotFoundError:
        return []  # shipped before there were manifests
    except ValueError:
        return [NAME]
    changed, left = [], dict(noted)
    for path, place, found in _walk(folder):
        entry = left.pop(path, None)
        if entry is None:
            changed += [] if _CACHE in Path(path).parts else [path]
        elif (thorough or entry["stat"] != _times(found)) and not _same(entry, place, found):
            changed.append(path)
    return sorted([*changed, *left])


def _walk(folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """(path inside, path, os.stat_result) of everything below the folder, but not of what is the
    kit's own."""
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(str(folder / inside)) as entries:
            for entry in entries:
                path = f"{inside}{entry.name}"
                if path in _OWN:
                    continue
                found = entry.stat(follow_symlinks=False)
                yield path, Path(entry.path), found
                if stat.S_ISDIR(found.st_mode):
                    pending.append(f"{path}/")


def _entry(place: Path, found: os.stat_result) -> Json:
    return {"is": _facts(found), "stat": _times(found), "holds": _content(place, found)}


def _same(entry: Json, place: Path, found: os.stat_result) -> bool:
    try:
        return bool(entry["is"] == _facts(found) and entry["holds"] == _content(place, found))
    except OSError:  # a file that can't be read serves nobody
        return False


def _facts(found: os.stat_result) -> list[int]:
    """Kind and mode, owner and group; a folder's size says nothing."""
    size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return [found.st_mode, found.st_uid, found.st_gid, size]


def _times(found: os.stat_result) -> list[int]:
    """What an edit can't leave as it was: the clock of the last change of anything, content or
    mode, is the kernel's.

    A folder's own changes with each name in it, which are looked at by themselves.
    """
    facts = _facts(found)
    return facts if stat.S_ISDIR(found.st_mode) else [*facts, found.st_mtime_ns, found.st_ctime_ns]


def _content(place: Path, found: os.stat_result) -> str:
    """The digest of a file, the target of a link."""
    import hashlib

    if stat.S_ISLNK(found.st_mode):
        return str(place.readlink())
    if not stat.S_ISREG(found.st_mode):
        return ""
    digest = hashlib.sha256()
    with place.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
