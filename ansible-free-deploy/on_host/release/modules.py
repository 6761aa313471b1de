"""Which modules of the project a configuration names, and whether a release has them.

A configuration and a release may need each other: after a rename of `settings` or `wsgi` in the
code and in the stack, each fails with the other of before.
"""

from __future__ import annotations

import re
from pathlib import Path

SETTINGS = "django/origin_kit_settings.py"
_IMPORTER = r"^from (configurations) import"


def files_of(module: str) -> list[str]:
    """The files that a module can be, from where modules are imported from."""
    path = module.replace(".", "/")
    return [f"{path}.py", f"{path}/__init__.py"]


def named(generation: Path) -> list[str]:
    """The modules that a generation's files name: the project's settings, django-configurations
    where those are a class of it, and the one with the WSGI application."""
    found = []
    for pattern, place in (
        (r"^from (\S+) import \*", SETTINGS),
        (_IMPORTER, SETTINGS),
        (r"^ExecStart=.* (\S+)$", "systemd/*.service"),
    ):
        for path in generation.glob(place):
            found += [
                module.split(":")[0]
                for module in re.findall(pattern, path.read_text(), re.MULTILINE)[:1]
            ]
    return found


def missing(generation: Path, release: Path) -> list[str]:
    """Those of them that the release's own code lacks. One that comes with a wheel is none of
    them."""
    return [module for module in named(generation) if not has(release, module)]


def fits(generation: Path, release: Path) -> bool:
    """Whether a release can run under this configuration."""
    return not missing(generation, release) and not (
        _is_of_classes(generation, release) and not _names_class(generation)
    )


def _names_class(generation: Path) -> bool:
    return any(
        re.search(_IMPORTER, path.read_text(), re.MULTILINE) for path in generation.glob(SETTINGS)
    )


def _is_of_classes(generation: Path, release: Path) -> bool:
    """Whether the settings that the generation names are classes of django-configurations, here in
    the release."""
    for module in named(generation)[:1]:
        paths = [release / "app" / name for name in files_of(module)]
        beside = [path for path in paths[1:] if path.is_file()]
        texts = [one for path in beside for one in path.parent.glob("*.py")] + [
            one for one in paths if one.is_file()
        ]
        if any(
            re.search(r"^\s*(from|import) configurations\b", one.read_text(), re.MULTILINE)
            for one in texts
        ):
            return True
    return False


def needs_ship(module: str) -> str:
    """What to do where the release lacks a module that the configuration names."""
    return (
        f"the release here has no module {module!r}, which the configuration names: `fab ship`"
        " switches to a release that has it and to this configuration as one"
    )


def has(release: Path, module: str) -> bool:
    """Whether the code, or a package that it is installed with, has this module."""
    folders = [release / "app", *(release / "venv/lib").glob("python3*/site-packages")]
    return any((folder / file).exists() for folder in folders for file in files_of(module))
