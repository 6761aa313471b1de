"""CORS headers that a project's own code writes: each place, and what becomes of it. nginx hides
all of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.core.origins import OriginError, parse_origin
from infra.core.settings import CHECKS, DEFAULT_HEADERS
from infra.core.stackfile import as_text
from rollout.adopt.evaluate import Reader
from rollout.adopt.modules import module_name
from rollout.adopt.values import Scope, known

SIGNAL = "corsheaders.signals"
SAFELISTED = ("accept", "accept-language", "content-language")
_HEADER = re.compile(r"access-control-(allow|expose|max)-[a-z-]+", re.IGNORECASE)
_WORTH_A_LOOK = re.compile(rf"{_HEADER.pattern}|{re.escape(SIGNAL)}", re.IGNORECASE)
_KEYS = {
    "access-control-allow-headers": "allow_headers",
    "access-control-expose-headers": "expose_headers",
    "access-control-allow-methods": "allow_methods",
    "access-control-max-age": "max_age_s",
    "access-control-allow-credentials": "allow_credentials",
}
_LISTS = ("allow_headers", "expose_headers", "allow_methods")


@dataclass(frozen=True)
class Written:
    """A header that a line of code sets; `value` is None where only a run can tell it."""

    header: str
    value: str | None
    where: str


def written(reader: Reader, file: Path) -> list[Written]:
    """Every place of a file that sets such a header, in the order of its lines."""
    text = file.read_text(errors="replace")
    if not _WORTH_A_LOOK.search(text):
        return []
    tree = reader.tree(file)
    if tree is None:
        return []
    name = module_name(reader.root, file)
    scope = Scope(name, file, dict(reader.module(name)))
    return [
        Written(header, _literal(reader, node, scope), reader.where(file, place))
        for header, node, place in _places(tree)
    ]


def _places(tree: ast.Module) -> list[tuple[str, ast.expr | None, ast.AST]]:
    """Header, its value's expression and where, once for each constant that names one."""
    found: dict[int, tuple[str, ast.expr | None, ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == SIGNAL:
            found[id(node)] = (SIGNAL, None, node)
        for key, value in _pairs(node):
            name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
            if key and _HEADER.fullmatch(name) and (value is not None or id(key) not in found):
                found[id(key)] = (name, value, key)
    return sorted(
        found.values(),
        key=lambda one: (getattr(one[2], "lineno", 0), getattr(one[2], "col_offset", 0)),
    )


def _pairs(node: ast.AST) -> Iterator[tuple[ast.AST | None, ast.expr | None]]:
    """What may be a header's name with its value: `r[name] = value`, `set(name, value)`, `{name:
    value}`, a name."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from (
                (target.slice, value) for target in targets if isinstance(target, ast.Subscript)
            )
        case ast.Call(args=[name, value, *_]):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            yield from zip(keys, values, strict=True)
        case ast.Tuple(elts=[name, value]) | ast.List(elts=[name, value]):
            yield name, value
        case ast.Constant():
            yield node, None


def _literal(reader: Reader, node: ast.expr | None, scope: Scope) -> str | None:
    value = reader.value(node, scope) if node is not None else None
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    return (
        ", ".join(map(str, value)) if isinstance(value, list) and value and known(value) else None
    )


# ----------------------------------------------------------------------------------- what goes over


def carry(one: Written, values: dict[str, Any]) -> str:
    """Put what a line says into a stack's values, where it is said; what became of it, for a
    person."""
    header, lost = one.header.lower(), "nginx hides it and writes the contract's"
    if header == "access-control-allow-origin":
        return _origin(one.value, values, lost)
    if one.value is None:
        return f"{lost}; its value is computed at run time and is lost: {_instead(header)}"
    if (key := _KEYS.get(header)) in _LISTS:
        return _list(key, one.value, values, lost)
    if key == "max_age_s":
        return _age(one.value, values, lost)
    if key == "allow_credentials" and one.value.lower() == "true":
        return f"{lost}: set allow_credentials: true, and domain, which cookies need"
    return f"{lost}; it is lost"


def _instead(header: str) -> str:
    return (
        f"write what is needed into {_KEYS[header]}"
        if header in _KEYS
        else "no key of the stack sets it"
    )


def of_its_own(key: str, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """What of a list is not the default of its key, and the whole list with the default where that
    has one."""
    usual = (
        {name.lower() for name in (*DEFAULT_HEADERS, *SAFELISTED)}
        if key == "allow_headers"
        else set()
    )
    own = [name for name in names if name.lower() not in usual]
    return own, [*DEFAULT_HEADERS, *own] if key == "allow_headers" else own


def _origin(value: str | None, values: dict[str, Any], lost: str) -> str:
    goes = "origins that it lets in go into extra_origins"
    if value is None or value == "*":
        return f"{lost}: {goes}"
    try:
        origin = str(parse_origin(value, production=False))
    except OriginError as problem:
        return f"{lost}; {problem}: {goes}"
    _add(values, "extra_origins", [origin])
    return f"{lost}; {origin} is carried over into extra_origins"


def _list(key: str, text: str, values: dict[str, Any], lost: str) -> str:
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        checked = [str(name) for name in CHECKS[key](as_text(names))]
    except ValueError as problem:
        return f"{lost}; it is lost, since {problem}: write {key} into the file"
    own, whole = of_its_own(key, checked)
    if own:
        _add(values, key, whole)
        return (
            f"{lost}; {', '.join(own)} {'is' if len(own) == 1 else 'are'} carried over into {key}"
        )
    return f"{lost}, which lets in the same"


def _age(text: str, values: dict[str, Any], lost: str) -> str:
    try:
        values.setdefault("max_age_s", int(CHECKS["max_age_s"](text)))
    except ValueError as problem:
        return f"{lost}; it is lost, since {problem}: write max_age_s into the file"
    return f"{lost}; it is carried over into max_age_s"


def _add(values: dict[str, Any], key: str, names: list[str]) -> None:
    there = values.setdefault(key, [])
    lower = {str(name).lower() for name in there}
    there += [name for name in names if name.lower() not in lower]
