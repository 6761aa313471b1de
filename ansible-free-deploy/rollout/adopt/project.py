"""A Django project as its files say it is: which modules, which settings, who else writes CORS headers. Only reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra import rules
from rollout.adopt.evaluate import AdoptError, Computed, External, Names, Read, Reader, Setting, parse, shown
from rollout.release import ReleaseError, local
from rollout.release.source import Source, walk
from rollout.release.wheels import Requirements, requirements

VARIABLE = "DJANGO_SETTINGS_MODULE"
_PRODUCTION = re.compile(r"(\w*_)?(prod|production|live|deploy)(_\w*)?")
_DEVELOPMENT = re.compile(r"(\w*_)?(dev|devel|development|local|test|tests|testing|ci|debug)(_\w*)?")
_ALIASES = {
    "CORS_ALLOWED_ORIGINS": "CORS_ORIGIN_WHITELIST",
    "CORS_ALLOWED_ORIGIN_REGEXES": "CORS_ORIGIN_REGEX_WHITELIST",
    "CORS_ALLOW_ALL_ORIGINS": "CORS_ORIGIN_ALLOW_ALL",
}
_BY_HAND = re.compile(r"(?i:access-control-[a-z-]+)|corsheaders\.signals")
_NOT_SERVED = re.compile(r"(^|/)((tests?|migrations)/|test[^/]*\.py$)")
# Names that say nothing about what the project is.
_GENERIC = {"config", "conf", "core", "project", "settings", "app", "backend", "server", "api", "src", "django", "site"}


@dataclass(frozen=True)
class Project:
    """What was read. `root` is where modules are imported from; `manage` is where manage.py is, mostly the same."""

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
    by_hand: tuple[Setting, ...]  # what its code says of CORS beside the settings
    insists: tuple[Setting, ...]  # on a settings module of its own

    def name(self, setting: str) -> str:
        """The setting as the project calls it: django-cors-headers has old names for some."""
        old = _ALIASES.get(setting, setting)
        return old if setting not in self.names and old in self.names else setting

    def get(self, setting: str) -> Setting:
        """A setting by its name of today; its value is None where it isn't set."""
        found = self.names.get(self.name(setting), Setting())
        return replace(found, value=Computed()) if isinstance(found.value, (External, ast.AST)) else found

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
        return self.short(path) if path and path.is_absolute() and self.inside(path) else shown(value)

    def inside(self, path: object) -> bool:
        """Whether a file goes along with a release; a relative path starts in the project's folder."""
        return not Path(str(path)).is_absolute() or Path(str(path)).is_relative_to(self.root)

    @property
    def application(self) -> str:
        """A name for it: the first of the settings' package and the folders that says something and is nobody's."""
        names = [self.settings.split(".")[0], self.root.name, self.root.parent.name]
        fit = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:30] for name in names]
        telling = [name for name in fit if name not in _GENERIC]
        longer = [f"{name[:26]}-app" for name in fit]
        return next((name for name in (*telling, *fit, *longer) if _may_be_called(name)), "app")


def _may_be_called(name: str) -> bool:
    """Whether the rules let an application have this name: `news` and `mail` are users of Debian's."""
    try:
        rules.application_name(name)
    except ValueError:
        return False
    return True


def read(path: Path) -> Project:
    """The project whose manage.py is in `path`. Raises AdoptError where there is none, or it can't be made out."""
    folder = _folder(path)
    trees = {file: parse(file) for file in _own_files(folder) if file.name in ("wsgi.py", "manage.py")}
    wsgis = [file for file in trees if file.name == "wsgi.py"]
    by_wsgi = [name for file in wsgis for name in _named(trees[file])]
    by_manage = _named(trees[folder / "manage.py"])
    root = next((base for base in (folder, folder.parent) if any(map(Reader(base).find, by_wsgi + by_manage))), folder)
    settings, why, others = _settings(root, by_wsgi, by_manage)
    reader = Reader(root)
    names = reader.module(settings)
    source = replace(local(folder), folder=root)
    return Project(
        root=root,
        manage=folder,
        settings=settings,
        why=why,
        others=others,
        wsgi=_wsgi(reader, names, wsgis),
        names=names,
        reads=tuple(reader.reads[name] for name in sorted(reader.reads)),
        notes=tuple(reader.notes),
        needs=_needs(source),
        by_hand=tuple(one for file in _own_files(folder) for one in _by_hand(reader, file)),
        insists=tuple(one for file, tree in trees.items() for one in _insisting(reader, file, tree)),
    )


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise AdoptError(f"there is no folder {path}; name the one with manage.py")
    if not (path / "manage.py").is_file():
        found = sorted(path.glob("*/manage.py"))
        hint = f"did you mean {found[0].parent}?" if found else "name the folder that holds it"
        raise AdoptError(f"{path} has no manage.py, so it is no Django project; {hint}")
    return path.resolve()


def _own_files(folder: Path) -> list[Path]:
    """The project's Python files, the ones nearest to manage.py first; no tests, no migrations."""
    found = [path for path in walk(folder) if path.endswith(".py") and not _NOT_SERVED.search(path)]
    return [folder / path for path in sorted(found, key=lambda path: (path.count("/"), path))]


# ------------------------------------------------------------------------------------------------- modules


def _named(tree: ast.AST) -> list[str]:
    """The settings modules that a script puts into the environment."""
    values = [value for _, value in _given(tree)]
    strings = [one.value for value in values for one in ast.walk(value) if isinstance(one, ast.Constant)]
    return [name for name in strings if isinstance(name, str) and re.fullmatch(r"[\w.]+", name)]


def _given(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.expr]]:
    """Each statement that sets the variable, with what it sets it to."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="setdefault"), args=[ast.Constant(value=name), value]):
                if name == VARIABLE:
                    yield node, value
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=name))], value=value):
                if name == VARIABLE:
                    yield node, value


def _insisting(reader: Reader, file: Path, tree: ast.AST) -> Iterator[Setting]:
    """Where the variable is overwritten, so that no other settings module can come first."""
    for node, value in _given(tree):
        if isinstance(node, ast.Assign):
            yield Setting(ast.unparse(value), reader.where(file, node))


def _settings(root: Path, by_wsgi: list[str], by_manage: list[str]) -> tuple[str, str, tuple[str, ...]]:
    """The settings module to deploy with, why that one, and which others there are."""
    beside = sorted({name for named in by_wsgi + by_manage for name in _beside(root, named)})
    found = [(name, "named by wsgi.py") for name in by_wsgi if not _is(_DEVELOPMENT, name)]
    found += [(name, "it looks like the one for production") for name in beside if _is(_PRODUCTION, name)]
    found += [(name, "named by wsgi.py") for name in by_wsgi] + [(name, "named by manage.py") for name in by_manage]
    found += [(name, "the only ones found") for name in ("settings", f"{root.name}.settings")]
    for name, why in found:
        if {"INSTALLED_APPS", "ROOT_URLCONF"} & Reader(root).module(name).keys():
            both = why == "named by wsgi.py" and name in by_manage
            others = {one for one in (*beside, *by_wsgi, *by_manage) if Reader(root).find(one)} - {name}
            return name, "named by wsgi.py and manage.py" if both else why, tuple(sorted(others))
    named = ", ".join(dict.fromkeys(by_wsgi + by_manage)) or "none"
    raise AdoptError(f"{root}: no settings found (wsgi.py and manage.py name {named}); set {VARIABLE} in wsgi.py")


def _is(pattern: re.Pattern[str], module: str) -> bool:
    return pattern.fullmatch(module.split(".")[-1]) is not None


def _beside(root: Path, module: str) -> list[str]:
    """The other modules of a settings package; for a plain module those with `settings` in their name."""
    file = Reader(root).find(module)
    if file is None:
        return []
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names = [path.stem for path in file.parent.glob("*.py") if path.stem != "__init__"]
    if not re.search(r"settings|config", file.parent.name):
        names = [name for name in names if "settings" in name]
    return [f"{package}.{name}".lstrip(".") for name in names]


def _wsgi(reader: Reader, names: Names, files: list[Path]) -> str:
    """`module:name`, from WSGI_APPLICATION or the first wsgi.py with an `application`."""
    said = names.get("WSGI_APPLICATION", Setting()).value
    if isinstance(said, str) and reader.find(said.rpartition(".")[0]):
        return ":".join(said.rsplit(".", 1))
    for file in files:
        module = ".".join(file.relative_to(reader.root).with_suffix("").parts)
        if "application" in Reader(reader.root).module(module):
            return f"{module}:application"
    raise AdoptError(
        f"{reader.root}: there is no WSGI callable (WSGI_APPLICATION, or a wsgi.py with `application`); "
        "gunicorn needs one: add the wsgi.py that `django-admin startproject` writes"
    )


# ------------------------------------------------------------------------------------------------- the rest


def _needs(source: Source) -> Requirements | ReleaseError:
    try:
        return requirements(source)
    except ReleaseError as problem:
        return problem


def _by_hand(reader: Reader, file: Path) -> Iterator[Setting]:
    """The first place of a file that names a CORS header, or takes part in corsheaders' decision."""
    text = file.read_text(errors="replace")
    with suppress(AdoptError):  # templates of files are no Python, and nothing to us
        for node in ast.walk(parse(file)) if re.search(_BY_HAND, text) else ():
            word = node.module if isinstance(node, ast.ImportFrom) else getattr(node, "value", None)
            if isinstance(word, str) and re.fullmatch(_BY_HAND, word):
                yield Setting(word, reader.where(file, node))
                return
