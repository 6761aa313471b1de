"""CORS headers that a project's own code writes: each place, and what is carried over. nginx hides
all of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.core.keys import KEYS
from infra.core.origins import OriginError, parse_origin
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
_LOST = "nginx hides it and writes the contract's"


@dataclass(frozen=True)
class Written:
    """A header that a line of code sets; `value` is None where only a run shows it."""

    header: str
    value: str | None
    where: str


@dataclass(frozen=True)
class _Place:
    """A node that names a header, and the expression of its value, where there is one."""

    header: str
    value: ast.expr | None
    node: ast.AST

    @property
    def position(self) -> tuple[int, int]:
        return getattr(self.node, "lineno", 0), getattr(self.node, "col_offset", 0)


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
    lines = []
    for place in _places(tree):
        value = _literal(reader, place.value, scope)
        lines.append(Written(place.header, value, reader.where(file, place.node)))
    return lines


def _places(tree: ast.Module) -> list[_Place]:
    """Each constant that names a header, once."""
    places: dict[int, _Place] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == SIGNAL:
            places[id(node)] = _Place(SIGNAL, None, node)
        for key, value in _pairs(node):
            header = _header(key)
            if not header:
                continue
            if value is not None or id(key) not in places:
                places[id(key)] = _Place(header, value, key)
    return sorted(places.values(), key=lambda place: place.position)


def _header(node: ast.AST) -> str:
    """The header that a constant names; "" for any other node."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return ""
    if not _HEADER.fullmatch(node.value):
        return ""
    return node.value


def _pairs(node: ast.AST) -> Iterator[tuple[ast.AST, ast.expr | None]]:
    """What may be a header's name with its value: `r[name] = value`, `set(name, value)`, `{name:
    value}`, a name."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                if isinstance(target, ast.Subscript):
                    yield target.slice, value
        case ast.Call(args=[name, value, *_]):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if key is not None:
                    yield key, value
        case ast.Tuple(elts=[name, value]) | ast.List(elts=[name, value]):
            yield name, value
        case ast.Constant():
            yield node, None


def _literal(
    reader: Reader,
    node: ast.expr | None,
    scope: Scope,
) -> str | None:
    value = reader.value(node, scope) if node is not None else None
    if isinstance(value, bool):
        return None
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, list) and value and known(value):
        return ", ".join(map(str, value))
    return None


# ------------------------------------------------------------------------------------ carried over


def carry(line: Written, values: dict[str, Any]) -> str:
    """Add what a line sets to a stack's values, where it is known; the result is what became of
    it, as text for a person."""
    header = line.header.lower()
    key = _KEYS.get(header, "")
    if header == "access-control-allow-origin":
        return f"{_LOST}{_origin(line.value, values)}"
    if line.value is None:
        return f"{_LOST}; its value is computed at run time and is lost: {_instead(key)}"
    if key in _LISTS:
        return f"{_LOST}{_list(key, line.value, values)}"
    if key == "max_age_s":
        return f"{_LOST}; {_age(line.value, values)}"
    if key == "allow_credentials" and line.value.lower() == "true":
        return f"{_LOST}: set allow_credentials: true, and domain, which cookies need"
    return f"{_LOST}; it is lost"


def _instead(key: str) -> str:
    if not key:
        return "no key of the stack sets it"
    return f"write what is needed into {key}"


def without_default(key: str, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """What of a list is not in the default of its key, and that with the default in front."""
    names = list(names)
    if key != "allow_headers":
        return names, names
    default = KEYS["allow_headers"].default
    allowed = {name.lower() for name in (*default, *SAFELISTED)}
    own = [name for name in names if name.lower() not in allowed]
    return own, [*default, *own]


def _origin(value: str | None, values: dict[str, Any]) -> str:
    cure = "origins that it allows go into extra_origins"
    if value is None or value == "*":
        return f": {cure}"
    try:
        origin = str(parse_origin(value, production=False))
    except OriginError as problem:
        return f"; {problem}: {cure}"
    _add(values, "extra_origins", [origin])
    return f"; {origin} is carried over into extra_origins"


def _list(key: str, text: str, values: dict[str, Any]) -> str:
    names = [name.strip() for name in text.split(",")]
    try:
        checked = KEYS[key].read(as_text([name for name in names if name]))
    except ValueError as problem:
        return f"; it is lost, since {problem}: write {key} into the file"
    own, with_default = without_default(key, map(str, checked))
    if not own:
        return ", which allows the same"
    _add(values, key, with_default)
    verb = "is" if len(own) == 1 else "are"
    return f"; {', '.join(own)} {verb} carried over into {key}"


def _age(text: str, values: dict[str, Any]) -> str:
    try:
        seconds = int(KEYS["max_age_s"].read(text))
    except ValueError as problem:
        return f"it is lost, since {problem}: write max_age_s into the file"
    values.setdefault("max_age_s", seconds)
    return "it is carried over into max_age_s"


def _add(values: dict[str, Any], key: str, names: list[str]) -> None:
    there = values.setdefault(key, [])
    lower = {str(name).lower() for name in there}
    for name in names:
        if name.lower() not in lower:
            there.append(name)
