"""A host's whole configuration as one value. Pure: nothing here touches a host."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class File:
    """`path` is inside the generation; `service` is `nginx`, `gunicorn`, or empty where a change restarts nothing."""

    path: str
    text: str
    service: str = ""
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link at `place` (absolute, on the host) to `target` (a path inside the current generation)."""

    place: str
    target: str


@dataclass(frozen=True)
class Generation:
    """`absent` are places that must not exist; `fingerprints` and `units` are by service, units in starting order."""

    id: str
    files: tuple[File, ...]
    links: tuple[Link, ...]
    absent: tuple[str, ...]
    fingerprints: dict[str, str]
    units: dict[str, tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """JSON types, secrets included: for the wire, never for a log."""
        return dataclasses.asdict(self)


def assemble(
    files: Iterable[File], links: Iterable[Link], absent: Iterable[str], units: Mapping[str, tuple[str, ...]]
) -> Generation:
    """A generation from its parts; `@fingerprint:SERVICE@` in a text becomes the digest over that service's files."""
    parts = tuple(sorted(files, key=lambda file: file.path))
    fingerprints = {service: _digest([f for f in parts if f.service == service]) for service in units}
    stamped = tuple(dataclasses.replace(f, text=_stamp(f.text, fingerprints)) for f in parts)
    links, absent = tuple(links), tuple(absent)
    return Generation(_digest([*stamped, *links, *absent])[:16], stamped, links, absent, fingerprints, dict(units))


def _stamp(text: str, fingerprints: Mapping[str, str]) -> str:
    for service, digest in fingerprints.items():
        text = text.replace(f"@fingerprint:{service}@", digest)
    return text


def _digest(parts: Iterable[File | Link | str]) -> str:
    plain = [part if isinstance(part, str) else dataclasses.astuple(part) for part in parts]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:32]
