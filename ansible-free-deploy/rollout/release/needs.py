"""What a project asks for: its lock, or else its list of requirements, and where in the repository
that is.

Nothing is resolved here. What names a source that nobody could honour later is refused here, by its
name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from rollout.outputs import ROOT
from rollout.release.source import ReleaseError, Source

_URL = re.compile(r"[a-z+]+://", re.IGNORECASE)
_LOCAL = re.compile(
    r"(?:-e\b|--editable)[ =]*(?P<editable>\S+)|(?P<path>(?:\.{1,2}/|/)\S*|\.{1,2}(?:\[\S*|$))"
)
_EXTRAS = re.compile(r"\[[\w\s,.-]*\](?=\s*(?:@|;|$))")
_AT_FILE = re.compile(r"[\w.\[\],-]+\s*@\s*(?:file:(?://)?(?P<file>/\S*)|(?P<path>\.\S*))")


@dataclass(frozen=True)
class Requirements:
    """What a project asks for: `text` determines it, `path` is the file that it is from.

    `project` is the folder that asks, `roof` the highest folder whose packages are the project's
    own, `local` those of its own packages, which are built from what is there.
    """

    text: str
    path: Path
    project: Path | None = None
    roof: Path | None = None
    local: tuple[Path, ...] = ()

    @property
    def file(self) -> str:
        """How messages call it."""
        return self.path.name

    @property
    def is_lock(self) -> bool:
        """Whether another tool has pinned everything in it, with hashes."""
        return self.path.name == "uv.lock" or is_pylock(self.path)


def is_pylock(path: Path) -> bool:
    """Whether a file has a name of PEP 751."""
    return re.fullmatch(r"pylock(\.[^.]+)?\.toml", path.name) is not None


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
    for folder in _folders(source):
        if root := _workspace_above(folder):
            return _of_workspace(folder, root)
        for name, read in _READERS.items():
            if (folder / name).is_file() and (found := read(folder / name, source)) is not None:
                return found
    looked = ", ".join(dict.fromkeys(str(folder) for folder in _folders(source)))
    raise ReleaseError(
        f"{source.label} says nowhere what it needs (looked in {looked})",
        cure="put a requirements.txt,"
        " uv.lock, pylock.toml or pyproject.toml with dependencies beside"
        f" manage.py{_others(source)}",
    )


def _named(source: Source, file: str) -> Requirements:
    path = source.folder / file
    read = _pylock if is_pylock(path) else _READERS.get(path.name, _plain)
    inside = path.resolve().is_relative_to(source.roof.resolve())
    if not inside or not path.is_file():
        why = "does not exist" if inside else "is outside of the repository"
        raise ReleaseError(
            f"requirements: {path} {why}", cure=f"correct it in the stack's config{_others(source)}"
        )
    found = read(path, source)
    if found is None:
        raise ReleaseError(
            f"requirements: {path} names no dependencies", cure="correct it in the stack's config"
        )
    return found


def other_files(folder: Path) -> list[str]:
    """Requirements files of a project that are not the usual one, production's first, as
    `requirements:` names them."""
    found = [*folder.glob("requirements/*.txt"), *folder.glob("requirements[-_.]*.txt")]
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return sorted(names, key=lambda name: "prod" not in name)


_FOR_WORK = re.compile(r"dev|test|lint|docs?$|\bci\b|local", re.IGNORECASE)


def other_requirements(wanted: Requirements, without: Collection[str] = ()) -> list[str]:
    """As `other_files`, of the project that asks, without the file that it asks in, those for who
    works on it, and those that name one of the packages in `without` as well."""
    folder = wanted.project
    if folder is None:
        return []
    names = [
        name
        for name in other_files(folder)
        if folder / name != wanted.path and not _FOR_WORK.search(name)
    ]
    return [name for name in names if not _name_one(folder / name, without)]


def _name_one(path: Path, packages: Collection[str]) -> bool:
    try:
        found = {
            canonicalize_name(re.split(r"[\s=\[;<>~!@]", line, maxsplit=1)[0])
            for line in _lines(path)
        }
    except ReleaseError:
        return True  # nobody could install from it
    extras = (
        {"psycopg-c"}
        if any(re.match(r"psycopg\[[^]]*\bc\b", line) for line in _lines(path))
        else set()
    )
    return not found.isdisjoint(packages) or not extras.isdisjoint(packages)


def _others(source: Source) -> str:
    found = other_files(source.folder)
    return (
        f"; or name another file in the stack's config: `requirements: {found[0]}`" if found else ""
    )


def _folders(source: Source) -> list[Path]:
    above = [source.folder, *source.folder.parents]
    inside = above[: above.index(source.roof) + 1] if source.roof in above else above[:1]
    return [
        folder for folder in inside if folder != ROOT
    ]  # the kit's own lock says nothing about the application


# ----------------------------------------------------------------------------------------------- uv


def _workspace_above(folder: Path) -> Path | None:
    """The root of the uv workspace that `folder` is a member of, where that is another folder. uv
    looks as far up."""
    if not (folder / "pyproject.toml").is_file():
        return None
    for parent in folder.parents:
        if not (parent / "pyproject.toml").is_file():
            continue
        workspace = _uv_settings(parent / "pyproject.toml").get("workspace")
        if isinstance(workspace, dict):
            return parent if _is_member(folder, parent, workspace) else None
    return None


def _is_member(folder: Path, root: Path, workspace: dict[str, Any]) -> bool:
    def matches(key: str) -> bool:
        patterns = [pattern for pattern in workspace.get(key, []) if not pattern.startswith("/")]
        return any(folder in root.glob(pattern.rstrip("/")) for pattern in patterns)

    return matches("members") and not matches("exclude")


def _of_workspace(folder: Path, root: Path) -> Requirements:
    if not (root / "uv.lock").is_file():
        raise ReleaseError(
            f"{folder} is a member of the uv workspace {root}, which has no uv.lock",
            cure="run `uv lock` there",
        )
    return _of_uv_lock(root / "uv.lock", folder)


def _uv_lock(path: Path, source: Source) -> Requirements:
    return _of_uv_lock(path, path.parent, source.roof)


def _of_uv_lock(path: Path, project: Path, roof: Path | None = None) -> Requirements:
    root = path.parent
    roof = roof if roof and root.is_relative_to(roof) else root
    text = "".join(
        _text(one)
        for one in dict.fromkeys(
            [path, _beside(path, "pyproject.toml"), project / "pyproject.toml"]
        )
    )
    with _readable(path):
        sources = [package.get("source", {}) for package in _toml(path).get("package", [])]
        folders = [
            root / place
            for one in sources
            for place in (one.get("editable"), one.get("directory"))
            if place
        ]
    return Requirements(text, path, project, roof, _own(folders, project, roof))


def _own(folders: Iterable[Path], project: Path, roof: Path) -> tuple[Path, ...]:
    """The packages among these folders that are part of the project's repository, without the
    project itself."""
    resolved = dict.fromkeys(folder.resolve() for folder in folders)
    return tuple(
        one for one in resolved if one != project.resolve() and one.is_relative_to(roof.resolve())
    )


def _uv_settings(pyproject: Path) -> dict[str, Any]:
    found = _toml(pyproject).get("tool", {}).get("uv", {})
    return found if isinstance(found, dict) else {}


# ------------------------------------------------------------------------------- PEP 751, pyproject


def _pylock(path: Path, source: Source) -> Requirements:
    with _readable(path):
        packages = _toml(path).get("packages", [])
        folders = [
            path.parent / one["directory"]["path"]
            for one in packages
            if "path" in one.get("directory", {})
        ]
    return Requirements(
        _text(path), path, source.folder, source.roof, _own(folders, source.folder, source.roof)
    )


def _pyproject(path: Path, source: Source) -> Requirements | None:
    """`dependencies` without a lock. Sources that are written for one tool only are not resolved
    past."""
    found = _toml(path)
    poetry = found.get("tool", {}).get("poetry", {})
    project = found.get("project", {})
    if "dependencies" not in project:
        if "dependencies" in poetry:
            raise ReleaseError(
                f"{path} is only read by poetry, and there is no lock",
                cure=f"run `poetry lock`, then {_POETRY}",
            )
        return None
    if names := sorted(_uv_settings(path).get("sources", {})):
        raise ReleaseError(
            f"{path}: [tool.uv.sources] says where {', '.join(names)} is from",
            cure="run `uv lock` there",
        )
    wishes = poetry.get("dependencies", {})
    apart = [
        name
        for name, wish in wishes.items()
        if isinstance(wish, dict) and _POETRY_SOURCES & wish.keys()
    ]
    if apart or poetry.get("source"):
        what = (
            f"says where {', '.join(sorted(apart))} is from"
            if apart
            else "names sources of its own"
        )
        raise ReleaseError(
            f"{path}: [tool.poetry] {what}", cure=f"run `poetry lock`, then {_POETRY}"
        )
    if found.get("tool", {}).get("pdm", {}).get("source"):
        raise ReleaseError(
            f"{path}: [tool.pdm] names sources of its own", cure=f"run `pdm lock`, then {_PDM}"
        )
    return _of_lines("\n".join(project["dependencies"]) + "\n", path, source)


_POETRY_SOURCES = {"path", "git", "url", "source"}
_POETRY = (
    "`poetry self add poetry-plugin-export` (once) and `poetry export -f requirements.txt -o"
    " requirements.txt`"
)
_PIPENV = "`pipenv requirements --hash > requirements.txt`"
_PDM = "`pdm export --prod -f requirements -o requirements.txt`"


def _foreign(tool: str, export: str) -> Callable[[Path, Source], Requirements | None]:
    def read(path: Path, source: Source) -> Requirements | None:
        if (path.parent / "requirements.txt").is_file():
            return None
        raise ReleaseError(f"{path} is only read by {tool}", cure=f"beside it, run {export}")

    return read


# ------------------------------------------------------------------------------- requirements files


def _plain(path: Path, source: Source) -> Requirements:
    found = _of_lines("\n".join(_lines(path)) + "\n", path, source)
    for folder in dict.fromkeys([path.parent, source.folder]):
        if (folder / "pyproject.toml").is_file():
            _refuse_bare_names(found, folder / "pyproject.toml")
    return found


def _refuse_bare_names(wanted: Requirements, pyproject: Path) -> None:
    """A list that names a package which the project takes from elsewhere, and neither says so nor
    has its hash."""
    elsewhere = {canonicalize_name(name) for name in _uv_settings(pyproject).get("sources", {})}
    bare = [line for line in wanted.text.splitlines() if "@" not in line and "--hash" not in line]
    names = {
        canonicalize_name(re.split(r"[\s=\[;<>~!]", line, maxsplit=1)[0])
        for line in bare
        if line[:1].isalnum()
    }
    if found := sorted(elsewhere & names):
        raise ReleaseError(
            f"{wanted.path}: {', '.join(found)} is from elsewhere by [tool.uv.sources] in"
            f" {pyproject}, and has no hash here",
            cure="run `uv lock` there",
        )


def _of_lines(text: str, path: Path, source: Source) -> Requirements:
    """Lines with the folders that they name in whole; those have to be the project's own."""
    lines, local = [], list[Path]()
    for line in text.splitlines():
        place = _local_path(line, path.parent)
        if place is None:
            lines.append(line)
            continue
        _refuse_stranger(place, line, path, source)
        local.append(place)
        lines.append(_whole(place, line))
    return Requirements(
        "\n".join(lines) + "\n" if lines else "", path, source.folder, source.roof, tuple(local)
    )


def _local_path(line: str, folder: Path) -> Path | None:
    match = _LOCAL.match(line) or _AT_FILE.match(line)
    given = next((text for text in match.groupdict().values() if text), None) if match else None
    if given is None or (_URL.match(given) and not given.startswith("file:")):
        return None  # `-e git+https://…` is a repository's, and refused when it is resolved
    return (folder / re.sub(r"\[[^]/]*\]$", "", re.sub(r"^file:(//)?", "", given))).resolve()


def _refuse_stranger(place: Path, line: str, path: Path, source: Source) -> None:
    inside = place.is_relative_to(source.roof.resolve()) and place != source.folder.resolve()
    package = place.suffix == ".whl" or any(
        (place / name).is_file() for name in ("pyproject.toml", "setup.py")
    )
    if not inside or not package:
        raise ReleaseError(
            f"{path}: `{line}` is a folder of this machine",
            cure="remove the line if it is the project"
            " itself, which goes along as it is, or name a package of the same repository or an"
            " index",
        )


def _lines(path: Path, above: tuple[Path, ...] = ()) -> list[str]:
    """A requirements file with what it includes in place, and folders of wheels by their full
    names."""
    if path in above:
        raise ReleaseError(f"{path} includes itself", cure="remove one of the -r lines")
    lines: list[str] = []
    for line in _text(path).replace("\\\n", " ").splitlines():
        stripped = re.sub(r"(^|\s)#.*", "", line).strip()
        if include := re.match(r"(?:-r|--requirement)[ =]?\s*(\S+)", stripped):
            lines += _lines(_beside(path, include[1]), (*above, path))
        elif constraint := re.match(r"(?:-c|--constraint)[ =]?\s*(\S+)", stripped):
            lines += _constraints(path, constraint[1])
        elif found := re.match(r"(-f|--find-links)[ =]+(\S+)", stripped):
            folder = found[2] if _URL.match(found[2]) else str((path.parent / found[2]).resolve())
            lines.append(f"--find-links {folder}")
        elif stripped:
            repository = re.sub(r"^(-e\b|--editable)[ =]*(?=\w+\+\w+:)", "", stripped)
            lines.append(_from_the_top(repository, path, above))
    return lines


def _from_the_top(line: str, path: Path, above: tuple[Path, ...]) -> str:
    """A folder that an included file names, by its full name."""
    place = _local_path(line, path.parent) if above else None
    return _whole(place, line) if place else line


def _whole(place: Path, line: str) -> str:
    """A line that names a folder, with that in full; its extras and its marker stay."""
    extras = _EXTRAS.search(line.partition(" ;")[0])
    return (
        str(place)
        + (extras[0] if extras else "")
        + (line[line.index(" ;") :] if " ;" in line else "")
    )


def _constraints(path: Path, name: str) -> list[str]:
    """The file by its full name, and its text as comments, so that a change of it is a change of
    what is asked for."""
    other = _beside(path, name)
    return [f"-c {other.resolve()}", *(f"# {line}" for line in _text(other).splitlines())]


def _beside(path: Path, name: str) -> Path:
    other = path.parent / name
    if not other.is_file():
        raise ReleaseError(
            f"{path} needs {name} beside it, and there is no such file",
            cure="add it, or correct the line",
        )
    return other


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ReleaseError(
            f"{path} is not UTF-8 (PowerShell's `>` writes UTF-16)", cure="save it as UTF-8"
        ) from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """A file of TOML that is not made as the tool makes it is an error for people."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as problem:
        raise ReleaseError(
            f"{path} is no lock that can be read: {problem!r}", cure="lock it again"
        ) from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as problem:
        raise ReleaseError(f"{path}: no TOML: {problem}", cure="correct it") from None


# In this order: a lock says more than a list of wishes.
_READERS: dict[str, Callable[[Path, Source], Requirements | None]] = {
    "uv.lock": _uv_lock,
    "pylock.toml": _pylock,
    "poetry.lock": _foreign("poetry", _POETRY),
    "Pipfile.lock": _foreign("pipenv", _PIPENV),
    "pdm.lock": _foreign("pdm", _PDM),
    "Pipfile": _foreign("pipenv", f"`pipenv lock` and {_PIPENV}"),
    "requirements.txt": _plain,
    "pyproject.toml": _pyproject,
    "requirements/production.txt": _plain,
    "requirements/prod.txt": _plain,
}
