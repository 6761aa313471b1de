"""The packages that a project names, in whichever file: for what a host will lack, and what can't
be installed there. Only reads; what is installed is decided by `rollout.release.wheels`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from rollout.release import ways_out
from rollout.release.declared import is_pylock


@dataclass(frozen=True)
class Package:
    """One line: `name` in the index's spelling, `specifier` as it is written, `extras` in
    brackets."""

    name: str
    specifier: str = ""
    extras: tuple[str, ...] = ()
    file: str = ""


def of_text(text: str, file: str) -> list[Package]:
    """The packages that a file's text names: a lock's or a list of requirements."""
    name = file.rsplit("/", 1)[-1]
    if name in ("uv.lock", "poetry.lock") or is_pylock(Path(name)):
        return list(_locked(text, file))
    if name == "Pipfile.lock":
        return list(_locked_by_pipenv(text, file))
    return _of_lines(text.splitlines(), file)


def _of_lines(lines: Iterable[object], file: str) -> list[Package]:
    packages = []
    for line in lines:
        package = _of_line(line, file) if isinstance(line, str) else None
        if package:
            packages.append(package)
    return packages


def _of_line(line: str, file: str) -> Package | None:
    text = re.sub(r"(^|\s)#.*|\s--hash=\S+|\\$", "", line).strip()
    try:
        wanted = Requirement(text)
    except InvalidRequirement:
        return None
    extras = tuple(sorted(wanted.extras))
    return Package(
        canonicalize_name(wanted.name),
        str(wanted.specifier),
        extras,
        file,
    )


# ------------------------------------------------------------------------------------------ locks


def _locked(text: str, file: str) -> Iterator[Package]:
    wanted = _default_of_uv(text) if file.endswith("uv.lock") else None
    pattern = r'^name = "([^"]+)"\nversion = "([^"]+)"'
    for name, version in re.findall(pattern, text, re.MULTILINE):
        normal = canonicalize_name(name)
        if wanted is None or normal in wanted:
            yield Package(normal, f"=={version}", (), file)


def _locked_by_pipenv(text: str, file: str) -> Iterator[Package]:
    pattern = r'"([\w.-]+)":\s*{[^{}]*?"version":\s*"([^"]+)"'
    for name, version in re.findall(pattern, text):
        yield Package(canonicalize_name(name), version, (), file)


def _default_of_uv(text: str) -> set[str] | None:
    """The packages that the projects of a uv.lock need without extras and groups.

    None where that can't be found out.
    """
    try:
        listed = tomllib.loads(text).get("package", [])
        by_name = {package["name"]: package for package in listed}
        projects = []
        for package in listed:
            if {"virtual", "editable"} & package.get("source", {}).keys():
                projects.append(package["name"])
        return _reached(by_name, projects) or None
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError):
        return None


def _reached(by_name: Mapping[str, Any], names: list[str]) -> set[str]:
    """These packages and all that they need, with the extras that are asked for."""
    reached: set[tuple[str, str]] = set()
    left = [(name, "") for name in names]
    while left:
        name, extra = left.pop()
        if (name, extra) in reached or name not in by_name:
            continue
        reached.add((name, extra))
        for need in _needs(by_name[name], extra):
            extras = need.get("extra", [])
            for inner_extra in ("", *extras):
                left.append((need["name"], inner_extra))
    return {canonicalize_name(name) for name, _ in reached}


def _needs(facts: Mapping[str, Any], extra: str) -> list[Any]:
    """The needs of a locked package, or of one of its extras."""
    if not extra:
        needs: list[Any] = facts.get("dependencies", [])
        return needs
    of_extra: list[Any] = facts.get("optional-dependencies", {}).get(extra, [])
    return of_extra


# ------------------------------------------------------------------------------ a project's files


def named_anywhere(folder: Path) -> list[Package]:
    """All that the project's own files name, whether or not the kit can install from them."""
    packages: list[Package] = []
    for pattern in ("*requirements*.txt", "requirements/*.txt", "Pipfile.lock", "poetry.lock"):
        for path in sorted(folder.glob(pattern)):
            name = path.relative_to(folder).as_posix()
            packages += of_text(_text(path), name)
    return packages + _of_pyproject(folder)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""


def _of_pyproject(folder: Path) -> list[Package]:
    file = "pyproject.toml"
    data = _toml(folder / file)
    dependencies = _table(data, "project").get("dependencies")
    packages = _of_lines(_list(dependencies), file)
    for name in _table(data, "tool", "poetry", "dependencies"):
        if name != "python":
            packages.append(Package(canonicalize_name(name), "", (), file))
    return packages


def extras_of(pyproject: Path) -> dict[str, set[str]]:
    """The extras of a project, each with the names of its packages."""
    extras = {}
    optional = _table(_toml(pyproject), "project", "optional-dependencies")
    for extra, lines in optional.items():
        packages = _of_lines(_list(lines), pyproject.name)
        extras[extra] = {package.name for package in packages}
    return extras


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError:
        return {}


def _table(data: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """A table within tables; an empty one where it is none."""
    table: Any = data
    for key in keys:
        if not isinstance(table, dict):
            return {}
        table = table.get(key)
    return table if isinstance(table, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# ------------------------------------------------------------------------------------------- pins


def below_floor(packages: list[Package], floor: Mapping[str, str]) -> Iterator[tuple[Package, str]]:
    """Each package that is held below what is needed, with that need; `floor` is name → least
    version."""
    for package in packages:
        least = floor.get(package.name)
        if least and not _may_be(package.specifier, least):
            yield package, f"{package.name}>={least}"


def _may_be(specifier: str, least: str) -> bool:
    """Whether a specifier allows `least` or anything newer."""
    try:
        limits = SpecifierSet(specifier)
        version = Version(least)
        return all(_allows(limit.operator, limit.version, version) for limit in limits)
    except (InvalidSpecifier, InvalidVersion):
        return True


def _allows(operator: str, text: str, least: Version) -> bool:
    version = Version(text.removesuffix(".*"))
    match operator:
        case "==" | "===" if text.endswith(".*"):
            return _padded(version, least) >= least.release
        case "==" | "===" | "<=":
            return version >= least
        case "<":
            return version > least
        case "~=":
            prefix = version.release[:-1]
            return prefix >= least.release[: len(prefix)]
    return True


def _padded(version: Version, least: Version) -> tuple[int, ...]:
    """The highest release with this prefix, as long as `least`."""
    lacking = len(least.release) - len(version.release)
    return version.release + (999,) * lacking


@dataclass(frozen=True)
class SourceAlone:
    """A package that no index has a wheel of, as it is `written` in `file`.

    `lacks` are the Debian packages that a build needs and a build machine doesn't have. `instead`
    is empty where no other package is known.
    """

    written: str
    file: str
    instead: str
    lacks: tuple[str, ...]


def without_wheel(packages: list[Package]) -> Iterator[SourceAlone]:
    """Those that are known to come as source alone, with something to compile in them."""
    for package in packages:
        name = package.name
        written = package.name
        if name == "psycopg" and "c" in package.extras:
            name = "psycopg-c"
            written = "psycopg[c]"
        if name not in ways_out.NEVER_A_WHEEL:
            continue
        yield SourceAlone(
            f"{written}{package.specifier}",
            package.file,
            ways_out.INSTEAD.get(name, ""),
            ways_out.NEVER_A_WHEEL[name],
        )
