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
from rollout.release.errors import ReleaseError
from rollout.release.picked import Entry, content_digest

Advance = Callable[[float, str], None]
_MAY_BE_USED_S = 600


def pack(
    place: Path,
    tree: str,
    entries: Iterable[Entry],
    wheels: Mapping[Path, str],
    advance: Advance,
) -> None:
    """Write `place`, whole or not at all, and a note next to it: the entries under `tree`, the
    wheels, each with its SHA-256, under `wheels`.

    Times are the moment of the first packing, the same for all hosts: nginx makes ETags of them, so
    they have to change. Packed again, it is the same to the byte. Raises ReleaseError where a file
    is no longer what the release's id was made of.
    """
    now = _note(place).get("packed") or int(time.time())
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix="new-")
    scratch = Path(name)
    try:
        with (
            os.fdopen(descriptor, "wb") as out,
            gzip.GzipFile("", "wb", 1, out, mtime=now) as zipped,
            tarfile.open(fileobj=zipped, mode="w") as tar,
        ):
            add(tar, tree, entries, wheels, now, advance)
        write_whole(_note_path(place), json.dumps({"packed": now, "sha256": digest(scratch)}))
        scratch.rename(place)
    finally:
        scratch.unlink(missing_ok=True)


def add(
    tar: tarfile.TarFile,
    tree: str,
    entries: Iterable[Entry],
    wheels: Mapping[Path, str],
    now: int,
    advance: Advance,
) -> None:
    """Add what `pack` packs; `now` is the time of every member. Raises as it does."""
    members: list[tuple[str, Path, Entry | str]] = []
    for entry in entries:
        members.append((f"{tree}/{entry.path}", entry.here, entry))
    for path, expected in wheels.items():
        members.append((f"wheels/{path.name}", path, expected))
    for number, (path_there, here, content) in enumerate(members):
        advance(number / len(members), "packs " + here.name)
        _add(tar, path_there, here, content, now)


def sound(place: Path) -> str | None:
    """The SHA-256 of an archive that is what was packed; None where it has vanished, or is cut."""
    try:
        actual = digest(place)
    except FileNotFoundError:
        return None
    return actual if actual == _note(place).get("sha256") else None


def forget_old(folder: Path, kept: int) -> None:
    """Keep the archives that were used last, and those that another run may be about to send."""
    for path in out_of_use(folder.glob("*.tar.gz"), kept):
        path.unlink(missing_ok=True)
        _note_path(path).unlink(missing_ok=True)


def out_of_use(paths: Iterable[Path], kept: int) -> list[Path]:
    """All but the `kept` ones that were used last, by their times, and those that another run may
    be about to use."""
    latest = time.time() - _MAY_BE_USED_S
    by_age = sorted((path.stat().st_mtime, path) for path in paths)
    return [path for used, path in by_age[:-kept] if used < latest]


def _note_path(place: Path) -> Path:
    return place.with_name(place.name + ".json")


def _note(place: Path) -> dict[str, Any]:
    try:
        note = json.loads(_note_path(place).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def digest(place: Path, kind: str = "sha256") -> str:
    """A hash of a file, in hex."""
    with place.open("rb") as handle:
        return hashlib.file_digest(handle, kind).hexdigest()


def _add(
    tar: tarfile.TarFile,
    name: str,
    here: Path,
    entry: Entry | str,
    now: int,
) -> None:
    """A file or link of the application, or a wheel of this SHA-256."""
    member = tarfile.TarInfo(name)
    member.mtime = now
    member.mode = 0o644
    if isinstance(entry, Entry):
        if entry.executable:
            member.mode = 0o755
        if entry.link is not None:
            member.type = tarfile.SYMTYPE
            member.linkname = entry.link
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
            is_same = hashlib.sha256(data).hexdigest() == entry
        else:
            is_same = content_digest(data, entry.executable) == entry.digest
        if is_same:
            return data
    raise ReleaseError(f"{here} changes while it is packed", cure="ship again when it is at rest")


def tree_digest(entries: Iterable[Entry]) -> str:
    """SHA-256 over paths, modes and contents; times and owners don't count."""
    facts = [(entry.path, entry.digest) for entry in entries]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
