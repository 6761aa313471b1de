"""Lines of a requirements file: the names and hashes in them."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from rollout.release.archive import digest
from rollout.release.chosen import Hashes
from rollout.release.needs import Requirements
from rollout.release.source import ReleaseError
from rollout.release.tools import INDEX, credentials

_HASH = re.compile(r"\s--hash[ =]([a-z0-9]+:[0-9a-fA-F]+)")


def hashes_of(wanted: Requirements) -> dict[str, tuple[str, ...]] | None:
    """The hashes that lines allow, by normal name; None where they have none.

    Raises ReleaseError where some have and some have not: what is locked in part is not locked.
    """
    found: dict[str, tuple[str, ...]] = {}
    bare = []
    for line in wanted.text.splitlines():
        if line.startswith(("-", "#", "/")) or not line.strip():
            continue
        hashes = tuple(text.lower() for text in _HASH.findall(line))
        name = name_of(line)
        found[name] = (*found.get(name, ()), *hashes)
        bare += [] if hashes else [name]
    if not any(found.values()):
        return None
    if bare:
        raise ReleaseError(
            f"{wanted.path} has a --hash for some packages and none for {', '.join(bare)}; pip"
            " refuses that too: lock it again, e.g. with `uv pip compile --generate-hashes`"
        )
    return found


def without_hashes(text: str) -> list[str]:
    """The lines as they would be without a lock."""
    return [_HASH.sub("", line) for line in text.splitlines()]


def with_built(locks: Hashes | None, scratch: Path) -> Hashes | None:
    """What was just built has a hash that no list could know."""
    if locks is None:
        return None
    built = {
        str(canonicalize_name(path.name.partition("-")[0])): path for path in scratch.glob("*.whl")
    }
    return {**locks, **{name: (f"sha256:{digest(path)}",) for name, path in built.items()}}


def shown(line: str) -> str:
    """A line as messages have it."""
    return re.split(r"\s--hash|\s@\s", line)[0]


def name_of(line: str) -> str:
    """The package's normal name."""
    try:
        return str(canonicalize_name(Requirement(_HASH.sub("", line)).name))
    except InvalidRequirement:
        return str(canonicalize_name(re.split(r"[\s=@\[;<>~!]", line, maxsplit=1)[0]))


def index_options(wanted: Requirements) -> list[str]:
    """The lines that name indexes. A lock names its files' addresses instead."""
    return [line for line in wanted.text.splitlines() if not wanted.is_lock and INDEX.match(line)]


def let_in(wanted: Requirements) -> list[str]:
    """Options that let pip in where uv is let in."""
    return credentials(wanted.text.splitlines(), places(wanted))


def places(wanted: Requirements) -> list[Path]:
    """The folders whose configuration of uv counts."""
    return list(dict.fromkeys([wanted.path.parent, wanted.project or wanted.path.parent]))
