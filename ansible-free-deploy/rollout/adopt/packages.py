"""The packages that a project names, in whichever file: for what a host will lack, and what can't
be installed there. Only reads; what is installed is decided by `rollout.release.wheels`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from rollout.release import ways_out
from rollout.release.needs import is_pylock


@dataclass(frozen=True)
class Package:
    """One line: `name` in the index's spelling, `specifier` as it is written, `extras` in
    brackets."""

    name: str
    specifier: str = ""
    extras: tuple[str, ...] = ()
    file: str = ""


def of_text(text: str, file: str) -> list[Package]:
    """Those of a file's text: a lock's or a list of requirements."""
    name = file.rsplit("/", 1)[-1]
    if name in ("uv.lock", "poetry.lock") or is_pylock(Path(name)):
        return list(_locked(text, file))
    if name == "Pipfile.lock":
        return [
            Package(canonicalize_name(one[0]), one[1], (), file)
            for one in re.findall(r'"([\w.-]+)":\s*{[^{}]*?"version":\s*"([^"]+)"', text)
        ]
    return [found for line in text.splitlines() if (found := _line(line, file))]


def _locked(text: str, file: str) -> Iterator[Package]:
    wanted = _default_of_uv(text) if file.endswith("uv.lock") else None
    for name, version in re.findall(r'^name = "([^"]+)"\nversion = "([^"]+)"', text, re.MULTILINE):
        if wanted is None or canonicalize_name(name) in wanted:
            yield Package(canonicalize_name(name), f"=={version}", (), file)


def _default_of_uv(text: str) -> set[str] | None:
    """The packages of a uv.lock that its own projects need without extras and groups; None where
    that can't be told."""
    try:
        listed = tomllib.loads(text).get("package", [])
        known = {one["name"]: one for one in listed}
        own = [
            one["name"] for one in listed if {"virtual", "editable"} & one.get("source", {}).keys()
        ]
        return _reached(known, own) or None
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError):
        return None


def _reached(known: Mapping[str, Any], names: list[str]) -> set[str]:
    """These packages and all that they need, with the extras that are asked for."""
    found, left = set[tuple[str, str]](), [(name, "") for name in names]
    while left:
        if (one := left.pop()) in found or one[0] not in known:
            continue
        found.add(one)
        name, extra = one
        facts = known[name]
        needs = (
            facts.get("optional-dependencies", {}).get(extra, [])
            if extra
            else facts.get("dependencies", [])
        )
        left += [(need["name"], more) for need in needs for more in ("", *need.get("extra", []))]
    return {canonicalize_name(name) for name, _ in found}


def _line(line: str, file: str) -> Package | None:
    text = re.sub(r"(^|\s)#.*|\s--hash=\S+|\\$", "", line).strip()
    try:
        found = Requirement(text)
    except InvalidRequirement:
        return None
    return Package(
        canonicalize_name(found.name), str(found.specifier), tuple(sorted(found.extras)), file
    )


def named_anywhere(folder: Path) -> list[Package]:
    """All that the project's own files name, whether or not the kit can install from them."""
    found: list[Package] = []
    for pattern in ("*requirements*.txt", "requirements/*.txt", "Pipfile.lock", "poetry.lock"):
        for path in sorted(folder.glob(pattern)):
            found += of_text(_text(path), path.relative_to(folder).as_posix())
    return found + _of_pyproject(folder)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""


def _of_pyproject(folder: Path) -> list[Package]:
    try:
        data: Mapping[str, Any] = tomllib.loads(_text(folder / "pyproject.toml"))
    except tomllib.TOMLDecodeError:
        return []
    project, tool = data.get("project"), data.get("tool")
    lines = project.get("dependencies") if isinstance(project, dict) else None
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    names = poetry.get("dependencies") if isinstance(poetry, dict) else None
    plain = [one for one in lines if isinstance(one, str)] if isinstance(lines, list) else []
    found = [one for line in plain if (one := _line(line, "pyproject.toml"))]
    listed = names if isinstance(names, dict) else {}
    return found + [
        Package(canonicalize_name(name), "", (), "pyproject.toml")
        for name in listed
        if name != "python"
    ]


# --------------------------------------------------------------------------------------------- pins


def below_floor(packages: list[Package], floor: Mapping[str, str]) -> Iterator[tuple[Package, str]]:
    """Each package that is held below what is needed, with that need; `floor` is name → least
    version."""
    for one in packages:
        if one.name in floor and not _may_be(one.specifier, floor[one.name]):
            yield one, f"{one.name}>={floor[one.name]}"


def _may_be(specifier: str, least: str) -> bool:
    """Whether a specifier leaves room for `least` or anything newer."""
    try:
        limits = SpecifierSet(specifier)
        return all(_leaves_room(limit.operator, limit.version, Version(least)) for limit in limits)
    except (InvalidSpecifier, InvalidVersion):
        return True


def _leaves_room(operator: str, text: str, least: Version) -> bool:
    version = Version(text.removesuffix(".*"))
    match operator:
        case "==" | "===":
            return (
                _padded(version, least) >= least.release
                if text.endswith(".*")
                else version >= least
            )
        case "<=":
            return version >= least
        case "<":
            return version > least
        case "~=":
            return version.release[:-1] >= least.release[: len(version.release) - 1]
    return True


def _padded(version: Version, least: Version) -> tuple[int, ...]:
    return version.release + (999,) * (len(least.release) - len(version.release))


@dataclass(frozen=True)
class SourceAlone:
    """A package that no index has a wheel of, as it is `written` in `file`; `lacks` are the Debian
    packages without which it can't be built on a build machine. `instead` is empty where nothing is
    known."""

    written: str
    file: str
    instead: str
    lacks: tuple[str, ...]


def without_wheel(packages: list[Package]) -> Iterator[SourceAlone]:
    """Those that are known to come as source alone, with something to compile in them."""
    for one in packages:
        is_c = one.name == "psycopg" and "c" in one.extras
        name = "psycopg-c" if is_c else one.name
        if name in ways_out.NEVER_A_WHEEL:
            written = f"psycopg[c]{one.specifier}" if is_c else f"{one.name}{one.specifier}"
            yield SourceAlone(
                written, one.file, ways_out.INSTEAD.get(name, ""), ways_out.NEVER_A_WHEEL[name]
            )
