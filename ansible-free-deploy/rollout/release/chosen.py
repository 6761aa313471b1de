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

from rollout.release.needs import Requirements
from rollout.release.source import ReleaseError, hide_password
from rollout.release.target import Target
from rollout.release.workshop import without_one

_STRONG = ("sha256", "sha384", "sha512")
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
        """As pip reads it."""
        return " ".join(
            [f"{self.name} @ {self.address}", *(f"--hash={one}" for one in self.hashes)]
        )


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
        if lacking := re.search(r"No wheel found .* for package '([^']+)'", str(problem)):
            raise NoWheel([lacking[1]]) from None
        raise ReleaseError(f"{wanted.path} does not fit {target}: {problem}") from None
    found = [
        one
        for package, source in selected
        if (one := _choice(package, source, wanted, locked)) is not None
    ]
    _refuse_strangers(found, wanted, target, may_build)
    without = [one.name for one in found if one.build and not _is_folder(one)]
    if may_build is not None and (refused := sorted(set(without) - set(may_build))):
        raise NoWheel(refused)
    return found


def from_line(name: str, line: str, hashes: Iterable[str]) -> Choice:
    """The source that a requirement with an address means."""
    address = re.sub(r"\s--hash.*", "", line.partition(" @ ")[2] or line).strip()
    told = re.search(rf"[#&]((?:{'|'.join(_STRONG)}))=([0-9a-fA-F]+)", address)
    own = (f"{told[1]}:{told[2].lower()}",) if told else ()
    return Choice(name, "", address, own or tuple(sorted(hashes)), build=True)


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
            f"{wanted.path} is no lock that can be read: {problem}; lock it again"
        ) from None


def _prepare(facts: dict[str, Any], wanted: Requirements, locked: Hashes | None) -> None:
    if locked is not None:
        _only_locked(facts.get("packages", []), wanted, locked)
    for package in facts.get("packages", []):
        if not package.get("wheels") and not any(
            key in package for key in ("vcs", "directory", "archive", "sdist")
        ):
            raise ReleaseError(
                f"{wanted.path}: {package.get('name')} is from nowhere; export the file anew"
            )
        _only_strong(package, wanted)


def _only_strong(package: dict[str, Any], wanted: Requirements) -> None:
    """A lock without a strong hash locks nothing. (What uv has just resolved may come from an index
    without any.)"""
    for file in [
        *package.get("wheels", []),
        *filter(None, [package.get("sdist"), package.get("archive")]),
    ]:
        file.setdefault("hashes", {})
        if wanted.is_lock and not any(kind in file["hashes"] for kind in _STRONG):
            raise ReleaseError(f"{wanted.path}: {package['name']} has no sha256; lock it again")
        file["hashes"] = {
            kind: file["hashes"][kind] for kind in _STRONG if kind in file["hashes"]
        } or {"none": ""}


def _only_locked(packages: list[dict[str, Any]], wanted: Requirements, locked: Hashes) -> None:
    """Leave of each package the files that the lines allow. Raises ReleaseError where none is
    left."""
    unknown = sorted({one["name"] for one in packages if "directory" not in one} - locked.keys())
    if unknown:
        raise ReleaseError(
            f"{wanted.path}: {', '.join(unknown)} is needed too and has no --hash there; lock it"
            " again, e.g. with `uv pip compile --generate-hashes`"
        )
    for package in packages:
        allowed = set(locked.get(package["name"], ()))
        files = [
            *package.get("wheels", []),
            *filter(None, [package.get("sdist"), package.get("archive")]),
        ]
        if files and not any(_allowed(file, allowed) for file in files):
            raise ReleaseError(
                wrong_hash(wanted, f"{package['name']}=={package.get('version', '?')}")
            )
        package["wheels"] = [file for file in package.get("wheels", []) if _allowed(file, allowed)]
        for key in ("sdist", "archive"):
            if key in package and not _allowed(package[key], allowed):
                del package[key]


def _allowed(file: Mapping[str, Any], allowed: set[str]) -> bool:
    """Whether a file is one of those; of one whose hash the index does not tell it is known when it
    is fetched."""
    told = [f"{kind}:{value}" for kind, value in file.get("hashes", {}).items() if kind in _STRONG]
    return not told or bool(allowed.intersection(told))


def wrong_hash(wanted: Requirements, what: str) -> str:
    """What is said of a package whose files are not those that the lock means."""
    return (
        f"{what}: what its index has is not what {wanted.file} locks (another hash), so it is not"
        " taken; was it published anew, or is that another index's package? If it is right, lock"
        " it again"
    )


Source = PackageVcs | PackageDirectory | PackageArchive | PackageWheel | PackageSdist


def _choice(
    package: Package, source: Source, wanted: Requirements, locked: Hashes | None
) -> Choice | None:
    name, version = str(canonicalize_name(package.name)), str(package.version or "")
    match source:
        case PackageDirectory():
            folder = (wanted.path.parent / source.path).resolve()
            own = wanted.project is not None and folder == wanted.project.resolve()
            return None if own else Choice(name, version, folder.as_uri(), (), build=True)
        case PackageVcs():
            below = f"#subdirectory={source.subdirectory}" if source.subdirectory else ""
            address = f"{source.type}+{source.url or source.path}@{source.commit_id}{below}"
            return Choice(name, version, address, (), build=True)
    address = (
        hide_password(source.url or "")
        or (wanted.path.parent / (source.path or "")).resolve().as_uri()
    )
    told = tuple(f"{kind}:{value}" for kind, value in source.hashes.items() if kind in _STRONG)
    hashes = told or tuple(sorted((locked or {}).get(name, ())))
    found = Choice(
        name, version, address, hashes, build=not urlsplit(address).path.endswith(".whl")
    )
    if version or found.build:
        return found
    return replace(found, version=found.filename.split("-")[1])


def _is_folder(one: Choice) -> bool:
    return one.address.startswith("file:") and Path(unquote(urlsplit(one.address).path)).is_dir()


def _refuse_strangers(
    found: Iterable[Choice], wanted: Requirements, target: Target, may_build: Collection[str] | None
) -> None:
    """Folders that are not of the project's repository, and repositories that may not be built."""
    roof = (wanted.roof or wanted.path.parent).resolve()
    for one in found:
        if not one.build:
            continue
        address = hide_password(one.address)
        scheme, _, place = address.partition("://")
        if scheme == "file" and not one.hashes and not Path(unquote(place)).is_relative_to(roof):
            raise ReleaseError(
                f"{wanted.path}: {one.name} is the folder {unquote(place)}, outside of the"
                " repository; move it inside, or put a wheel of it on an index of your own"
            )
        if "+" in scheme and may_build is not None and one.name not in may_build:
            raise ReleaseError(
                f"{wanted.path}: {one.name} is from the repository {address}: building it runs its"
                f" code here{without_one(target)}; put a wheel on your own index, or allow it in"
                f" the stack's config: `build_sdists: [{one.name}]`"
            )
