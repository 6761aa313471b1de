"""Where the code of a release is: a folder of this machine, or a commit of a repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.core.rules import hide_password
from infra.core.settings import Settings
from rollout.release import git
from rollout.release.errors import ReleaseError, disk_errors_reported
from rollout.release.repositories import repository
from rollout.release.unpacked import Unpacked
from rollout.stacks import ROOT


@dataclass(frozen=True)
class Source:
    """`folder` holds manage.py; `label` names it in messages; `roof` is the highest folder that
    belongs to it.

    `work_tree` says that git knows which files are by-products; `commit` is the one checked out,
    where there is one, and `changed` says that the files differ from it.
    """

    folder: Path
    label: str
    roof: Path
    work_tree: bool = False
    commit: str | None = None
    changed: bool = False


@disk_errors_reported()
def local(folder: Path) -> Source:
    """A folder of this machine. Raises ReleaseError where there is none, or it is no Django
    project."""
    here = folder.resolve()
    top = git.work_tree_of(here) if here.is_dir() else None
    commit = None
    if top and git.knows(here, "manage.py"):
        commit = git.head(top)
    changed = commit is not None and git.is_changed(here)
    source = Source(here, str(folder), top or here, top is not None, commit, changed)
    _require_django(source, "backend_path")
    return source


@disk_errors_reported()
def page(folder: Path) -> Source:
    """A folder of built files. Where git tracks none of them, the commit is that of the sources
    around it."""
    here = folder.resolve()
    top = git.work_tree_of(here) if here.is_dir() else None
    commit = git.head(top) if top else None
    if top is None or commit is None:
        return Source(folder, str(folder), here)
    sources = here
    while sources != top and not git.tracks_anything(sources):
        sources = sources.parent
    return Source(
        folder,
        str(folder),
        top,
        True,
        commit,
        git.is_changed(sources),
    )


@disk_errors_reported()
def from_git(url: str, ref: str = "", inside: str = "") -> Source:
    """The project at `inside` of a repository, unpacked once per commit in the cache. `ref` is a
    branch, tag or commit; empty: the default branch.

    Raises ReleaseError for a repository that can't be reached, an unknown ref, or no Django project
    at `inside`.
    """
    tree, name = repository(url, ref), hide_password(url)
    commit = tree.name
    if (tree / ".gitmodules").exists():
        raise ReleaseError(
            f"{name} has git submodules, which are not fetched",
            cure="clone it and set backend_path",
        )
    folder = tree / inside if inside else tree
    if not folder.resolve().is_relative_to(tree.resolve()):
        raise ReleaseError(
            f"{inside} leaves the repository {name}",
            where="backend_path",
            cure="write a folder inside of it",
        )
    label = f"{name} at {ref or 'HEAD'} ({commit[:10]})"
    if inside:
        label += f", {inside}"
    source = Source(folder, label, tree, commit=commit)
    _require_django(source, "backend_path")
    return source


def source_of(settings: Settings, commit: Unpacked | None = None) -> Source:
    """The project that a stack's config names, in a `commit` where one is given that has it. Raises
    ReleaseError."""
    if settings.backend_git:
        return from_git(settings.backend_git, settings.backend_ref, settings.backend_path)
    here = commit.of(ROOT / settings.backend_path) if commit else None
    if commit is None or here is None:
        return local(ROOT / settings.backend_path)
    label = _in_commit(settings.backend_path, commit)
    source = Source(here, label, commit.folder, commit=commit.commit)
    _require_django(source, "backend_path")
    return source


def page_of(settings: Settings, commit: Unpacked | None = None) -> Source:
    """The folder of built files that a stack's config names, in a `commit` where one is given that
    has it. Raises ReleaseError for a commit without it."""
    here = commit.of(ROOT / settings.frontend_path) if commit else None
    if commit is None or here is None:
        return page(ROOT / settings.frontend_path)
    if not here.is_dir():
        raise ReleaseError(
            f"commit {commit.commit[:12]} has no folder {settings.frontend_path}",
            where="frontend_path",
            cure="git has no built page: check the branch out, build it, and run this there",
        )
    label = _in_commit(settings.frontend_path, commit)
    return Source(here, label, commit.folder, commit=commit.commit)


def _in_commit(path: str, commit: Unpacked) -> str:
    return f"{path} at {commit.commit[:10]}"


def _require_django(source: Source, key: str) -> None:
    if not source.folder.is_dir():
        raise ReleaseError(
            f"there is no folder {source.label}",
            where=key,
            cure="correct it in the stack's config",
        )
    if (source.folder / "manage.py").is_file():
        return
    hint = "name the folder that holds it"
    candidates = sorted(path.parent.name for path in source.folder.glob("*/manage.py"))
    if candidates:
        hint = f"did you mean {source.folder.name}/{candidates[0]}?"
    raise ReleaseError(
        f"{source.label} has no manage.py, so it is no Django project",
        where=key,
        cure=hint,
    )
