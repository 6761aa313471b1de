"""Extras of the project that alone have a package which the settings import. Only reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rollout.adopt.packages import Package, extras_of
from rollout.adopt.values import Setting
from rollout.release.declared import Requirements

_FILE = "requirements-hosts.txt"
# Packages whose module has another name than the usual ones: see `_modules_of`.
_MODULES = {
    "beautifulsoup4": "bs4",
    "django-cors-headers": "corsheaders",
    "djangorestframework": "rest_framework",
    "djangorestframework-simplejwt": "rest_framework_simplejwt",
    "mysqlclient": "mysqldb",
    "pillow": "pil",
    "psycopg2-binary": "psycopg2",
    "pyjwt": "jwt",
    "python-json-logger": "pythonjsonlogger",
    "pyyaml": "yaml",
}


@dataclass(frozen=True)
class OnlyInExtra:
    """A package that only an extra has, and the module of it that the settings import.

    `command` writes a list with the extra where pyproject.toml is, and `requirements` is the key's
    value that names the list.
    """

    module: str
    package: str
    extra: str
    where: str
    pyproject: Path
    command: str
    requirements: str


def only_in_extras(
    imports: Iterable[Setting],
    packages: Iterable[Package],
    needs: Requirements,
    root: Path,
) -> Iterator[OnlyInExtra]:
    """The imported modules whose package no dependency of the project names, but an extra does.

    `packages` are what the kit installs, and `root` is the folder that `requirements` starts from.
    """
    pyproject = _pyproject(needs)
    if pyproject is None:
        return
    extras = extras_of(pyproject)
    installed = {package.name for package in packages}
    noted: set[str] = set()
    for setting in imports:
        module = str(setting.value).split(".")[0]
        if module in noted or _package_of(module, installed):
            continue
        noted.add(module)
        for extra, names in extras.items():
            package = _package_of(module, names)
            if package:
                command = _command(needs, extra)
                listed = os.path.relpath(pyproject.parent / _FILE, root)
                yield OnlyInExtra(
                    module,
                    package,
                    extra,
                    setting.where,
                    pyproject,
                    command,
                    listed,
                )
                break


def _pyproject(needs: Requirements) -> Path | None:
    """The pyproject.toml that the kit installs from; None where it installs from another list."""
    if needs.path.name == "pyproject.toml":
        return needs.path
    if needs.path.name == "uv.lock":
        return (needs.project or needs.path.parent) / "pyproject.toml"
    return None


def _command(needs: Requirements, extra: str) -> str:
    if needs.path.name == "uv.lock":
        return f"uv export --no-dev --no-emit-project --extra {extra} -o {_FILE}"
    return f"uv pip compile pyproject.toml --extra {extra} -o {_FILE}"


def _package_of(module: str, packages: Iterable[str]) -> str:
    """The package among these that has a module; "" where none is known to."""
    for package in sorted(packages):
        if module.lower() in _modules_of(package):
            return package
    return ""


def _modules_of(package: str) -> set[str]:
    """The top-level modules that a package may have, by its name."""
    plain = package.removeprefix("django-").removeprefix("python-")
    names = {package, plain, _MODULES.get(package, package)}
    return {name.replace("-", "_") for name in names}
