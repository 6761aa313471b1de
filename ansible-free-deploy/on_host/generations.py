"""A generation: the configuration of one host, as the operator renders it and the host keeps it.

`rollout/render/generation.py` makes these typed dictionaries. A host never loads this module: there
it is imported for the type checker alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict


class FileFacts(TypedDict):
    """A file of a generation, without its text: `path` is inside the generation; `service` is
    `nginx`, `gunicorn`, or empty where a change restarts nothing."""

    path: str
    mode: int
    service: str


class GenerationFile(FileFacts):
    text: str


class OutlineFile(FileFacts):
    sha256: str  # hex


class Link(TypedDict):
    """A symbolic link at `place` (absolute) to `target` (a path inside the current generation)."""

    place: str
    target: str


class GenerationHead(TypedDict):
    """All of a generation but its files. `absent` are places that must not exist; `fingerprints`
    and `units` are by service, units in starting order."""

    id: str
    links: Sequence[Link]
    absent: Sequence[str]
    fingerprints: dict[str, str]
    units: Mapping[str, Sequence[str]]


class Generation(GenerationHead):
    """A whole generation, secrets included: never for a log."""

    files: Sequence[GenerationFile]


class Outline(GenerationHead):
    """A generation without texts and without its secret files: see `configuration/outline.py`."""

    files: Sequence[OutlineFile]
