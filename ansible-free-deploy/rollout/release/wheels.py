"""What the project needs, as wheels for the host's Python, resolved and fetched on this side.

The way of a package: its lock (or, without one, `uv pip compile`) → `chosen`, the very files with
their hashes → `pip download` of exactly these → their digests, which the host gets and checks. What
was fetched is kept by the digest of what was asked for.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from infra.core.home import cache_folder
from rollout.release import additions
from rollout.release.archive import digest
from rollout.release.declared import Requirements
from rollout.release.fetching import FORMAT, Fetch, recorded
from rollout.release.folders import walk
from rollout.release.picked import content_digest
from rollout.release.target import Target
from rollout.release.workshop import Workshop

Say = Callable[[str], None]
Advance = Callable[[float, str], None]


@dataclass(frozen=True)
class Wheels:
    """`lock` names the set; `names` are wheel files in `folder` with their SHA-256; `fetch_again`
    has the same ones in place of what is damaged."""

    lock: str
    folder: Path
    names: dict[str, str]
    fetch_again: Callable[[Advance], None] = field(compare=False, repr=False)

    def digests(self, advance: Advance) -> dict[Path, str]:
        """Every wheel, undamaged, with its SHA-256: what has vanished from the cache or is cut is
        fetched again.

        Raises ReleaseError where the index no longer has it.
        """
        wheels = {self.folder / name: expected for name, expected in self.names.items()}
        for path, expected in wheels.items():
            if not path.is_file() or digest(path) != expected:
                self.fetch_again(advance)
                break
        return wheels


def wheels(
    wanted: Requirements,
    target: Target,
    say: Say,
    advance: Advance,
    may_build: Collection[str] = (),
    workshop: Workshop | None = None,
) -> Wheels:
    """The wheels of `wanted` and of the kit's own needs for `target`; the second time from the
    cache, without network.

    What has no wheel is built in `workshop`. Without one only packages in `may_build`, and those of
    the project itself, are built from source, since that runs their code as whoever runs this.
    Raises ReleaseError for what can't be resolved, reached, had as a wheel, or has another hash.
    """
    builds = sorted(str(canonicalize_name(name)) for name in may_build)
    folder = cache_folder("wheels") / _key(wanted, target, builds)
    fetch = Fetch(wanted, target, builds, folder, say, workshop)
    record = recorded(folder)
    if record is None:
        say(f"resolves {wanted.file} for Python {target.python} on {target.machine}")
        record = fetch.all(advance)
        if not record["locked"]:
            say(
                f"{wanted.file} locks nothing: these versions are today's; a lock with hashes keeps"
                " them"
            )
    again = functools.partial(fetch.again, record["lock"])
    return Wheels(record["lock"], folder, record["names"], again)


def _key(wanted: Requirements, target: Target, builds: list[str]) -> str:
    """The name of the cache's folder: a digest of everything that decides what is fetched."""
    local = [_content(folder) for folder in wanted.local]
    kit = [one.line for one in additions.LIST]
    host = [target.version, target.machine, target.libc]
    facts = json.dumps([FORMAT, wanted.text, local, kit, *host, *builds])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _content(place: Path) -> str:
    """A digest of a folder, or a file: another content is another package, under the same name and
    version."""
    paths: list[Path] = []
    if place.is_file():
        paths = [place]
    elif place.is_dir():
        paths = [place / path for path in sorted(walk(place))]
    files = []
    for path in paths:
        if path.is_file():
            name = os.path.relpath(path, place)
            files.append((name, content_digest(path.read_bytes(), False)))
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
