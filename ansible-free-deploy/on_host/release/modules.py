"""Which modules of the project a configuration names, and whether a release has them.

A configuration and a release may need each other: after `settings` or `wsgi` is renamed in the
code and in the stack's config, neither works with the other's older version.
"""

from __future__ import annotations

import re
from pathlib import Path

SETTINGS = "django/origin_kit_settings.py"
_SETTINGS_MODULE = re.compile(r"^from (\S+) import \*", re.MULTILINE)
_IMPORTER = re.compile(r"^from (configurations) import", re.MULTILINE)
_WSGI_MODULE = re.compile(r"^ExecStart=.* (\S+)$", re.MULTILINE)
_USES_CONFIGURATIONS = re.compile(r"^\s*(from|import) configurations\b", re.MULTILINE)


def files_of(module: str) -> list[str]:
    """The files that a module can be, relative to the folder that modules are imported from."""
    path = module.replace(".", "/")
    return [f"{path}.py", f"{path}/__init__.py"]


def named(generation: Path) -> list[str]:
    """The modules that a generation's files name.

    These are the project's settings, django-configurations where the settings are classes, and
    the module with the WSGI application.
    """
    modules = []
    for pattern, place in (
        (_SETTINGS_MODULE, SETTINGS),
        (_IMPORTER, SETTINGS),
        (_WSGI_MODULE, "systemd/*.service"),
    ):
        for path in generation.glob(place):
            match = pattern.search(path.read_text())
            if match:
                module, _, _ = match[1].partition(":")
                modules.append(module)
    return modules


def missing(generation: Path, release: Path) -> list[str]:
    """Those of them that neither the release's code nor its environment has."""
    return [module for module in named(generation) if not has(release, module)]


def fits(generation: Path, release: Path) -> bool:
    """Whether a release can run under this configuration."""
    if missing(generation, release):
        return False
    return _names_class(generation) or not _is_of_classes(generation, release)


def _names_class(generation: Path) -> bool:
    """Whether the generation names a class of settings."""
    return any(_IMPORTER.search(path.read_text()) for path in generation.glob(SETTINGS))


def _is_of_classes(generation: Path, release: Path) -> bool:
    """Whether this release's settings are classes of django-configurations.

    The settings may be a package: then all modules in its folder are searched.
    """
    modules = named(generation)
    if not modules:
        return False
    module, package = (release / "app" / name for name in files_of(modules[0]))
    paths = [module] if module.is_file() else []
    if package.is_file():
        paths += package.parent.glob("*.py")
    return any(_USES_CONFIGURATIONS.search(path.read_text()) for path in paths)


def needs_ship(module: str) -> str:
    """What to do where the release lacks a module that the configuration names."""
    return (
        f"the release here has no module {module!r}, which the configuration names; run `fab ship`:"
        " it switches to a release that has it and to this configuration in one step"
    )


def has(release: Path, module: str) -> bool:
    """Whether the release's code or its environment has this module."""
    for folder in (release / "app", *(release / "venv/lib").glob("python3*/site-packages")):
        for file in files_of(module):
            if (folder / file).exists():
                return True
    return False
