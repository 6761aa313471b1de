"""A release in one file, built elsewhere: `fab build` writes it, `fab ship --built` reads it.

The job that builds a branch has no credentials; the one that has them runs nothing of the branch.
So what is read here may be anybody's: no git, uv or pip is started for it, no link of it is
ever on this disk, and nothing in it names an address, a file or a variable of this machine.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from infra.core.home import cache_folder
from on_host import links
from rollout.release.archive import add, digest
from rollout.release.errors import ReleaseError, disk_errors_reported
from rollout.release.fetching import check_wheel, lock_of
from rollout.release.picked import Entry, content_digest, link_digest
from rollout.release.release import Release, of_entries, require_module
from rollout.release.source import Source
from rollout.release.target import Target
from rollout.release.wheels import Wheels

FORMAT = 1
ABOUT = "about.json"
TREES = {"frontend": "site", "backend": "app"}
WHEELS = "wheels"
LARGEST = 8 << 30  # bytes of all files together
MOST = 500_000  # files
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LABEL = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,300}")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

Advance = Callable[[float, str], None]


# ------------------------------------------------------------------------------------------ writing


@disk_errors_reported()
def write(
    place: Path,
    releases: Iterable[Release],
    target: Target,
    advance: Advance,
) -> None:
    """Write the releases, one a role, to the file `place`, whole or not at all. The wheels are for
    `target`."""
    built = {release.role: release for release in releases}
    about = {
        "format": FORMAT,
        "python": target.python,
        "machine": target.machine,
        "roles": {
            role: {
                "label": one.label,
                "commit": one.commit,
                "changed": one.changed,
            }
            for role, one in built.items()
        },
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(place.name + ".new")
    try:
        with tarfile.open(new, "w:gz", compresslevel=1) as tar:
            _add_about(tar, json.dumps(about).encode())
            for role, one in built.items():
                sent = one.wheels.digests(advance) if one.wheels else {}
                add(
                    tar,
                    TREES[role],
                    one.entries,
                    sent,
                    int(time.time()),
                    advance,
                )
        new.replace(place)
    finally:
        new.unlink(missing_ok=True)


def _add_about(tar: tarfile.TarFile, data: bytes) -> None:
    member = tarfile.TarInfo(ABOUT)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


# ------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class HandedOver:
    """What a file of `fab build` holds, unpacked in a folder of this run's own; it is gone with
    this object."""

    file: Path
    about: dict[str, Any]
    folder: tempfile.TemporaryDirectory[str] = field(repr=False)
    entries: dict[str, tuple[Entry, ...]] = field(default_factory=dict, repr=False)

    def page(self) -> Release:
        """The release of the page. Raises ReleaseError where the file has none."""
        source, entries = self._part("frontend")
        if "index.html" not in [entry.path for entry in entries]:
            raise ReleaseError(
                "the page has no index.html",
                where=str(self.file),
                cure=_AGAIN,
            )
        return of_entries("frontend", source, entries)

    @disk_errors_reported()
    def backend(self, wsgi: str, settings: str, target: Target) -> Release:
        """The release of the backend for a kind of host.

        Raises ReleaseError where the file has none, was built for other hosts, lacks a module that
        the stack's config names, or has a wheel that hosts refuse.
        """
        built_for = (self.about.get("python"), self.about.get("machine"))
        if built_for != (target.python, target.machine):
            raise ReleaseError(
                f"built for Python {built_for[0]} on {built_for[1]}, and the hosts have"
                f" {target.python} on {target.machine}",
                where=str(self.file),
                cure="`image` and `architecture` in the stack's config say for which hosts"
                " `fab build` builds",
            )
        source, entries = self._part("backend")
        require_module(source, entries, "wsgi", wsgi.split(":")[0])
        require_module(source, entries, "settings", settings)
        return of_entries("backend", source, entries, self._wheels(target))

    def _part(self, role: str) -> tuple[Source, list[Entry]]:
        said = self.about["roles"].get(role)
        if said is None or role not in self.entries:
            raise ReleaseError(
                f"no {role} is in it",
                where=str(self.file),
                cure=_AGAIN,
            )
        folder = Path(self.folder.name) / TREES[role]
        source = Source(
            folder,
            said["label"],
            folder,
            commit=said["commit"],
            changed=said["changed"],
        )
        return source, list(self.entries[role])

    def _wheels(self, target: Target) -> Wheels:
        folder = Path(self.folder.name) / WHEELS
        names = {}
        for path in sorted(folder.glob("*")):
            self._check(path, target)
            names[path.name] = digest(path)
        return Wheels(lock_of(target, names), folder, names, self._vanished)

    def _check(self, path: Path, target: Target) -> None:
        try:
            tags = parse_wheel_filename(path.name)[3]
        except InvalidWheelFilename as problem:
            raise ReleaseError(
                str(problem),
                where=str(self.file),
                cure=_AGAIN,
            ) from None
        if tags.isdisjoint(target.tags):
            raise ReleaseError(
                f"{path.name} is nothing that {target} can load",
                where=str(self.file),
                cure=_AGAIN,
            )
        check_wheel(path, target.python)

    def _vanished(self, advance: Advance) -> None:
        raise ReleaseError(
            "what was unpacked of it changes meanwhile",
            where=str(self.file),
            cure="ship it again",
        )


_AGAIN = "make it again with `fab build`"


@disk_errors_reported()
def read(file: Path) -> HandedOver:
    """Unpack a file of `fab build`. Raises ReleaseError for what is none, whatever is in it."""
    if not file.is_file():
        raise ReleaseError(
            f"there is no file {file}",
            where="--built",
            cure=_AGAIN,
        )
    folder = tempfile.TemporaryDirectory(dir=cache_folder("built"))
    taken = _Taken(file, Path(folder.name))
    try:
        with tarfile.open(file, "r:gz") as tar:
            for member in tar:
                taken.take(tar, member)
    except (tarfile.TarError, zlib.error, EOFError, OSError, UnicodeError) as problem:
        if isinstance(problem, OSError) and problem.errno:
            raise
        raise ReleaseError(
            f"it can't be unpacked: {problem}",
            where=str(file),
            cure=_AGAIN,
        ) from problem
    return HandedOver(file, taken.about(), folder, taken.entries())


@dataclass
class _Taken:
    """What was unpacked so far into `folder`: files alone, with our own modes. A link is a line in
    `links`."""

    file: Path
    folder: Path
    count: int = 0
    size: int = 0
    files: dict[str, bool] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = PurePosixPath(member.name)
        name = str(path)
        self.count += 1
        self.size += member.size
        is_ours = name == ABOUT or (len(path.parts) > 1 and path.parts[0] in _TOPS)
        if path.is_absolute() or ".." in path.parts or not is_ours or "\0" in name:
            self._refuse(f"{member.name!r} is in it")
        if self.count > MOST or self.size > LARGEST:
            self._refuse(f"it has more than {MOST} files or {LARGEST >> 30} GiB")
        if name in self.files or name in self.links:
            self._refuse(f"{member.name!r} is in it twice")
        if member.issym() and path.parts[0] == TREES["backend"]:
            self.links[name] = member.linkname
            return
        content = tar.extractfile(member) if member.isreg() else None
        if content is None:
            self._refuse(f"{member.name!r} is no file")
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(place, _NEW, 0o600), "wb") as out:
            shutil.copyfileobj(content, out, 1 << 20)
        self.files[name] = bool(member.mode & 0o100)

    def about(self) -> dict[str, Any]:
        """What is said of the releases, each field looked at."""
        try:
            about = json.loads((self.folder / ABOUT).read_bytes())
            known = about["format"] == FORMAT and all(map(_is_sound, about["roles"].values()))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            known = False
        if not known:
            self._refuse(f"its {ABOUT} is not of this version of the kit")
        return dict(about)

    def entries(self) -> dict[str, tuple[Entry, ...]]:
        """The entries of each role, sorted. Raises ReleaseError for a link that leads out."""
        found: dict[str, tuple[Entry, ...]] = {}
        for role, top in TREES.items():
            below = len(top) + 1
            linked = {
                name[below:]: to for name, to in self.links.items() if name.startswith(f"{top}/")
            }
            for path in links.leading_out(linked):
                self._refuse(f"{path} is a link to {linked[path]}, outside of the folder")
            files = [name[below:] for name in self.files if name.startswith(f"{top}/")]
            made = [_file(self.folder / top, path, self.files[f"{top}/{path}"]) for path in files]
            made += [
                Entry(
                    path,
                    self.folder / top / path,
                    to,
                    False,
                    link_digest(to),
                )
                for path, to in linked.items()
            ]
            if made:
                found[role] = tuple(sorted(made, key=lambda entry: entry.path))
        return found

    def _refuse(self, why: str) -> NoReturn:
        raise ReleaseError(
            f"it was not made by `fab build`: {why}",
            where=str(self.file),
            cure=_AGAIN,
        )


_TOPS = (*TREES.values(), WHEELS)


def _is_sound(said: dict[str, Any]) -> bool:
    """Whether what is said of a release is what `write` says: a host keeps it, and people read
    it."""
    commit = said["commit"]
    return (
        isinstance(said["label"], str)
        and _LABEL.fullmatch(said["label"]) is not None
        and isinstance(said["changed"], bool)
        and (commit is None or _COMMIT.fullmatch(commit) is not None)
    )


def _file(folder: Path, path: str, executable: bool) -> Entry:
    here = folder / path
    return Entry(path, here, None, executable, content_digest(here.read_bytes(), executable))
