"""Which settings module and which WSGI callable a project is served with, and why those. Only
reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout.adopt.evaluate import Reader
from rollout.adopt.values import AdoptError, Names, Setting

VARIABLE = "DJANGO_SETTINGS_MODULE"
PRODUCTION = re.compile(r"(\w*_)?(prod|production|live|deploy|deployment)(_\w*)?")
_DEVELOPMENT = re.compile(
    r"(\w*_)?(dev|devel|development|local|test|tests|testing|ci|debug)(_\w*)?"
)
_BASE = re.compile(r"(\w*_)?(base|common|default|defaults|shared)(_\w*)?")
_SAY_SO = {"INSTALLED_APPS", "ROOT_URLCONF"}


@dataclass(frozen=True)
class Chosen:
    """A settings module, why that one, and which others there are."""

    module: str
    why: str
    others: tuple[str, ...]


def named(tree: ast.AST, variable: str = VARIABLE) -> list[str]:
    """The settings modules that a script puts into the environment; or what it puts into another
    variable."""
    values = [value for _, value in given(tree, variable)]
    strings = [
        one.value for value in values for one in ast.walk(value) if isinstance(one, ast.Constant)
    ]
    return [
        name
        for name in strings
        if isinstance(name, str) and re.fullmatch(r"[A-Za-z_][\w.]*\w", name)
    ]


def given(tree: ast.AST, variable: str = VARIABLE) -> Iterator[tuple[ast.AST, ast.expr]]:
    """Each statement that sets the variable, with what it sets it to."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="setdefault"), args=[ast.Constant(value=name), value]
            ):
                if name == variable:
                    yield node, value
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=name))], value=value):
                if name == variable:
                    yield node, value


def choose(
    reader: Reader,
    by_wsgi: list[str],
    by_manage: list[str],
    files: Sequence[Path],
    asked: str | None,
) -> Chosen:
    """The settings module to deploy with. Raises AdoptError, with the candidates, where that can't
    be made out."""
    new = reader.fresh
    beside = sorted({name for one in by_wsgi + by_manage for name in _beside(reader, one)})
    if asked:
        if reader.find(asked) is None:
            raise AdoptError(
                f"--settings {asked}: there is no such module in"
                f" {reader.root}{_listed(reader, files)}"
            )
        return Chosen(
            asked, "named by --settings", _others(reader, asked, beside, by_wsgi, by_manage)
        )
    plain = [name for name in by_wsgi if not _is(_DEVELOPMENT, name)]
    live = [name for name in beside if _is(PRODUCTION, name)]
    dev = _of_development(reader, plain) if live else {}
    found = [
        (name, "named by wsgi.py") for name in plain if not _is(_BASE, name) and name not in dev
    ]
    found += [(name, _looks_live(dev)) for name in live]
    found += [(name, "named by wsgi.py") for name in (*plain, *by_wsgi)]
    found += [(name, "named by manage.py") for name in by_manage]
    found += [
        (name, "the only ones found") for name in ("settings", f"{reader.root.name}.settings")
    ]
    for name, why in found:
        if _are_settings(new(), name):
            both = why == "named by wsgi.py" and name in by_manage
            why = "named by wsgi.py and manage.py" if both else why
            return Chosen(name, why, _others(reader, name, beside, by_wsgi, by_manage))
    told = ", ".join(dict.fromkeys(by_wsgi + by_manage)) or "none"
    return _candidate(reader, files, told)


def _of_development(reader: Reader, names: list[str]) -> dict[str, str]:
    """Those that take DEBUG, switched on, from a module for development, and the file that is."""
    found = {}
    for name in names:
        try:
            debug = reader.fresh().module(name).get("DEBUG", Setting())
        except AdoptError:
            continue
        file = debug.where.partition(":")[0]
        if debug.value is True and _DEVELOPMENT.fullmatch(
            file.rpartition("/")[2].removesuffix(".py")
        ):
            found[name] = file
    return found


def _looks_live(dev: dict[str, str]) -> str:
    told = "".join(f"; {name}, which wsgi.py names, takes {file} in" for name, file in dev.items())
    return f"it looks like the one for production{told}"


def _candidate(reader: Reader, files: Sequence[Path], told: str) -> Chosen:
    """The only module that can be meant, though nobody names it."""
    there = candidates(reader, files)
    live = [name for name in there if _is(PRODUCTION, name)]
    for names in (there, live):
        if len(names) == 1:
            others = tuple(name for name in there if name != names[0])
            why = (
                f"the only candidate, since wsgi.py and manage.py name {told}; --settings MODULE"
                " takes another one"
            )
            return Chosen(names[0], why, others)
    raise AdoptError(
        f"{reader.root}: no settings found (wsgi.py and manage.py name"
        f" {told}){_listed(reader, files)}; set {VARIABLE} in wsgi.py, or name it with --settings"
        " MODULE"
    )


def _listed(reader: Reader, files: Sequence[Path]) -> str:
    there = candidates(reader, files)
    return f"; candidates: {', '.join(there[:12])}" if there else ""


def candidates(reader: Reader, files: Sequence[Path]) -> list[str]:
    """Modules that look like settings: they set INSTALLED_APPS or ROOT_URLCONF, or take over one
    that does."""
    told = [
        file
        for file in files
        if re.search(r"settings|config|conf\b", file.relative_to(reader.root).as_posix())
    ]
    names = [module_name(reader.root, file) for file in told if _may_be(file)]
    return sorted(
        {name for name in names if reader.find(name) and _are_settings(reader.fresh(), name)}
    )


def _may_be(file: Path) -> bool:
    text = file.read_text(errors="replace")
    return bool(
        re.search(
            r"^(INSTALLED_APPS|ROOT_URLCONF)\b|^from \S+ import \*|^include\(", text, re.MULTILINE
        )
    )


def module_name(root: Path, file: Path) -> str:
    """The dotted name of a file below `root`."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _are_settings(reader: Reader, name: str) -> bool:
    """Whether a module is one of settings, or may be: something of it is not read here."""
    names = reader.module(name)
    if reader.find(name) in reader.unread:
        return True  # what is wrong is said when it is read for good
    return bool(_SAY_SO & names.keys()) or (
        bool(names or reader.notes) and bool(reader.notes or reader.classes)
    )


def _others(reader: Reader, name: str, *more: list[str]) -> tuple[str, ...]:
    return tuple(sorted({one for names in more for one in names if reader.find(one)} - {name}))


def _is(pattern: re.Pattern[str], module: str) -> bool:
    return pattern.fullmatch(module.split(".")[-1]) is not None


def _is_one_of_several(name: str) -> bool:
    return any(_is(pattern, name) for pattern in (PRODUCTION, _DEVELOPMENT, _BASE))


def _beside(reader: Reader, module: str) -> list[str]:
    """The other modules of a settings package; in any other folder those that are called like
    settings."""
    file = reader.find(module)
    if file is None:
        return []
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names = [path.stem for path in file.parent.glob("*.py") if path.stem != "__init__"]
    if not re.search(r"settings", file.parent.name):
        names = [name for name in names if "settings" in name or _is_one_of_several(name)]
    return [f"{package}.{name}".lstrip(".") for name in names]


def callable_for_wsgi(reader: Reader, names: Names, files: list[Path], asked: str | None) -> str:
    """`module:name`, as it was asked for, from WSGI_APPLICATION or the first wsgi.py with an
    `application`."""
    if asked:
        module, _, name = asked.partition(":")
        if reader.find(module) is None:
            raise AdoptError(
                f"--wsgi {asked}: there is no module {module} in {reader.root}; write module:name"
            )
        return f"{module}:{name or 'application'}"
    told = names.get("WSGI_APPLICATION", Setting()).value
    if isinstance(told, str) and reader.find(told.rpartition(".")[0]):
        return ":".join(told.rsplit(".", 1))
    for file in files:
        module = module_name(reader.root, file)
        if "application" in reader.fresh().module(module):
            return f"{module}:application"
    raise AdoptError(
        f"{reader.root}: there is no WSGI callable (WSGI_APPLICATION, or a wsgi.py with"
        " `application`); gunicorn needs one: add the wsgi.py that `django-admin startproject`"
        " writes, or name it with --wsgi module:name"
    )


def insisting(reader: Reader, file: Path, tree: ast.AST) -> Iterator[Setting]:
    """Where the variable is overwritten, so that no other settings module can come first."""
    for node, value in given(tree):
        if isinstance(node, ast.Assign):
            yield Setting(ast.unparse(value), reader.where(file, node))
