"""A Django project as its files say it is: which modules, which settings, who else writes CORS
headers. Only reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.core import rules
from rollout.adopt import classes, modules, packages, writes
from rollout.adopt.environment import Read
from rollout.adopt.evaluate import Reader, parse
from rollout.adopt.expressions import Switch
from rollout.adopt.headers import Written, written
from rollout.adopt.packages import Package
from rollout.adopt.values import (
    AdoptError,
    Computed,
    External,
    Function,
    Names,
    NotPython,
    Setting,
    shown,
    truth,
)
from rollout.release import ReleaseError, local
from rollout.release.source import Source, backend_files, walk
from rollout.release.wheels import Requirements, requirements

_ALIASES = {
    "CORS_ALLOWED_ORIGINS": "CORS_ORIGIN_WHITELIST",
    "CORS_ALLOWED_ORIGIN_REGEXES": "CORS_ORIGIN_REGEX_WHITELIST",
    "CORS_ALLOW_ALL_ORIGINS": "CORS_ORIGIN_ALLOW_ALL",
}
_SOCKETS = re.compile(
    r"\bProtocolTypeRouter\b|websocket_urlpatterns|\bas_asgi\(\)|[\"']websocket(\.(connect|accept|receive|send))?[\"']"
)
_TEMPLATES = {
    "cookiecutter.json": "cookiecutter",
    "copier.yml": "copier copy",
    "copier.yaml": "copier copy",
}
_COMMANDS = re.compile(r"(^|/)management/commands/")
_NOT_SERVED = re.compile(
    r"(^|/)((tests?(_\w+)?|\w+_tests?|e2e|migrations)/|(test[^/]*|conftest)\.py$)"
)
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
    by_hand: tuple[Written, ...]  # what its code says of CORS beside the settings
    insists: tuple[Setting, ...]  # on a settings module of its own
    packages: tuple[Package, ...]
    files: tuple[Path, ...]  # the settings
    missing: tuple[Setting, ...]  # what the settings import and a release doesn't have
    classes: tuple[Setting, ...]  # of settings, which django-configurations reads
    configuration: str  # the one of them that is read; "" where none is, or none can be made out
    switches: tuple[Switch, ...]  # branches on DEBUG
    debug_off: tuple[str, str] | None  # the variable and the text that switch DEBUG off
    writes: tuple[Setting, ...]  # places of the code that write next to it
    sockets: tuple[Setting, ...]
    shipped: frozenset[Path]

    @property
    def unreadable(self) -> tuple[Setting, ...]:
        """Files of the project that are not valid Python here, each with the reason."""
        found = []
        for file in sorted(one for one in self.shipped if is_served(one.relative_to(self.manage))):
            try:
                parse(file)
            except NotPython as problem:
                found.append(Setting(problem.what, f"{self.short(file)}:{problem.line}"))
            except AdoptError:
                continue  # nested too deep: Python itself may read it
        return tuple(found)

    def name(self, setting: str) -> str:
        """The setting as the project calls it: django-cors-headers has old names for some."""
        old = _ALIASES.get(setting, setting)
        return old if setting not in self.names and old in self.names else setting

    def get(self, setting: str) -> Setting:
        """A setting by its name of today; its value is None where it isn't set."""
        found = self.names.get(self.name(setting), Setting())
        return (
            replace(found, value=Computed())
            if isinstance(found.value, (External, Function))
            else found
        )

    def items(self, setting: str) -> list[Any]:
        """A list's items, those among them that are computed too."""
        value = self.get(setting).value
        return value if isinstance(value, list) else []

    def is_own(self, module: str) -> bool:
        """Whether a dotted name begins with a package or module of the project."""
        top = module.split(".")[0]
        return (self.root / top).is_dir() or (self.root / f"{top}.py").is_file()

    def short(self, path: Path) -> str:
        """A file as messages name it."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def said(self, value: Any) -> str:
        """A value as messages have it."""
        path = Path(value) if isinstance(value, (str, Path)) else None
        return (
            self.short(path) if path and path.is_absolute() and self.inside(path) else shown(value)
        )

    def inside(self, path: object) -> bool:
        """Whether a file goes along with a release; a relative path starts in the project's
        folder."""
        return not Path(str(path)).is_absolute() or Path(str(path)).is_relative_to(self.root)

    @property
    def application(self) -> str:
        """A name for it: the first of the settings' package and the folders that says something and
        is nobody's."""
        names = [self.settings.split(".")[0], self.root.name, self.root.parent.name]
        fit = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:30] for name in names]
        telling = [name for name in fit if name not in _GENERIC]
        longer = [f"{name[:26]}-app" for name in fit]
        return next((name for name in (*telling, *fit, *longer) if _may_be_called(name)), "app")


def _may_be_called(name: str) -> bool:
    """Whether the rules let an application have this name: `news` and `mail` are users of
    Debian's."""
    try:
        rules.application_name(name)
    except ValueError:
        return False
    return True


def read(path: Path, settings: str | None = None, wsgi: str | None = None) -> Project:
    """The project whose manage.py is in `path`, with the modules that are named. Raises AdoptError
    where there is none, or it can't be made out."""
    folder = _folder(path)
    files = _own_files(folder)
    trees = _scripts(folder, files)
    wsgis = [file for file in trees if file.name == "wsgi.py"]
    by_wsgi = [name for file in wsgis for name in modules.named(trees[file])]
    by_manage = modules.named(trees[folder / "manage.py"])
    source = local(folder)
    shipped = _shipped(source, files)
    hidden = frozenset(files) - shipped
    asked = [settings] if settings else []
    root = next(
        (
            base
            for base in (folder, folder.parent)
            if any(map(Reader(base, hidden=hidden).find, asked + by_wsgi + by_manage))
        ),
        folder,
    )
    blank = Reader(root, hidden=hidden)
    chosen = modules.choose(
        blank, by_wsgi, by_manage, [one for one in files if one not in hidden], settings
    )
    if file := blank.find(chosen.module):
        parse(file)  # without the settings themselves there is nothing to say
    first = blank.fresh()
    there = classes.configurations(first.module(chosen.module))
    configuration, by = classes.chosen(
        there, _configurations_named(trees, wsgis), modules.PRODUCTION
    )

    def settings_of(reader: Reader) -> Names:
        return classes.configured(reader.module(chosen.module), configuration)

    off = _switch_off(blank, first, settings_of)
    reader = blank.fresh(dict([off] if off else []))
    names = dict(settings_of(reader))
    names |= {
        name: one for name, one in settings_of(first).items() if name == "DEBUG"
    }  # as it is today
    source = replace(source, folder=root)
    needs = _needs(source)
    served = [file for file in files if file not in hidden]
    return Project(
        root=root,
        manage=folder,
        settings=chosen.module,
        why=chosen.why + (f"; class {configuration} ({by})" if configuration else ""),
        others=chosen.others,
        wsgi=modules.callable_for_wsgi(reader, names, wsgis, wsgi),
        names=names,
        reads=tuple(first.reads[name] for name in sorted(first.reads)),
        notes=(*reader.notes, *reader.limits.values()),
        needs=needs,
        by_hand=tuple(one for file in served for one in written(blank.fresh(), file)),
        insists=tuple(
            one for file, tree in trees.items() for one in modules.insisting(reader, file, tree)
        ),
        packages=_packages(root, folder, needs),
        files=tuple(dict.fromkeys(reader.files)),
        missing=tuple(dict.fromkeys(reader.missing)),
        classes=tuple(reader.classes),
        configuration=configuration,
        switches=tuple(first.switches),
        debug_off=off,
        writes=tuple(
            one
            for file in served
            if not _COMMANDS.search(file.as_posix())  # what a developer runs
            for one in writes.places(blank.fresh(), file, file in reader.files)
        ),
        sockets=tuple(one for file in served for one in _sockets(reader, file)),
        shipped=shipped,
    )


def _scripts(folder: Path, files: list[Path]) -> dict[Path, ast.Module]:
    """manage.py and every wsgi.py and manage.py besides, which may be templates for other
    projects."""
    found = {folder / "manage.py": parse(folder / "manage.py")}
    for file in files:
        if file.name in ("wsgi.py", "manage.py") and file not in found:
            with suppress(AdoptError):
                found[file] = parse(file)
    return {file: found[file] for file in files if file in found}


def _configurations_named(trees: Mapping[Path, ast.Module], wsgis: list[Path]) -> list[str]:
    """The classes of django-configurations that wsgi.py and then manage.py name."""
    files = [*wsgis, *(file for file in trees if file not in wsgis)]
    return [name for file in files for name in modules.named(trees[file], classes.VARIABLE)]


def _switch_off(
    blank: Reader, first: Reader, settings_of: Callable[[Reader], Names]
) -> tuple[str, str] | None:
    """The variable that DEBUG is read from, and the text for which it is off while the settings are
    read; None where it is off anyway, or one variable alone doesn't do it."""
    debug = settings_of(first).get("DEBUG", Setting()).value
    on = [one for one in first.switches if isinstance(one.debug, Computed) and truth(one.debug)]
    asked = next(
        (one.debug for one in on), debug if isinstance(debug, Computed) and truth(debug) else None
    )
    if asked is None or len(asked.names) != 1:
        return None
    name = asked.names[0]
    for text in ("false", "False", "0", ""):
        tried = blank.fresh({name: text})
        found = settings_of(tried).get("DEBUG", Setting()).value
        values = [found, *(one.debug for one in tried.switches)]
        if all(truth(value) is False for value in values):
            return name, text
    return None


def _packages(root: Path, folder: Path, needs: Requirements | ReleaseError) -> tuple[Package, ...]:
    """What the kit installs from comes first; what other files of the project name counts as
    well."""
    first = [] if isinstance(needs, ReleaseError) else packages.of_text(needs.text, needs.path.name)
    more = [
        one for place in dict.fromkeys((folder, root)) for one in packages.named_anywhere(place)
    ]
    return tuple(first or more)


def _shipped(source: Source, files: list[Path]) -> frozenset[Path]:
    """What goes into a release; everything where that can't be told yet."""
    try:
        return frozenset(entry.here for entry in backend_files(source))
    except ReleaseError:
        return frozenset(files)


def _sockets(reader: Reader, file: Path) -> Iterator[Setting]:
    """Where the project speaks WebSocket."""
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
        if _SOCKETS.search(line):
            yield Setting(
                f"{reader.short(file)} has WebSocket consumers", f"{reader.short(file)}:{number}"
            )
            return


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise AdoptError(f"there is no folder {path}; name the one with manage.py")
    for above in (path.resolve(), *path.resolve().parents[:2]):
        for name, tool in _TEMPLATES.items():
            if (above / name).is_file() and (
                above == path.resolve() or "{{" in str(path.resolve().relative_to(above))
            ):
                raise AdoptError(
                    f"{above} is a template for projects ({name}), not a project; "
                    f"make one from it (`{tool} {above}`), then adopt that"
                )
    if not (path / "manage.py").is_file():
        found = sorted([*path.glob("*/manage.py"), *path.glob("*/*/manage.py")])
        hint = f"did you mean {found[0].parent}?" if found else "name the folder that holds it"
        raise AdoptError(f"{path} has no manage.py, so it is no Django project; {hint}")
    if "{{" in (path / "manage.py").read_text(errors="replace"):
        raise AdoptError(
            f"{path} is a template for projects (manage.py has {{{{ … }}}}), not a project; "
            "make one from it (`django-admin startproject --template`), then adopt that"
        )
    return path.resolve()


def is_served(path: Path) -> bool:
    """Whether a file of the project is code that a host may import; tests and migrations are not
    looked at."""
    return (
        path.suffix == ".py"
        and path.stem.isidentifier()
        and not _NOT_SERVED.search(path.as_posix())
    )


def _own_files(folder: Path) -> list[Path]:
    """The project's Python files, the ones nearest to manage.py first; no tests, no migrations."""
    found = [path for path in walk(folder) if is_served(Path(path))]
    return [folder / path for path in sorted(found, key=lambda path: (path.count("/"), path))]


def _needs(source: Source) -> Requirements | ReleaseError:
    try:
        return requirements(source)
    except ReleaseError as problem:
        return problem
