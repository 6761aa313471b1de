"""The requirements of a project, as its own files declare them, and reading such files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.release.errors import ReleaseError


@dataclass(frozen=True)
class Requirements:
    """What a project asks for: `text` determines it, `path` is the file that it is from.

    `project` is the folder that asks, `roof` the highest folder whose packages belong to the
    project, `local` the folders of such packages, which are built from what is there.
    """

    text: str
    path: Path
    project: Path | None = None
    roof: Path | None = None
    local: tuple[Path, ...] = ()

    @property
    def file(self) -> str:
        """The file's name, for messages."""
        return self.path.name

    @property
    def is_lock(self) -> bool:
        """Whether another tool has pinned everything in it, with hashes."""
        return self.path.name == "uv.lock" or is_pylock(self.path)


def is_pylock(path: Path) -> bool:
    """Whether a file has a name of PEP 751."""
    return re.fullmatch(r"pylock(\.[^.]+)?\.toml", path.name) is not None


def inside_repository(folders: Iterable[Path], project: Path, roof: Path) -> tuple[Path, ...]:
    """The folders that are part of the project's repository, without the project itself."""
    inside: dict[Path, None] = {}
    for folder in folders:
        resolved = folder.resolve()
        if resolved != project.resolve() and resolved.is_relative_to(roof.resolve()):
            inside[resolved] = None
    return tuple(inside)


def neighbour(path: Path, name: str) -> Path:
    """The file `name` in the same folder. Raises ReleaseError where there is none."""
    other = path.parent / name
    if not other.is_file():
        raise ReleaseError(
            f"{path} needs {name} next to it, and there is no such file",
            cure="add it, or correct the line",
        )
    return other


def read_text(path: Path) -> str:
    """The text of a file. Raises ReleaseError for one that is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ReleaseError(
            f"{path} is not UTF-8 (PowerShell's `>` writes UTF-16)", cure="save it as UTF-8"
        ) from None


def read_toml(path: Path) -> dict[str, Any]:
    """A file of TOML, parsed. Raises ReleaseError for one that is none."""
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as problem:
        raise ReleaseError(f"{path}: no TOML: {problem}", cure="correct it") from None


def table(content: dict[str, Any], path: Path, *names: str) -> dict[str, Any]:
    """The table of these names, one inside the other, in what `path` holds; empty where it has
    none. Raises ReleaseError where there is something else."""
    found: Any = content
    for depth, name in enumerate(names, start=1):
        found = found.get(name, {})
        if not isinstance(found, dict):
            wrong = ".".join(names[:depth])
            raise ReleaseError(f"{path}: `{wrong}` is not a table", cure="correct it there")
    return dict(found)


def entries(settings: dict[str, Any], path: Path, name: str, kind: type) -> list[Any]:
    """The entries of the list `name`, each of this type; empty where there is none. Raises
    ReleaseError where there is something else."""
    found = settings.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, kind) for entry in found):
        wanted = "tables" if kind is dict else "strings"
        raise ReleaseError(f"{path}: `{name}` is not a list of {wanted}", cure="correct it there")
    return found


def uv_settings(pyproject: Path) -> dict[str, Any]:
    """The table [tool.uv] of a pyproject.toml. Raises ReleaseError where it is none."""
    return table(read_toml(pyproject), pyproject, "tool", "uv")


@contextmanager
def well_formed(path: Path) -> Iterator[None]:
    """Raise ReleaseError where a lock has not the tables that its tool writes."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as problem:
        raise ReleaseError(
            f"{path} is no lock that can be read: {problem!r}", cure="lock it again"
        ) from None
