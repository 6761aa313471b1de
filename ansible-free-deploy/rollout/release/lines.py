"""Lines of a requirements file: the names and hashes in them."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from rollout.release import indexes
from rollout.release.archive import digest
from rollout.release.chosen import Hashes
from rollout.release.declared import Requirements
from rollout.release.errors import ReleaseError

_HASH = re.compile(r"\s--hash[ =]([a-z0-9]+:[0-9a-fA-F]+)")


def hashes_of(wanted: Requirements) -> dict[str, tuple[str, ...]] | None:
    """The hashes that lines allow, by normal name; None where they have none.

    Raises ReleaseError where some have and some have not: what is locked in part is not locked.
    """
    allowed: dict[str, tuple[str, ...]] = {}
    without: list[str] = []
    for line in wanted.text.splitlines():
        if line.startswith(("-", "#", "/")) or not line.strip():
            continue
        name = name_of(line)
        hashes = tuple(text.lower() for text in _HASH.findall(line))
        allowed[name] = (*allowed.get(name, ()), *hashes)
        if not hashes:
            without.append(name)
    if not any(allowed.values()):
        return None
    if without:
        raise ReleaseError(
            f"{wanted.path} has a --hash for some packages and none for {', '.join(without)}",
            cure=(
                "pip refuses that too: lock it again, e.g. with `uv pip compile --generate-hashes`"
            ),
        )
    return allowed


def without_hashes(text: str) -> list[str]:
    """The lines as they would be without a lock."""
    return [_HASH.sub("", line) for line in text.splitlines()]


def with_built(locks: Hashes | None, scratch: Path) -> Hashes | None:
    """The hashes with those of the wheels in `scratch`: what was just built has a hash that no list
    could know."""
    if locks is None:
        return None
    known = dict(locks)
    for wheel in scratch.glob("*.whl"):
        known[wheel_name(wheel)] = (f"sha256:{digest(wheel)}",)
    return known


def wheel_name(wheel: Path) -> str:
    """The normal name of the package in a wheel, or of a folder."""
    return str(canonicalize_name(wheel.name.partition("-")[0]))


def shown(line: str) -> str:
    """A line as messages have it."""
    return re.split(r"\s--hash|\s@\s", line)[0]


def name_of(line: str) -> str:
    """The package's normal name."""
    try:
        name = Requirement(_HASH.sub("", line)).name
    except InvalidRequirement:
        name = re.split(r"[\s=@\[;<>~!]", line, maxsplit=1)[0]
    return str(canonicalize_name(name))


def index_options(wanted: Requirements) -> list[str]:
    """The lines that name indexes. A lock names its files' addresses instead."""
    if wanted.is_lock:
        return []
    return [line for line in wanted.text.splitlines() if indexes.OPTION.match(line)]


def credentials(wanted: Requirements) -> list[str]:
    """Options that give pip the users and passwords that uv has."""
    return indexes.credentials(wanted.text.splitlines(), config_folders(wanted))


def config_folders(wanted: Requirements) -> list[Path]:
    """The folders whose configuration of uv counts."""
    folder = wanted.path.parent
    return list(dict.fromkeys([folder, wanted.project or folder]))
