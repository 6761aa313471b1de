"""Requirements in files of TOML: uv.lock (also of a workspace), pylock.toml, pyproject.toml. Other
tools' locks are refused, with the command that exports them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollout.release.declared import (
    Requirements,
    entries,
    inside_repository,
    neighbour,
    read_text,
    read_toml,
    table,
    uv_settings,
    well_formed,
)
from rollout.release.errors import ReleaseError
from rollout.release.requirement_files import of_lines
from rollout.release.source import Source

POETRY = (
    "`poetry self add poetry-plugin-export` (once) and `poetry export -f requirements.txt -o"
    " requirements.txt`"
)
PIPENV = "`pipenv requirements --hash > requirements.txt`"
PDM = "`pdm export --prod -f requirements -o requirements.txt`"
_POETRY_SOURCES = {"path", "git", "url", "source"}

# ----------------------------------------------------------------------------------------------- uv


def workspace_above(folder: Path) -> Path | None:
    """The root of the uv workspace that `folder` is a member of, where that is another folder. uv
    looks as far up."""
    if not (folder / "pyproject.toml").is_file():
        return None
    for parent in folder.parents:
        if not (parent / "pyproject.toml").is_file():
            continue
        path = parent / "pyproject.toml"
        settings = uv_settings(path)
        if "workspace" in settings:
            workspace = table(settings, path, "workspace")
            return parent if _is_member(folder, path, workspace) else None
    return None


def _is_member(folder: Path, path: Path, workspace: dict[str, Any]) -> bool:
    root = path.parent

    def matches(key: str) -> bool:
        for pattern in entries(workspace, path, key, str):
            if not pattern.startswith("/") and folder in root.glob(pattern.rstrip("/")):
                return True
        return False

    return matches("members") and not matches("exclude")


def of_workspace(folder: Path, root: Path) -> Requirements:
    """The requirements of a member of a workspace. Raises ReleaseError where that has no lock."""
    if not (root / "uv.lock").is_file():
        raise ReleaseError(
            f"{folder} is a member of the uv workspace {root}, which has no uv.lock",
            cure="run `uv lock` there",
        )
    return _of_uv_lock(root / "uv.lock", folder)


def uv_lock(path: Path, source: Source) -> Requirements:
    """The requirements of a project with its own uv.lock."""
    return _of_uv_lock(path, path.parent, source.roof)


def _of_uv_lock(path: Path, project: Path, roof: Path | None = None) -> Requirements:
    root = path.parent
    if roof is None or not root.is_relative_to(roof):
        roof = root
    sources = [path, neighbour(path, "pyproject.toml"), project / "pyproject.toml"]
    text = "".join(read_text(file) for file in dict.fromkeys(sources))
    folders: list[Path] = []
    with well_formed(path):
        for package in read_toml(path).get("package", []):
            origin = package.get("source", {})
            for kind in ("editable", "directory"):
                if origin.get(kind):
                    folders.append(root / origin[kind])
    return Requirements(text, path, project, roof, inside_repository(folders, project, roof))


# ------------------------------------------------------------------------------- PEP 751, pyproject


def pylock(path: Path, source: Source) -> Requirements:
    """The requirements of a pylock.toml."""
    folders: list[Path] = []
    with well_formed(path):
        for package in read_toml(path).get("packages", []):
            directory = package.get("directory", {})
            if "path" in directory:
                folders.append(path.parent / directory["path"])
    local = inside_repository(folders, source.folder, source.roof)
    return Requirements(read_text(path), path, source.folder, source.roof, local)


def pyproject(path: Path, source: Source) -> Requirements | None:
    """`dependencies` without a lock; None where there are none. Raises ReleaseError for sources
    that only one tool reads."""
    content = read_toml(path)
    poetry = table(content, path, "tool", "poetry")
    project = table(content, path, "project")
    if "dependencies" not in project:
        if "dependencies" in poetry:
            raise ReleaseError(
                f"{path} is only read by poetry, and there is no lock",
                cure=f"run `poetry lock`, then {POETRY}",
            )
        return None
    _refuse_uv_sources(path)
    _refuse_poetry_sources(path, poetry)
    if table(content, path, "tool", "pdm").get("source"):
        raise ReleaseError(
            f"{path}: [tool.pdm] names sources of its own", cure=f"run `pdm lock`, then {PDM}"
        )
    lines = entries(project, path, "dependencies", str)
    return of_lines("\n".join(lines) + "\n", path, source)


def _refuse_uv_sources(path: Path) -> None:
    names = sorted(table(uv_settings(path), path, "sources"))
    if names:
        raise ReleaseError(
            f"{path}: [tool.uv.sources] says where {', '.join(names)} is from",
            cure="run `uv lock` there",
        )


def _refuse_poetry_sources(path: Path, poetry: dict[str, Any]) -> None:
    names = []
    for name, wish in table(poetry, path, "dependencies").items():
        if isinstance(wish, dict) and not _POETRY_SOURCES.isdisjoint(wish):
            names.append(name)
    if names:
        what = f"says where {', '.join(sorted(names))} is from"
    elif poetry.get("source"):
        what = "names sources of its own"
    else:
        return
    raise ReleaseError(f"{path}: [tool.poetry] {what}", cure=f"run `poetry lock`, then {POETRY}")


# ------------------------------------------------------------------------------------- other tools


def only_read_by(tool: str, export: str) -> Callable[[Path, Source], Requirements | None]:
    """A reader that refuses a file of another tool, unless a requirements.txt is next to it."""

    def read(path: Path, source: Source) -> Requirements | None:
        if (path.parent / "requirements.txt").is_file():
            return None
        raise ReleaseError(f"{path} is only read by {tool}", cure=f"next to it, run {export}")

    return read
