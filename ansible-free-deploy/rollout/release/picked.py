"""Which files go into a release, and which stay here."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from on_host import links
from rollout.release import git, left_out
from rollout.release.errors import ReleaseError
from rollout.release.folders import walk
from rollout.release.source import Source


@dataclass(frozen=True)
class Entry:
    """One file or link of a release: its path there (POSIX), what it is here, and a digest of mode
    and content."""

    path: str
    here: Path
    link: str | None
    executable: bool
    digest: str


@dataclass(frozen=True)
class Picked:
    """The files of a release, sorted, and those that stay here: (path, why)."""

    entries: list[Entry]
    left_out: list[tuple[str, str]]


# -------------------------------------------------------------------------------------- the project


def pick_backend(source: Source, ship_also: Collection[str] = ()) -> Picked:
    """Pick the project's files: what git does not ignore, or else all but the usual by-products;
    never secrets or data, except what `ship_also` names. Raises ReleaseError for a link that leads
    out."""
    has_media_package = (source.folder / "media" / "__init__.py").exists()
    picked: list[str] = []
    left: dict[str, str] = {}
    for path, tracked in sorted(_files_of(source).items()):
        if path.endswith(".pyc"):
            continue
        if left_out.is_named(path, ship_also):
            picked.append(path)
            continue
        if path.startswith("media/") and not has_media_package:
            left["media/"] = "uploads"
            continue
        reason = left_out.why(path, tracked) or _password_in(source.folder / path, path)
        if reason:
            left[path] = reason
        else:
            picked.append(path)
    return Picked(_entries(source.folder, picked, source.label), list(left.items()))


def _files_of(source: Source) -> dict[str, bool]:
    """The project's files, and whether git tracks each."""
    if source.work_tree:
        files = git.listed(source.folder)
        if "manage.py" in files:
            return files
    # The whole folder is ignored, or git doesn't know.
    is_unpacked_commit = source.commit is not None and not source.work_tree
    return dict.fromkeys(walk(source.folder), is_unpacked_commit)


def _password_in(here: Path, path: str) -> str | None:
    if not left_out.may_hold_a_password(path) or not here.is_file():
        return None
    text = here.read_text(encoding="utf-8", errors="replace")
    if left_out.holds_a_password(text):
        return "a URL in it holds a password; write ${VARIABLE} there"
    return None


def backend_files(source: Source) -> list[Entry]:
    """The project's files, as `pick_backend` picks them."""
    return pick_backend(source).entries


# ----------------------------------------------------------------------------------------- the page


def pick_frontend(folder: Path, ship_also: Collection[str] = ()) -> Picked:
    """Pick every file of a built folder, sorted, except secrets and databases; git is not asked,
    because built files are what it ignores.

    A link inside of it becomes what it leads to: nginx follows none. Raises ReleaseError for one
    that leads out, or to a folder that it is in.
    """
    files: list[Entry] = []
    for entry in _entries(folder, walk(folder), str(folder)):
        files += _followed(folder, entry, ())
    picked: list[Entry] = []
    left: list[tuple[str, str]] = []
    for file in sorted(files, key=attrgetter("path")):
        reason = left_out.why(file.path, True, ship_also)
        if reason:
            left.append((file.path, reason))
        else:
            picked.append(file)
    return Picked(picked, left)


def _followed(folder: Path, entry: Entry, through: tuple[Path, ...]) -> Iterator[Entry]:
    """The entry, or the files behind a link; `through` are the folders that links have led to on
    the way."""
    if entry.link is None:
        yield entry
        return
    root, real = folder.resolve(), entry.here.resolve()
    label = f"{folder}: {entry.path} is a link"
    if not real.is_relative_to(root):
        raise ReleaseError(
            f"{label} that leads to {real}, outside of the folder", cure="put a copy there"
        )
    if real in through:
        raise ReleaseError(
            f"{label} to a folder that it is in itself, without end", cure="remove it"
        )
    if real.is_file():
        yield Entry(entry.path, real, None, False, content_digest(real.read_bytes(), False))
    for path in sorted(walk(real)):
        inner = _entry(root, (real / path).relative_to(root).as_posix())
        if inner:
            below = replace(inner, path=f"{entry.path}/{path}")
            yield from _followed(root, below, (*through, real))


# ------------------------------------------------------------------------------------------ entries


def _entries(folder: Path, paths: Iterable[str], label: str) -> list[Entry]:
    entries: list[Entry] = []
    # Followed by names, as the host will: what lies behind a link on this machine is not what lies
    # there.
    linked: dict[str, str] = {}
    for path in sorted(paths):
        entry = _entry(folder, path)
        if entry is None:
            continue
        entries.append(entry)
        if entry.link is not None:
            linked[path] = entry.link
    for path in links.leading_out(linked):
        raise ReleaseError(
            f"{path} is a link to {linked[path]}, outside of the folder",
            where=label,
            cure="put a copy there",
        )
    return entries


def _entry(folder: Path, path: str) -> Entry | None:
    """A file or link; None for anything else."""
    here = folder / path
    mode = here.lstat().st_mode
    if stat.S_ISLNK(mode):
        link = str(here.readlink())
        return Entry(path, here, link, False, link_digest(link))
    if not stat.S_ISREG(mode):
        return None
    executable = bool(mode & 0o100)
    return Entry(path, here, None, executable, content_digest(here.read_bytes(), executable))


def content_digest(data: bytes, executable: bool) -> str:
    """What makes a file of a release a different one."""
    return hashlib.sha256((b"x" if executable else b"-") + data).hexdigest()


def link_digest(target: str) -> str:
    """What makes a link of a release a different one."""
    return hashlib.sha256(b"link " + target.encode()).hexdigest()
