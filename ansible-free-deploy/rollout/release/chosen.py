"""From a lock to the very files that a host needs: which wheel of each package, from where, with
which hashes.

Everything is read as a `pylock.toml` (PEP 751): uv writes one from its own lock and from
requirements. `packaging` says which packages and wheels are the host's. What has no wheel is
refused by its name, or built where that is allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.pylock import (
    Package,
    PackageArchive,
    PackageDirectory,
    PackageSdist,
    PackageVcs,
    PackageWheel,
    Pylock,
    PylockSelectError,
    PylockValidationError,
)
from packaging.utils import canonicalize_name

from infra.core.rules import hide_password
from rollout.release.declared import Requirements
from rollout.release.errors import ReleaseError
from rollout.release.target import Target
from rollout.release.workshop import without_one

_STRONG = ("sha256", "sha384", "sha512")
_FRAGMENT = re.compile(rf"[#&]({'|'.join(_STRONG)})=([0-9a-fA-F]+)")
Hashes = Mapping[str, Collection[str]]  # normal name → what a lock of lines allows, as "sha256:…"


@dataclass(frozen=True)
class Choice:
    """One package: a wheel at `address` with one of `hashes`, or what one is to be built from."""

    name: str
    version: str
    address: str
    hashes: tuple[str, ...]
    build: bool = False

    @property
    def filename(self) -> str:
        """The file's name, as the index has it."""
        return unquote(Path(urlsplit(self.address).path).name)

    @property
    def line(self) -> str:
        """The package as pip reads it."""
        words = [f"{self.name} @ {self.address}"]
        for text in self.hashes:
            words.append(f"--hash={text}")
        return " ".join(words)

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that it is built from, if it is one."""
        place = Path(unquote(urlsplit(self.address).path))
        if self.address.startswith("file:") and place.is_dir():
            return place
        return None


def choose(
    text: str,
    wanted: Requirements,
    target: Target,
    may_build: Collection[str] | None,
    locked: Hashes | None = None,
) -> list[Choice]:
    """The choices for `target` of a `pylock.toml`; `locked` are the only hashes that count, where
    there are some. `may_build` are the packages that may come as source; None lets all.

    Raises ReleaseError for what is not for this Python, has no wheel, no hash, other hashes, or a
    source that can't be honoured: all packages of a kind at once.
    """
    lock = _read(text, wanted, locked)
    try:
        selected = list(lock.select(environment=target.environment, tags=target.tags))
    except PylockSelectError as problem:
        lacking = re.search(r"No wheel found .* for package '([^']+)'", str(problem))
        if lacking:
            raise NoWheel([lacking[1]]) from None
        raise ReleaseError(f"{wanted.path} does not fit {target}: {problem}") from None
    choices: list[Choice] = []
    for package, source in selected:
        choice = _choice(package, source, wanted, locked)
        if choice is not None:
            choices.append(choice)
    _refuse_outside(choices, wanted, target, may_build)
    if may_build is not None:
        without = {one.name for one in choices if one.build and one.folder is None}
        refused = without - set(may_build)
        if refused:
            raise NoWheel(refused)
    return choices


def from_line(name: str, line: str, hashes: Iterable[str]) -> Choice:
    """The source that a requirement with an address means."""
    _, _, after_name = line.partition(" @ ")
    address = re.sub(r"\s--hash.*", "", after_name or line).strip()
    fragment = _FRAGMENT.search(address)
    if fragment:
        hashes = [f"{fragment[1]}:{fragment[2].lower()}"]
    return Choice(name, "", address, tuple(sorted(hashes)), build=True)


class NoWheel(Exception):
    """These packages have no wheel for the host, and may not be built."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(names)
        super().__init__(", ".join(self.names))


def _read(text: str, wanted: Requirements, locked: Hashes | None) -> Pylock:
    facts: dict[str, Any] = tomllib.loads(text)
    try:
        _prepare(facts, wanted, locked)
        return Pylock.from_dict(facts)
    except (PylockValidationError, AttributeError, KeyError, TypeError) as problem:
        raise ReleaseError(
            f"{wanted.path} is no lock that can be read: {problem}", cure="lock it again"
        ) from None


def _prepare(facts: dict[str, Any], wanted: Requirements, locked: Hashes | None) -> None:
    packages = facts.get("packages", [])
    if locked is not None:
        _only_locked(packages, wanted, locked)
    for package in packages:
        has_source = any(key in package for key in ("vcs", "directory", "archive", "sdist"))
        if not package.get("wheels") and not has_source:
            raise ReleaseError(
                f"{package.get('name')} has neither a wheel nor a source",
                where=str(wanted.path),
                cure="export the file again",
            )
        _only_strong(package, wanted)


def _only_strong(package: dict[str, Any], wanted: Requirements) -> None:
    """Leave the strong hashes. Raises ReleaseError for a lock that has none of a file: it locks
    nothing. (What uv has just resolved may come from an index without any.)"""
    for file in _files(package):
        given = file.get("hashes", {})
        strong = {kind: given[kind] for kind in _STRONG if kind in given}
        if wanted.is_lock and not strong:
            raise ReleaseError(
                f"{package['name']} has no sha256",
                where=str(wanted.path),
                cure="lock it again",
            )
        file["hashes"] = strong or {"none": ""}


def _files(package: dict[str, Any]) -> list[dict[str, Any]]:
    """The files of a package: wheels, and archives of source."""
    files = list(package.get("wheels", []))
    for key in ("sdist", "archive"):
        if package.get(key):
            files.append(package[key])
    return files


def _only_locked(packages: list[dict[str, Any]], wanted: Requirements, locked: Hashes) -> None:
    """Leave of each package the files that the lines allow. Raises ReleaseError where none is
    left."""
    needed = {package["name"] for package in packages if "directory" not in package}
    unknown = sorted(needed - locked.keys())
    if unknown:
        raise ReleaseError(
            f"{', '.join(unknown)} is needed too and has no --hash there",
            where=str(wanted.path),
            cure="lock it again, e.g. with `uv pip compile --generate-hashes`",
        )
    for package in packages:
        allowed = set(locked.get(package["name"], ()))
        files = _files(package)
        if files and not any(_is_allowed(file, allowed) for file in files):
            what = f"{package['name']}=={package.get('version', '?')}"
            raise ReleaseError(wrong_hash(wanted, what))
        wheels = package.get("wheels", [])
        package["wheels"] = [file for file in wheels if _is_allowed(file, allowed)]
        for key in ("sdist", "archive"):
            if key in package and not _is_allowed(package[key], allowed):
                del package[key]


def _is_allowed(file: Mapping[str, Any], allowed: set[str]) -> bool:
    """Whether a file has one of those hashes. A file whose hash the index does not report is
    checked when it is fetched."""
    known = _strong_hashes(file.get("hashes", {}))
    return not known or not allowed.isdisjoint(known)


def _strong_hashes(hashes: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{kind}:{value}" for kind, value in hashes.items() if kind in _STRONG)


def wrong_hash(wanted: Requirements, what: str) -> str:
    """The message for a package whose files are not those that the lock means."""
    return (
        f"{what}: what its index has is not what {wanted.file} locks (another hash), so it is not"
        " taken; was it published again, or is that another index's package? If it is right, lock"
        " it again"
    )


Source = PackageVcs | PackageDirectory | PackageArchive | PackageWheel | PackageSdist


def _choice(
    package: Package,
    source: Source,
    wanted: Requirements,
    locked: Hashes | None,
) -> Choice | None:
    """The choice for one package; None for the project itself."""
    name, version = str(canonicalize_name(package.name)), str(package.version or "")
    if isinstance(source, PackageDirectory):
        folder = (wanted.path.parent / source.path).resolve()
        if wanted.project is not None and folder == wanted.project.resolve():
            return None
        return Choice(name, version, folder.as_uri(), (), build=True)
    if isinstance(source, PackageVcs):
        address = f"{source.type}+{source.url or source.path}@{source.commit_id}"
        if source.subdirectory:
            address += f"#subdirectory={source.subdirectory}"
        return Choice(name, version, address, (), build=True)
    if source.url:
        address = hide_password(source.url)
    else:
        address = (wanted.path.parent / (source.path or "")).resolve().as_uri()
    hashes = _strong_hashes(source.hashes)
    if not hashes and locked:
        hashes = tuple(sorted(locked.get(name, ())))
    is_wheel = urlsplit(address).path.endswith(".whl")
    choice = Choice(name, version, address, hashes, build=not is_wheel)
    if is_wheel and not version:
        return replace(choice, version=choice.filename.split("-")[1])
    return choice


def _refuse_outside(
    choices: Iterable[Choice],
    wanted: Requirements,
    target: Target,
    may_build: Collection[str] | None,
) -> None:
    """Raise ReleaseError for a folder outside of the project's repository, and for another
    repository that may not be built."""
    roof = (wanted.roof or wanted.path.parent).resolve()
    for one in choices:
        if not one.build:
            continue
        address = hide_password(one.address)
        scheme, _, place = address.partition("://")
        is_folder = scheme == "file" and not one.hashes
        if is_folder and not Path(unquote(place)).is_relative_to(roof):
            raise ReleaseError(
                f"{one.name} is the folder {unquote(place)}, outside of the repository",
                where=str(wanted.path),
                cure="move it inside, or put a wheel of it on an index of your own",
            )
        if "+" in scheme and may_build is not None and one.name not in may_build:
            raise ReleaseError(
                f"{one.name} is from the repository {address}: building it runs its code"
                f" here{without_one(target)}",
                where=str(wanted.path),
                cure=(
                    "put a wheel on your own index, or allow it in the stack's config:"
                    f" `build_sdists: [{one.name}]`"
                ),
            )
