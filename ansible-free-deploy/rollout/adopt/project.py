"""A Django project as its files say it is: which modules, which settings, who else writes CORS
headers. Only reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.core import rules
from rollout import python
from rollout.adopt.environment import Read
from rollout.adopt.expressions import Switch
from rollout.adopt.extras import OnlyInExtra
from rollout.adopt.folder import is_served
from rollout.adopt.headers import Written
from rollout.adopt.packages import Package
from rollout.adopt.syntax import parse
from rollout.adopt.values import (
    AdoptError,
    Computed,
    External,
    Function,
    Names,
    NotPython,
    Setting,
    shown,
)
from rollout.release import ReleaseError
from rollout.release.declared import Requirements

_ALIASES = {
    "CORS_ALLOWED_ORIGINS": "CORS_ORIGIN_WHITELIST",
    "CORS_ALLOWED_ORIGIN_REGEXES": "CORS_ORIGIN_REGEX_WHITELIST",
    "CORS_ALLOW_ALL_ORIGINS": "CORS_ORIGIN_ALLOW_ALL",
}
# Names that say nothing about what the project is.
_GENERIC = {
    "config",
    "conf",
    "core",
    "project",
    "settings",
    "app",
    "backend",
    "server",
    "api",
    "src",
    "django",
    "site",
}


@dataclass(frozen=True)
class Project:
    """What was read. `root` is where modules are imported from; `manage` is where manage.py is,
    mostly the same."""

    root: Path
    manage: Path
    settings: str
    why: str
    others: tuple[str, ...]
    wsgi: str
    names: Names
    reads: tuple[Read, ...]
    notes: tuple[Setting, ...]
    needs: Requirements | ReleaseError
    written: tuple[Written, ...]  # CORS headers that its own code writes
    overwrites: tuple[Setting, ...]  # of the variable that names the settings module
    packages: tuple[Package, ...]
    extras: tuple[OnlyInExtra, ...]  # packages of imported modules that only extras have
    files: tuple[Path, ...]  # the settings
    missing: tuple[Setting, ...]  # what the settings import and a release doesn't have
    classes: tuple[Setting, ...]  # of settings, which django-configurations reads
    configuration: str  # the one of them that is read; "" where none is, or none can be made out
    switches: tuple[Switch, ...]  # branches on DEBUG
    debug_off: tuple[str, str] | None  # the variable and the text that switch DEBUG off
    writes: tuple[Setting, ...]  # places of the code that write next to it
    sockets: tuple[Setting, ...]
    shipped: frozenset[Path]

    @cached_property
    def requires_python(self) -> str | None:
        """The Python that it asks for, as one specifier; None where it asks for none."""
        return python.requires(self.manage)

    @property
    def unreadable(self) -> tuple[Setting, ...]:
        """Files of the project that are not valid Python here, each with the reason."""
        problems = []
        for file in sorted(self.shipped):
            if not is_served(file.relative_to(self.manage)):
                continue
            try:
                parse(file)
            except NotPython as problem:
                where = f"{self.short(file)}:{problem.line}"
                problems.append(Setting(problem.what, where))
            except AdoptError:
                continue  # nested too deep: Python itself may read it
        return tuple(problems)

    def name(self, setting: str) -> str:
        """The setting as the project calls it: django-cors-headers has old names for some."""
        old = _ALIASES.get(setting, setting)
        if setting not in self.names and old in self.names:
            return old
        return setting

    def get(self, setting: str) -> Setting:
        """A setting by its name of today; its value is None where it isn't set."""
        found = self.names.get(self.name(setting), Setting())
        if isinstance(found.value, (External, Function)):
            return replace(found, value=Computed())
        return found

    def items(self, setting: str) -> list[Any]:
        """The items of a list, computed ones among them; none where it is not a list."""
        value = self.get(setting).value
        return value if isinstance(value, list) else []

    def is_own(self, module: str) -> bool:
        """Whether a dotted name begins with a package or module of the project."""
        top = module.split(".")[0]
        folder = self.root / top
        file = self.root / f"{top}.py"
        return folder.is_dir() or file.is_file()

    def short(self, path: Path) -> str:
        """A file as messages name it."""
        if path.is_relative_to(self.root):
            path = path.relative_to(self.root)
        return str(path)

    def said(self, value: Any) -> str:
        """A value as messages have it."""
        if isinstance(value, (str, Path)):
            path = Path(value)
            if path.is_absolute() and self.inside(path):
                return self.short(path)
        return shown(value)

    def inside(self, path: object) -> bool:
        """Whether a file goes along with a release; a relative path starts in the project's
        folder."""
        place = Path(str(path))
        return not place.is_absolute() or place.is_relative_to(self.root)

    @property
    def application(self) -> str:
        """A name for it: the first of the settings' package and the folders that is specific and
        free."""
        names = [self.settings.split(".")[0], self.root.name, self.root.parent.name]
        proposals = [_proposal(name) for name in names]
        specific = [name for name in proposals if name not in _GENERIC]
        longer = [f"{name[:26]}-app" for name in proposals]
        for name in (*specific, *proposals, *longer):
            if _may_be_called(name):
                return name
        return "app"


def _proposal(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:30]


def _may_be_called(name: str) -> bool:
    """Whether the rules let an application have this name: `news` and `mail` are users of
    Debian's."""
    try:
        rules.application_name(name)
    except ValueError:
        return False
    return True
