"""A release as one file for the wire."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from infra.core.home import write_whole
from rollout.release.source import Entry, ReleaseError, content_digest

Advance = Callable[[float, str], None]
_MAY_BE_USED_S = 600


def pack(
    place: Path, tree: str, entries: Iterable[Entry], wheels: Mapping[Path, str], advance: Advance
) -> None:
    """Write `place`, whole or not at all, and a note beside it: the entries under `tree`, the
    wheels, each with its SHA-256, under `wheels`.

    Times are the moment of the first packing, for all hosts alike: nginx makes ETags of them, so
    they may not stand still. Packed again, it is the same to the byte. Raises ReleaseError where a
    file is no longer what the release's id was made of.
    """
    listed: list[tuple[str, Path, Entry | str]] = [
        (f"{tree}/{entry.path}", entry.here, entry) for entry in entries
    ]
    listed += [(f"wheels/{path.name}", path, expected) for path, expected in wheels.items()]
    now = _note(place).get("packed") or int(time.time())
    descriptor, scratch = tempfile.mkstemp(dir=place.parent, prefix="new-")
    try:
        with (
            os.fdopen(descriptor, "wb") as out,
            gzip.GzipFile("", "wb", 1, out, mtime=now) as zipped,
            tarfile.open(fileobj=zipped, mode="w") as tar,
        ):
            for number, (name, here, entry) in enumerate(listed):
                advance(number / len(listed), "packs " + here.name)
                _add(tar, name, here, entry, now)
        write_whole(_note_path(place), json.dumps({"packed": now, "sha256": digest(Path(scratch))}))
        Path(scratch).rename(place)
    finally:
        Path(scratch).unlink(missing_ok=True)


def sound(place: Path) -> str | None:
    """The SHA-256 of an archive that is what was packed; None where it has vanished, or is cut."""
    try:
        found = digest(place)
    except FileNotFoundError:
        return None
    return found if found == _note(place).get("sha256") else None


def forget_old(folder: Path, kept: int) -> None:
    """Keep the archives that were used last, and those that another run may be about to send."""
    for path in out_of_use(folder.glob("*.tar.gz"), kept):
        path.unlink(missing_ok=True)
        _note_path(path).unlink(missing_ok=True)


def out_of_use(paths: Iterable[Path], kept: int) -> list[Path]:
    """All but the `kept` ones that were used last, by their times, and those that another run may
    be about to use."""
    used = sorted((path.stat().st_mtime, path) for path in paths)
    return [path for time_used, path in used[:-kept] if time_used < time.time() - _MAY_BE_USED_S]


def _note_path(place: Path) -> Path:
    return place.with_name(place.name + ".json")


def _note(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(_note_path(place).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def digest(place: Path, kind: str = "sha256") -> str:
    """A hash of a file, in hex."""
    with place.open("rb") as handle:
        return hashlib.file_digest(handle, kind).hexdigest()


def _add(tar: tarfile.TarFile, name: str, here: Path, entry: Entry | str, now: int) -> None:
    """A file or link of the application, or a wheel of this SHA-256."""
    member = tarfile.TarInfo(name)
    member.mtime, member.mode = (
        now,
        (0o755 if isinstance(entry, Entry) and entry.executable else 0o644),
    )
    if isinstance(entry, Entry) and entry.link is not None:
        member.type, member.linkname = tarfile.SYMTYPE, entry.link
        tar.addfile(member)
        return
    data = _read(here, entry)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _read(here: Path, entry: Entry | str) -> bytes:
    """The content at once, and only if it is what the id says."""
    with contextlib.suppress(FileNotFoundError):
        data = here.read_bytes()
        if isinstance(entry, str):
            same = hashlib.sha256(data).hexdigest() == entry
        else:
            same = content_digest(data, entry.executable) == entry.digest
        if same:
            return data
    raise ReleaseError(f"{here} changes while it is packed; ship again when it is at rest")


def tree_digest(entries: Iterable[Entry]) -> str:
    """SHA-256 over paths, modes and contents; times and owners don't count."""
    return hashlib.sha256(
        json.dumps([(entry.path, entry.digest) for entry in entries]).encode()
    ).hexdigest()
