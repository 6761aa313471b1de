"""Read a Django project: its scripts, its settings as a host reads them, what its code does. Only
reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rollout.adopt import classes, configurations, headers, modules, packages, writes
from rollout.adopt.evaluate import Reader
from rollout.adopt.extras import OnlyInExtra, only_in_extras
from rollout.adopt.folder import own_files, project_folder
from rollout.adopt.headers import Written
from rollout.adopt.packages import Package
from rollout.adopt.project import Project
from rollout.adopt.syntax import parse
from rollout.adopt.values import AdoptError, Computed, Names, Setting, truth
from rollout.release import ReleaseError, local
from rollout.release.declared import Requirements
from rollout.release.needs import requirements
from rollout.release.picked import backend_files
from rollout.release.source import Source

_SOCKETS = re.compile(
    r"\bProtocolTypeRouter\b|websocket_urlpatterns|\bas_asgi\(\)"
    r"|[\"']websocket(\.(connect|accept|receive|send))?[\"']"
)
_COMMANDS = re.compile(r"(^|/)management/commands/")


@dataclass(frozen=True)
class _Scripts:
    """manage.py and the wsgi.py files, and the settings modules that they name."""

    trees: dict[Path, ast.Module]
    wsgi: list[Path]
    by_wsgi: list[str]
    by_manage: list[str]

    def configurations(self) -> list[str]:
        """The classes of django-configurations that wsgi.py and then manage.py name."""
        others = [file for file in self.trees if file not in self.wsgi]
        names: list[str] = []
        for file in (*self.wsgi, *others):
            names += modules.named(self.trees[file], classes.VARIABLE)
        return names


@dataclass(frozen=True)
class _SettingsRead:
    """The settings as a host reads them.

    `today` is the reader without a change of the environment, `reader` the one where DEBUG is off.
    """

    names: Names
    today: Reader
    reader: Reader
    configuration: str
    why: str
    debug_off: tuple[str, str] | None


def read(  # long because a project has a line for each of its fields
    path: Path,
    settings: str | None = None,
    wsgi: str | None = None,
) -> Project:
    """The project whose manage.py is in `path`; `settings` and `wsgi` name its modules.

    Raises AdoptError where there is no project, or the modules can't be made out.
    """
    folder = project_folder(path)
    files = own_files(folder)
    scripts = _scripts(folder, files)
    source = local(folder)
    shipped = _shipped(source, files)
    served = [file for file in files if file in shipped]
    unshipped = frozenset(files) - shipped
    root = _root(folder, [settings or "", *scripts.by_wsgi, *scripts.by_manage], unshipped)
    blank = Reader(root, unshipped=unshipped)
    chosen = modules.choose(
        blank,
        scripts.by_wsgi,
        scripts.by_manage,
        served,
        settings,
    )
    settings_read = _read_settings(blank, chosen.module, scripts)
    reader = settings_read.reader
    today = settings_read.today
    needs = _needs(replace(source, folder=root))
    named_packages = _packages(root, folder, needs)
    return Project(
        root=root,
        manage=folder,
        settings=chosen.module,
        why=chosen.why + settings_read.why,
        others=chosen.others,
        wsgi=modules.callable_for_wsgi(
            reader,
            settings_read.names,
            scripts.wsgi,
            wsgi,
        ),
        names=settings_read.names,
        reads=tuple(today.reads[name] for name in sorted(today.reads)),
        notes=(*reader.notes, *reader.limits.values()),
        needs=needs,
        written=tuple(_written(blank, served)),
        overwrites=tuple(_overwrites(reader, scripts)),
        packages=named_packages,
        extras=_extras(settings_read, named_packages, needs, root),
        files=tuple(dict.fromkeys(reader.files)),
        missing=tuple(dict.fromkeys(reader.missing)),
        classes=tuple(reader.classes),
        configuration=settings_read.configuration,
        switches=tuple(today.switches),
        debug_off=settings_read.debug_off,
        writes=tuple(_writes(blank, reader, served)),
        sockets=tuple(_sockets(reader, served)),
        shipped=shipped,
    )


def _scripts(folder: Path, files: list[Path]) -> _Scripts:
    """manage.py and every other wsgi.py and manage.py, which may be templates for projects."""
    manage = folder / "manage.py"
    trees = {manage: parse(manage)}
    for file in files:
        if file.name in ("wsgi.py", "manage.py") and file not in trees:
            with suppress(AdoptError):
                trees[file] = parse(file)
    trees = {file: trees[file] for file in files if file in trees}
    wsgi = [file for file in trees if file.name == "wsgi.py"]
    by_wsgi: list[str] = []
    for file in wsgi:
        by_wsgi += modules.named(trees[file])
    return _Scripts(trees, wsgi, by_wsgi, modules.named(trees[manage]))


def _root(
    folder: Path,
    module_names: Sequence[str],
    unshipped: frozenset[Path],
) -> Path:
    """The folder that modules are imported from: with manage.py, or the one above."""
    for base in (folder, folder.parent):
        reader = Reader(base, unshipped=unshipped)
        if any(reader.find(name) for name in module_names):
            return base
    return folder


def _read_settings(
    blank: Reader,
    module: str,
    scripts: _Scripts,
) -> _SettingsRead:
    """Read the settings, with DEBUG switched off where a variable does that.

    Raises AdoptError where their own file is not valid Python: there is nothing to say without it.
    """
    file = blank.find(module)
    if file:
        parse(file)
    today = blank.new_reader()
    there = configurations.names_of(today.module(module))
    configuration, by = configurations.chosen(there, scripts.configurations(), modules.PRODUCTION)
    why = f"; class {configuration} ({by})" if configuration else ""

    def settings_of(reader: Reader) -> Names:
        return configurations.configured(reader.module(module), configuration)

    debug_off = _switch_off(blank, today, settings_of)
    reader = blank.new_reader()
    if debug_off:
        reader = blank.new_reader(dict([debug_off]))
    names = dict(settings_of(reader))
    names_today = settings_of(today)
    if "DEBUG" in names_today:
        names["DEBUG"] = names_today["DEBUG"]
    return _SettingsRead(names, today, reader, configuration, why, debug_off)


def _switch_off(
    blank: Reader,
    today: Reader,
    settings_of: Callable[[Reader], Names],
) -> tuple[str, str] | None:
    """The variable that DEBUG is read from, and the text that switches it off.

    None where it is off anyway, or where one variable alone doesn't switch it off.
    """
    debug = _debug_that_is_on(today, settings_of)
    if debug is None or len(debug.names) != 1:
        return None
    name = debug.names[0]
    for text in ("false", "False", "0", ""):
        tried = blank.new_reader({name: text})
        value = settings_of(tried).get("DEBUG", Setting()).value
        values = [value, *(switch.debug for switch in tried.switches)]
        if all(truth(value) is False for value in values):
            return name, text
    return None


def _debug_that_is_on(today: Reader, settings_of: Callable[[Reader], Names]) -> Computed | None:
    """The first value of DEBUG that is computed and True in an empty environment."""
    at_the_end = settings_of(today).get("DEBUG", Setting()).value
    for value in [*(switch.debug for switch in today.switches), at_the_end]:
        if isinstance(value, Computed) and truth(value):
            return value
    return None


def _packages(
    root: Path,
    folder: Path,
    needs: Requirements | ReleaseError,
) -> tuple[Package, ...]:
    """The packages that the kit installs; else those that any file of the project names."""
    if not isinstance(needs, ReleaseError):
        installed = packages.of_text(needs.text, needs.path.name)
        if installed:
            return tuple(installed)
    named: list[Package] = []
    for place in dict.fromkeys((folder, root)):
        named += packages.named_anywhere(place)
    return tuple(named)


def _extras(
    settings_read: _SettingsRead,
    named_packages: Sequence[Package],
    needs: Requirements | ReleaseError,
    root: Path,
) -> tuple[OnlyInExtra, ...]:
    if isinstance(needs, ReleaseError):
        return ()
    imports = list(settings_read.reader.imports)
    apps = settings_read.names.get("INSTALLED_APPS", Setting())
    if isinstance(apps.value, list):
        for app in apps.value:
            if isinstance(app, str):
                imports.append(Setting(app, apps.where))
    return tuple(only_in_extras(imports, named_packages, needs, root))


def _shipped(source: Source, files: list[Path]) -> frozenset[Path]:
    """The files of a release; all files where that can't be found out yet."""
    try:
        return frozenset(entry.here for entry in backend_files(source))
    except ReleaseError:
        return frozenset(files)


def _needs(source: Source) -> Requirements | ReleaseError:
    try:
        return requirements(source)
    except ReleaseError as problem:
        return problem


# ----------------------------------------------------------------------------- what the code does


def _written(blank: Reader, files: Sequence[Path]) -> Iterator[Written]:
    for file in files:
        yield from headers.written(blank.new_reader(), file)


def _overwrites(reader: Reader, scripts: _Scripts) -> Iterator[Setting]:
    for file, tree in scripts.trees.items():
        yield from modules.overwritten(reader, file, tree)


def _writes(
    blank: Reader,
    reader: Reader,
    files: Sequence[Path],
) -> Iterator[Setting]:
    for file in files:
        if _COMMANDS.search(file.as_posix()):
            continue  # a developer runs it
        yield from writes.places(blank.new_reader(), file, file in reader.files)


def _sockets(reader: Reader, files: Sequence[Path]) -> Iterator[Setting]:
    """Files of the project that handle WebSockets, each with its first such line."""
    for file in files:
        name = reader.short(file)
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            if _SOCKETS.search(line):
                yield Setting(f"{name} has WebSocket consumers", f"{name}:{number}")
                break
