"""What a project asks for: its lock, or else its list of requirements, and where in the repository
that is.

Nothing is resolved here. What names a source that can't be honoured later is refused here, by its
name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rollout.release import project_files
from rollout.release.declared import Requirements, is_pylock
from rollout.release.errors import ReleaseError
from rollout.release.requirement_files import other_files, plain
from rollout.release.source import Source
from rollout.stacks import ROOT

Reader = Callable[[Path, Source], Requirements | None]

# In this order: a lock says more than a list of wishes.
_READERS: dict[str, Reader] = {
    "uv.lock": project_files.uv_lock,
    "pylock.toml": project_files.pylock,
    "poetry.lock": project_files.only_read_by("poetry", project_files.POETRY),
    "Pipfile.lock": project_files.only_read_by("pipenv", project_files.PIPENV),
    "pdm.lock": project_files.only_read_by("pdm", project_files.PDM),
    "Pipfile": project_files.only_read_by("pipenv", f"`pipenv lock` and {project_files.PIPENV}"),
    "requirements.txt": plain,
    "pyproject.toml": project_files.pyproject,
    "requirements/production.txt": plain,
    "requirements/prod.txt": plain,
}


def requirements(source: Source, file: str = "") -> Requirements:
    """The project's lock, else its requirements, from its folder or the nearest one above inside
    the same repository; `file` is the one that the stack's config names, relative to the project's
    folder.

    The lock of a uv workspace is found from any of its members. Raises ReleaseError where there are
    none, they are in a form that only another tool reads, or they name a source that can't be
    honoured.
    """
    if file:
        return _named(source, file)
    folders = _folders(source)
    for folder in folders:
        root = project_files.workspace_above(folder)
        if root:
            return project_files.of_workspace(folder, root)
        wanted = _of_folder(folder, source)
        if wanted:
            return wanted
    looked = ", ".join(str(folder) for folder in folders)
    raise ReleaseError(
        f"{source.label} says nowhere what it needs (looked in {looked})",
        cure="put a requirements.txt, uv.lock, pylock.toml or pyproject.toml with dependencies"
        f" next to manage.py{_others(source)}",
    )


def _of_folder(folder: Path, source: Source) -> Requirements | None:
    for name, read in _READERS.items():
        if (folder / name).is_file():
            wanted = read(folder / name, source)
            if wanted is not None:
                return wanted
    return None


def _named(source: Source, file: str) -> Requirements:
    path = source.folder / file
    reason = ""
    if not path.resolve().is_relative_to(source.roof.resolve()):
        reason = "is outside of the repository"
    elif not path.is_file():
        reason = "does not exist"
    if reason:
        raise ReleaseError(
            f"requirements: {path} {reason}",
            cure=f"correct it in the stack's config{_others(source)}",
        )
    read = project_files.pylock if is_pylock(path) else _READERS.get(path.name, plain)
    wanted = read(path, source)
    if wanted is None:
        raise ReleaseError(
            f"requirements: {path} names no dependencies", cure="correct it in the stack's config"
        )
    return wanted


def _others(source: Source) -> str:
    names = other_files(source.folder)
    if not names:
        return ""
    return f"; or name another file in the stack's config: `requirements: {names[0]}`"


def _folders(source: Source) -> list[Path]:
    """The project's folder and those above it inside its repository, the nearest first."""
    folders = [source.folder]
    if source.roof in source.folder.parents:
        for parent in source.folder.parents:
            folders.append(parent)
            if parent == source.roof:
                break
    # The kit's own lock says nothing about the application.
    return [folder for folder in folders if folder != ROOT]
