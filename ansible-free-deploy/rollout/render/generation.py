"""A host's whole configuration as one value. Pure: nothing here touches a host."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from on_host import generations
from on_host.seal import is_private


@dataclass(frozen=True)
class File:
    """`path` is inside the generation; `service` is `nginx`, `gunicorn`, or empty where a change
    restarts nothing.

    `reports` says that the text holds `@fingerprint:SERVICE@`, for its process to report; anywhere
    else that is text.
    """

    path: str
    text: str
    service: str = ""
    mode: int = 0o644
    reports: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link at `place` (absolute, on the host) to `target` (a path inside the current
    generation)."""

    place: str
    target: str


@dataclass(frozen=True)
class Generation:
    """`absent` are places that must not exist; `fingerprints` and `units` are by service, units in
    starting order.

    `id` and `fingerprints` cover the files that everybody on the host may read: they are no secret
    themselves. What the secret files add, the host computes under a key of its own
    (`on_host.seal`).
    """

    id: str
    files: tuple[File, ...]
    links: tuple[Link, ...]
    absent: tuple[str, ...]
    fingerprints: dict[str, str]
    units: dict[str, tuple[str, ...]]

    def to_json(self) -> generations.Generation:
        """JSON types, secrets included: for the wire, never for a log."""
        files: list[generations.GenerationFile] = []
        for file in self.files:
            files.append({**_facts(file), "text": file.text})
        return {**self._head(), "files": files}

    def outline(self) -> generations.Outline:
        """JSON types without any text: what a host needs to say whether it holds this. Of a
        readable file its SHA-256, of a secret one nothing: whoever asks needs no secret."""
        files: list[generations.OutlineFile] = []
        for file in _readable(self.files):
            files.append({**_facts(file), "sha256": _sha256(file.text)})
        return {**self._head(), "files": files}

    def _head(self) -> generations.GenerationHead:
        return {
            "id": self.id,
            "links": [{"place": link.place, "target": link.target} for link in self.links],
            "absent": self.absent,
            "fingerprints": self.fingerprints,
            "units": self.units,
        }


def assemble(
    files: Iterable[File],
    links: Iterable[Link],
    absent: Iterable[str],
    units: Mapping[str, tuple[str, ...]],
) -> Generation:
    """A generation from its parts, with its fingerprints where its files report them."""
    parts = tuple(sorted(files, key=lambda file: file.path))
    fingerprints = {}
    for service in units:
        own = [file for file in _readable(parts) if file.service == service]
        fingerprints[service] = _digest(own)
    stamped = tuple(_stamp(file, fingerprints) for file in parts)
    links, absent = tuple(links), tuple(absent)
    identity = _digest([*_readable(stamped), *links, *absent])[:16]
    return Generation(identity, stamped, links, absent, fingerprints, dict(units))


def _readable(files: Iterable[File]) -> list[File]:
    """Those that everybody on the host may read."""
    return [file for file in files if not is_private(file.mode)]


def _facts(file: File) -> generations.FileFacts:
    return {
        "path": file.path,
        "mode": file.mode,
        "service": file.service,
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(file: File, fingerprints: Mapping[str, str]) -> File:
    if not file.reports:
        return file
    mark = f"@fingerprint:{file.service}@"
    text = file.text.replace(mark, fingerprints[file.service])
    return dataclasses.replace(file, text=text)


def _digest(parts: Iterable[File | Link | str]) -> str:
    plain = [_plain(part) for part in parts]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:32]


def _plain(part: File | Link | str) -> object:
    match part:
        case File():
            return part.path, part.text, part.service, part.mode
        case Link():
            return part.place, part.target
        case _:
            return part
