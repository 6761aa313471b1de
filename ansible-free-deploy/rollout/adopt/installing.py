"""What of a project can't be installed or read on its hosts, each with what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from packaging.specifiers import SpecifierSet

from infra.core import debian
from rollout.adopt import packages
from rollout.adopt.extras import OnlyInExtra
from rollout.adopt.packages import Package
from rollout.adopt.project import Project
from rollout.adopt.values import RUNNING
from rollout.finding import Finding
from rollout.release import ReleaseError, ways_out
from rollout.release.additions import ADDITIONS

_MOST_FILES = 5
# What Django itself requires of asgiref, by its version: a lock that was edited by hand can hold it
# below that.
_ASGIREF = {
    (6, 0): "3.9.1",
    (5, 1): "3.8.1",
    (5, 0): "3.7.0",
    (4, 2): "3.6.0",
}
_NOTHING = "nothing, "  # begins what to take instead of a package that no server needs


def findings(project: Project) -> Iterator[Finding]:
    """What of the requirements and of the project's Python can't be installed."""
    if isinstance(project.needs, ReleaseError):
        problem = project.needs
        yield Finding(problem.what, problem.where, problem.cure)
    for only in project.extras:
        yield _only_in_extra(project, only)
    needed = list(project.packages)
    yield from _pins(needed)
    for source in packages.without_wheel(needed):
        yield _source_alone(source)
    wanted = project.requires_python
    if wanted and debian.fitting(wanted) is None:
        releases = debian.RELEASES.values()
        there = ", ".join(f"{release.version} ({release})" for release in releases)
        text = f"requires-python is {wanted!r}, and no Debian has such a Python: {there}"
        yield Finding(text, "pyproject.toml", "change it there")


def _only_in_extra(project: Project, only: OnlyInExtra) -> Finding:
    pyproject = project.short(only.pyproject)
    text = (
        f"the settings import {only.module}, and {only.package} is only in the extra"
        f" {only.extra!r} of {pyproject}, which is not installed"
    )
    cure = (
        f"move it to [project] dependencies; or run `{only.command}` in the folder of {pyproject},"
        f" and write `requirements: {only.requirements}` into the file"
    )
    return Finding(text, only.where, cure)


def _source_alone(source: packages.SourceAlone) -> Finding:
    text = f"{source.written} comes as source alone and has to be compiled; "
    if source.lacks:
        libraries = " and ".join(source.lacks)
        text += f"a build needs {libraries}, which the kit's build machine doesn't have"
    else:
        text += (
            "it is built where `fab` can make a build machine (root, systemd-nspawn, hosts of this"
            " architecture)"
        )
    return Finding(text, source.file, _cure(source))


def _cure(source: packages.SourceAlone) -> str:
    if source.instead.startswith(_NOTHING):
        name = re.split(r"[^\w.-]", source.written, maxsplit=1)[0]
        reason = source.instead.removeprefix(_NOTHING)
        cure = f"{ways_out.removal(name, source.file)}, {reason}"
        if not source.lacks:
            cure += "; or leave it in where it is built"
        return cure
    if source.instead:
        return f"take {source.instead}; or put a wheel of it on your own index"
    return "put a wheel of it on your own index"


# ------------------------------------------------------------------------------------------- pins


def _pins(named: list[Package]) -> Iterator[Finding]:
    """Packages that are held below what the kit or Django needs."""
    floor = dict(need.split(">=") for need in ADDITIONS)
    for package, need in packages.below_floor(named, floor):
        yield _below(package, f"the kit needs {need}")
    version = _django_version(named)
    if version is None:
        return
    major, minor = version
    floor = {"asgiref": _least_asgiref(version)}
    for package, need in packages.below_floor(named, floor):
        yield _below(package, f"Django {major}.{minor} needs {need}")


def _below(package: Package, why: str) -> Finding:
    text = f"{package.name} is held at {package.specifier}"
    return Finding(text, package.file, f"{why}: raise it there")


def _django_version(named: Sequence[Package]) -> tuple[int, int] | None:
    for package in named:
        match = re.search(r"[=>~]=\s*(\d+)\.(\d+)", package.specifier)
        if package.name == "django" and match:
            return int(match[1]), int(match[2])
    return None


def _least_asgiref(django: tuple[int, int]) -> str:
    for since, least in _ASGIREF.items():
        if django >= since:
            return least
    return ""


# ----------------------------------------------------------------------------------------- Python


def unreadable(project: Project) -> Iterator[Finding]:
    """Files that are not valid Python here; they may be written for a newer one, which the hosts
    may have."""
    files = project.unreadable
    cure = _cure_of_unreadable(project.requires_python)
    for file in files[:_MOST_FILES]:
        text = f"this file is {file.value}, so it is not in this report"
        yield Finding(text, file.where, cure)
    rest = len(files) - _MOST_FILES
    if rest > 0:
        yield Finding(f"{rest} more files are not valid Python {RUNNING}", "", cure)


def _cure_of_unreadable(wanted: str | None) -> str:
    if wanted and not SpecifierSet(wanted).contains(RUNNING):
        return f"nothing, if it is written for Python {wanted}: the hosts have that"
    for release in debian.RELEASES.values():
        version = "{}.{}".format(*release.python)
        if version != RUNNING:
            return (
                f"correct it; if it is written for a newer Python, {release} has {version}:"
                f" `image: {release.name}`"
            )
    return "correct it"
