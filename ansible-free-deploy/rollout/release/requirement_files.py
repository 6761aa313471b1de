"""Requirements files as pip reads them: lines, includes, constraints, and folders of this machine.

A folder that a line names has to belong to the project; it is written with its full path.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from packaging.utils import canonicalize_name

from rollout.release.declared import Requirements, neighbour, read_text, table, uv_settings
from rollout.release.errors import ReleaseError
from rollout.release.lines import name_of
from rollout.release.source import Source

_URL = re.compile(r"[a-z+]+://", re.IGNORECASE)
_LOCAL = re.compile(
    r"(?:-e\b|--editable)[ =]*(?P<editable>\S+)|(?P<path>(?:\.{1,2}/|/)\S*|\.{1,2}(?:\[\S*|$))"
)
_EXTRAS = re.compile(r"\[[\w\s,.-]*\](?=\s*(?:@|;|$))")
_AT_FILE = re.compile(r"[\w.\[\],-]+\s*@\s*(?:file:(?://)?(?P<file>/\S*)|(?P<path>\.\S*))")
_FOR_WORK = re.compile(r"dev|test|lint|docs?$|\bci\b|local", re.IGNORECASE)


def plain(path: Path, source: Source) -> Requirements:
    """The requirements of a file of lines. Raises ReleaseError for a line that can't be honoured
    for the hosts."""
    wanted = of_lines("\n".join(_lines(path)) + "\n", path, source)
    for folder in dict.fromkeys([path.parent, source.folder]):
        if (folder / "pyproject.toml").is_file():
            _refuse_bare_names(wanted, folder / "pyproject.toml")
    return wanted


def of_lines(text: str, path: Path, source: Source) -> Requirements:
    """The requirements of these lines. Folders are written in full; each has to belong to the
    project."""
    lines: list[str] = []
    local: list[Path] = []
    for line in text.splitlines():
        place = _local_path(line, path.parent)
        if place is None:
            lines.append(line)
            continue
        _require_own(place, line, path, source)
        local.append(place)
        lines.append(_with_full_path(place, line))
    joined = "".join(f"{line}\n" for line in lines)
    return Requirements(joined, path, source.folder, source.roof, tuple(local))


def _refuse_bare_names(wanted: Requirements, pyproject: Path) -> None:
    """Raise ReleaseError where a line names a package that the project takes from elsewhere, and
    has neither its address nor its hash."""
    names = set()
    for line in wanted.text.splitlines():
        if line[:1].isalnum() and "@" not in line and "--hash" not in line:
            names.add(name_of(line))
    sources = table(uv_settings(pyproject), pyproject, "sources")
    elsewhere = {canonicalize_name(name) for name in sources}
    bare = sorted(elsewhere & names)
    if bare:
        raise ReleaseError(
            f"{wanted.path}: {', '.join(bare)} is from elsewhere by [tool.uv.sources] in"
            f" {pyproject}, and has no hash here",
            cure="run `uv lock` there",
        )


# ------------------------------------------------------------------------------------- other files


def other_files(folder: Path) -> list[str]:
    """Requirements files of a project that are not the usual one, production's first, as
    `requirements:` names them."""
    paths = [*folder.glob("requirements/*.txt"), *folder.glob("requirements[-_.]*.txt")]
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    return sorted(names, key=lambda name: "prod" not in name)


def other_requirements(wanted: Requirements, without: Collection[str] = ()) -> list[str]:
    """As `other_files`, of the project that asks, without the file that it asks in, those for
    developers, and those that name one of the packages in `without` as well."""
    folder = wanted.project
    if folder is None:
        return []
    names: list[str] = []
    for name in other_files(folder):
        path = folder / name
        if path == wanted.path or _FOR_WORK.search(name):
            continue
        if not _names_one_of(path, without):
            names.append(name)
    return names


def _names_one_of(path: Path, packages: Collection[str]) -> bool:
    """Whether a file names one of the packages, or can't be installed from at all."""
    try:
        lines = _lines(path)
    except ReleaseError:
        return True
    for line in lines:
        if name_of(line) in packages:
            return True
        if re.match(r"psycopg\[[^]]*\bc\b", line) and "psycopg-c" in packages:
            return True
    return False


# -------------------------------------------------------------------------------------------- lines


def _lines(path: Path, above: tuple[Path, ...] = ()) -> list[str]:
    """The lines of a file with those of the files that it includes, and folders of wheels by their
    full paths. `above` are the files that include this one."""
    if path in above:
        raise ReleaseError(f"{path} includes itself", cure="remove one of the -r lines")
    lines: list[str] = []
    for raw in read_text(path).replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        if line:
            lines += _expanded(line, path, above)
    return lines


def _expanded(line: str, path: Path, above: tuple[Path, ...]) -> list[str]:
    """The lines that one line stands for."""
    include = re.match(r"(?:-r|--requirement)[ =]?\s*(\S+)", line)
    if include:
        return _lines(neighbour(path, include[1]), (*above, path))
    constraint = re.match(r"(?:-c|--constraint)[ =]?\s*(\S+)", line)
    if constraint:
        return _constraints(path, constraint[1])
    links = re.match(r"(-f|--find-links)[ =]+(\S+)", line)
    if links:
        place = links[2]
        if not _URL.match(place):
            place = str((path.parent / place).resolve())
        return [f"--find-links {place}"]
    requirement = re.sub(r"^(-e\b|--editable)[ =]*(?=\w+\+\w+:)", "", line)
    if above:
        folder = _local_path(requirement, path.parent)
        if folder:
            return [_with_full_path(folder, requirement)]
    return [requirement]


def _constraints(path: Path, name: str) -> list[str]:
    """The file by its full path, and its text as comments, so that a change of it is a change of
    what is asked for."""
    other = neighbour(path, name)
    return [f"-c {other.resolve()}", *(f"# {line}" for line in read_text(other).splitlines())]


# -------------------------------------------------------------------------- folders of this machine


def _local_path(line: str, folder: Path) -> Path | None:
    """The folder or wheel of this machine that a line names."""
    match = _LOCAL.match(line) or _AT_FILE.match(line)
    if match is None:
        return None
    given = [text for text in match.groupdict().values() if text]
    if not given:
        return None
    place = given[0]
    if _URL.match(place) and not place.startswith("file:"):
        return None  # `-e git+https://…` is a repository, and refused when it is resolved
    without_scheme = re.sub(r"^file:(//)?", "", place)
    without_extras = re.sub(r"\[[^]/]*\]$", "", without_scheme)
    return (folder / without_extras).resolve()


def _require_own(place: Path, line: str, path: Path, source: Source) -> None:
    """Raise ReleaseError for a folder that is no package of the project's repository."""
    is_inside = place.is_relative_to(source.roof.resolve()) and place != source.folder.resolve()
    if not is_inside or not _is_package(place):
        raise ReleaseError(
            f"{path}: `{line}` is a folder of this machine",
            cure="remove the line if it is the project itself, which goes along as it is, or name a"
            " package of the same repository or an index",
        )


def _is_package(place: Path) -> bool:
    if place.suffix == ".whl":
        return True
    return (place / "pyproject.toml").is_file() or (place / "setup.py").is_file()


def _with_full_path(place: Path, line: str) -> str:
    """A line that names a folder, with that in full; its extras and its marker stay."""
    requirement, separator, marker = line.partition(" ;")
    extras = _EXTRAS.search(requirement)
    return str(place) + (extras[0] if extras else "") + separator + marker
