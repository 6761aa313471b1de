"""A release as one file for the wire."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rollout.release.source import Entry, ReleaseError, content_digest

Advance = Callable[[float, str], None]


def pack(place: Path, tree: str, entries: Iterable[Entry], wheels: Iterable[Path], advance: Advance) -> None:
    """Write `place`, whole or not at all: the entries under `tree`, the wheels under `wheels`.

    Times are the moment of packing, for all hosts alike: nginx makes ETags of them, so they may not stand still.
    Raises ReleaseError where a file is no longer what the release's id was made of.
    """
    listed: list[tuple[str, Path, Entry | None]] = [(f"{tree}/{entry.path}", entry.here, entry) for entry in entries]
    listed += [(f"wheels/{path.name}", path, None) for path in wheels]
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=place.parent, prefix="new-")
    try:
        with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
            now = int(time.time())
            for number, (name, here, entry) in enumerate(listed):
                advance(number / len(listed), "packs " + here.name)
                _add(tar, name, here, entry, now)
        Path(scratch).rename(place)
    finally:
        Path(scratch).unlink(missing_ok=True)


def digest(place: Path) -> str:
    """SHA-256 of a file, in hex."""
    with place.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _add(tar: tarfile.TarFile, name: str, here: Path, entry: Entry | None, now: int) -> None:
    member = tarfile.TarInfo(name)
    member.mtime, member.mode = now, 0o755 if entry and entry.executable else 0o644
    if entry and entry.link is not None:
        member.type, member.linkname = tarfile.SYMTYPE, entry.link
        tar.addfile(member)
        return
    data = _read(here, entry)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _read(here: Path, entry: Entry | None) -> bytes:
    """The content at once, and only if it is what the id says."""
    with contextlib.suppress(FileNotFoundError):
        data = here.read_bytes()
        if entry is None or content_digest(data, entry.executable) == entry.digest:
            return data
    raise ReleaseError(f"{here} changes while it is packed; ship again when it is at rest")


def tree_digest(entries: Iterable[Entry]) -> str:
    """SHA-256 over paths, modes and contents; times and owners don't count."""
    return hashlib.sha256(json.dumps([(entry.path, entry.digest) for entry in entries]).encode()).hexdigest()
