"""Which modules of the project a configuration names, and whether a release has them.

A configuration and a release may need each other: after a rename of `settings` or `wsgi` in the code and in the stack,
each fails with the other of before. Standard library only (Python >= 3.9), like every text that runs on a host.
"""

from __future__ import annotations

import re
from pathlib import Path


def files_of(module: str) -> list[str]:
    """The files that a module can be, from where modules are imported from."""
    path = module.replace(".", "/")
    return [f"{path}.py", f"{path}/__init__.py"]


def named(generation: Path) -> list[str]:
    """The modules that a generation's files name: the project's settings, and the one with the WSGI application."""
    found = []
    for pattern, place in (
        (r"^from (\S+) import \*", "django/origin_kit_settings.py"),
        (r"^ExecStart=.* (\S+)$", "systemd/*.service"),
    ):
        for path in generation.glob(place):
            found += [module.split(":")[0] for module in re.findall(pattern, path.read_text(), re.MULTILINE)[:1]]
    return found


def missing(generation: Path, release: Path) -> list[str]:
    """Those of them that the release's own code lacks. One that comes with a wheel is none of them."""
    return [module for module in named(generation) if not has(release, module)]


def needs_ship(module: str) -> str:
    """What to do where the release lacks a module that the configuration names."""
    return (
        f"the release here has no module {module!r}, which the configuration names: `fab ship` switches to a release "
        "that has it and to this configuration as one"
    )


def has(release: Path, module: str) -> bool:
    """Whether the code, or a package that it is installed with, has this module."""
    folders = [release / "app", *(release / "venv/lib").glob("python3*/site-packages")]
    return any((folder / file).exists() for folder in folders for file in files_of(module))
