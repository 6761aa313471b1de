"""Which settings module and which WSGI callable a project is served with, and why those. Only
reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from rollout.adopt.evaluate import Reader
from rollout.adopt.values import AdoptError, Names, Setting

VARIABLE = "DJANGO_SETTINGS_MODULE"
PRODUCTION = re.compile(r"(\w*_)?(prod|production|live|deploy|deployment)(_\w*)?")
_DEVELOPMENT = re.compile(
    r"(\w*_)?(dev|devel|development|local|test|tests|testing|ci|debug)(_\w*)?"
)
_BASE = re.compile(r"(\w*_)?(base|common|default|defaults|shared)(_\w*)?")
_SAY_SO = {"INSTALLED_APPS", "ROOT_URLCONF"}
_BY_WSGI = "named by wsgi.py"
_MOST_CANDIDATES = 12


@dataclass(frozen=True)
class Chosen:
    """A settings module, why that one, and which others there are."""

    module: str
    why: str
    others: tuple[str, ...]


def named(tree: ast.AST, variable: str = VARIABLE) -> list[str]:
    """The settings modules that a script puts into the environment; or what it puts into another
    variable."""
    names = []
    for _, value in assignments(tree, variable):
        for part in ast.walk(value):
            if isinstance(part, ast.Constant) and _is_module_name(part.value):
                names.append(part.value)
    return names


def _is_module_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.]*\w", value) is not None


def assignments(tree: ast.AST, variable: str = VARIABLE) -> Iterator[tuple[ast.AST, ast.expr]]:
    """Each statement that sets an environment variable, with what it sets it to."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="setdefault"), args=[ast.Constant(value=name), value]
            ) if name == variable:
                yield node, value
            case ast.Assign(
                targets=[ast.Subscript(slice=ast.Constant(value=name))], value=value
            ) if name == variable:
                yield node, value


def overwritten(
    reader: Reader,
    file: Path,
    tree: ast.AST,
) -> Iterator[Setting]:
    """Where a script overwrites the variable, so that no other settings module can come first."""
    for node, value in assignments(tree):
        if isinstance(node, ast.Assign):
            yield Setting(ast.unparse(value), reader.where(file, node))


# -------------------------------------------------------------------------------------- settings


def choose(
    reader: Reader,
    by_wsgi: list[str],
    by_manage: list[str],
    files: Sequence[Path],
    asked: str | None,
) -> Chosen:
    """The settings module to deploy with.

    Raises AdoptError, with the candidates, where that can't be made out.
    """
    siblings = _all_siblings(reader, by_wsgi + by_manage)
    known_names = [*siblings, *by_wsgi, *by_manage]
    if asked:
        if reader.find(asked) is None:
            listed = _listed(candidates(reader, files))
            raise AdoptError(
                f"--settings {asked}: there is no such module in {reader.root}{listed}"
            )
        return Chosen(asked, "named by --settings", _others(reader, asked, known_names))
    for name, why in _proposals(reader, by_wsgi, by_manage, siblings):
        if not _are_settings(reader.new_reader(), name):
            continue
        if why == _BY_WSGI and name in by_manage:
            why = "named by wsgi.py and manage.py"
        return Chosen(name, why, _others(reader, name, known_names))
    names = ", ".join(dict.fromkeys(by_wsgi + by_manage)) or "none"
    return _only_candidate(reader, files, names)


def _proposals(
    reader: Reader,
    by_wsgi: list[str],
    by_manage: list[str],
    siblings: list[str],
) -> list[tuple[str, str]]:
    """Modules that may be the one to deploy with, the best first, each with the reason."""
    no_development = [name for name in by_wsgi if not _is(_DEVELOPMENT, name)]
    production = [name for name in siblings if _is(PRODUCTION, name)]
    imports_development = {}
    if production:
        imports_development = _development_imports(reader, no_development)
    proposals = []
    for name in no_development:
        if not _is(_BASE, name) and name not in imports_development:
            proposals.append((name, _BY_WSGI))
    reason = _production_reason(imports_development)
    for name in production:
        proposals.append((name, reason))
    for name in (*no_development, *by_wsgi):
        proposals.append((name, _BY_WSGI))
    for name in by_manage:
        proposals.append((name, "named by manage.py"))
    for name in ("settings", f"{reader.root.name}.settings"):
        proposals.append((name, "the only ones found"))
    return proposals


def _development_imports(reader: Reader, names: list[str]) -> dict[str, str]:
    """The modules that import DEBUG, switched on, from a module for development, and its file."""
    files = {}
    for name in names:
        try:
            debug = reader.new_reader().module(name).get("DEBUG", Setting())
        except AdoptError:
            continue
        file = debug.where.partition(":")[0]
        module = file.rpartition("/")[2].removesuffix(".py")
        if debug.value is True and _DEVELOPMENT.fullmatch(module):
            files[name] = file
    return files


def _production_reason(imports_development: dict[str, str]) -> str:
    reason = "it looks like the one for production"
    for name, file in imports_development.items():
        reason += f"; {name}, which wsgi.py names, imports {file}"
    return reason


def _only_candidate(
    reader: Reader,
    files: Sequence[Path],
    named_by_scripts: str,
) -> Chosen:
    """The only module that can be meant, though no script names it."""
    there = candidates(reader, files)
    production = [name for name in there if _is(PRODUCTION, name)]
    for names in (there, production):
        if len(names) == 1:
            others = [name for name in there if name != names[0]]
            why = (
                f"the only candidate, since wsgi.py and manage.py name {named_by_scripts};"
                " --settings MODULE takes another one"
            )
            return Chosen(names[0], why, tuple(others))
    raise AdoptError(
        f"no settings found (wsgi.py and manage.py name {named_by_scripts}){_listed(there)}",
        where=str(reader.root),
        cure=f"set {VARIABLE} in wsgi.py, or name it with --settings MODULE",
    )


def _listed(there: Sequence[str]) -> str:
    if not there:
        return ""
    return f"; candidates: {', '.join(there[:_MOST_CANDIDATES])}"


def candidates(reader: Reader, files: Sequence[Path]) -> list[str]:
    """Modules that look like settings: they set INSTALLED_APPS or ROOT_URLCONF, or import all of a
    module that does."""
    names = set()
    for file in files:
        path = file.relative_to(reader.root).as_posix()
        if not re.search(r"settings|config|conf\b", path) or not _may_be(file):
            continue
        name = module_name(reader.root, file)
        if reader.find(name) and _are_settings(reader.new_reader(), name):
            names.add(name)
    return sorted(names)


def _may_be(file: Path) -> bool:
    text = file.read_text(errors="replace")
    pattern = r"^(INSTALLED_APPS|ROOT_URLCONF)\b|^from \S+ import \*|^include\("
    return re.search(pattern, text, re.MULTILINE) is not None


def module_name(root: Path, file: Path) -> str:
    """The dotted name of a file below `root`."""
    parts = file.relative_to(root).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


def _are_settings(reader: Reader, name: str) -> bool:
    """Whether a module is one of settings, or may be: something of it is not read here."""
    names = reader.module(name)
    if reader.find(name) in reader.unread:
        return True  # what is wrong is reported when it is read again
    if _SAY_SO & names.keys():
        return True
    if reader.notes:
        return True
    return bool(names and reader.classes)


def _others(
    reader: Reader,
    name: str,
    names: Iterable[str],
) -> tuple[str, ...]:
    others = set()
    for other in names:
        if other != name and reader.find(other):
            others.add(other)
    return tuple(sorted(others))


def _is(pattern: re.Pattern[str], module: str) -> bool:
    return pattern.fullmatch(module.split(".")[-1]) is not None


def _is_one_of_several(name: str) -> bool:
    return any(_is(pattern, name) for pattern in (PRODUCTION, _DEVELOPMENT, _BASE))


def _all_siblings(reader: Reader, names: Iterable[str]) -> list[str]:
    siblings: set[str] = set()
    for name in names:
        siblings.update(_siblings(reader, name))
    return sorted(siblings)


def _siblings(reader: Reader, module: str) -> list[str]:
    """The modules of a settings package; in any other folder those with a name of settings."""
    file = reader.find(module)
    if file is None:
        return []
    package = module
    if file.name != "__init__.py":
        package = module.rpartition(".")[0]
    is_settings_package = "settings" in file.parent.name
    siblings = []
    for path in file.parent.glob("*.py"):
        name = path.stem
        if name == "__init__":
            continue
        if is_settings_package or "settings" in name or _is_one_of_several(name):
            siblings.append(f"{package}.{name}".lstrip("."))
    return siblings


# ------------------------------------------------------------------------------------------ WSGI


def callable_for_wsgi(
    reader: Reader,
    names: Names,
    files: list[Path],
    asked: str | None,
) -> str:
    """`module:name`, as it was asked for, from WSGI_APPLICATION or the first wsgi.py with an
    `application`.

    Raises AdoptError where there is none.
    """
    if asked:
        return _asked_callable(reader, asked)
    path = names.get("WSGI_APPLICATION", Setting()).value
    if isinstance(path, str) and reader.find(path.rpartition(".")[0]):
        return ":".join(path.rsplit(".", 1))
    for file in files:
        module = module_name(reader.root, file)
        if "application" in reader.new_reader().module(module):
            return f"{module}:application"
    raise AdoptError(
        "there is no WSGI callable (WSGI_APPLICATION, or a wsgi.py with `application`)",
        where=str(reader.root),
        cure=(
            "gunicorn needs one: add the wsgi.py that `django-admin startproject` writes, or name"
            " it with --wsgi module:name"
        ),
    )


def _asked_callable(reader: Reader, asked: str) -> str:
    module, _, name = asked.partition(":")
    if reader.find(module) is None:
        raise AdoptError(
            f"--wsgi {asked}: there is no module {module} in {reader.root}",
            cure="write module:name",
        )
    return f"{module}:{name or 'application'}"
