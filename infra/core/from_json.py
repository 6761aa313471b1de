"""Read JSON types into a dataclass, and name everything that is of another type. Pure."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

from infra.core.rules import quote


def read(kind: Any, value: Any, place: str, problems: list[str]) -> Any:
    """Turn JSON `value` into `kind`: a dataclass, a scalar, a tuple or dict of such, or an optional
    one.

    What is wrong is added to `problems`; the answer is of use only if that stays empty.
    """
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, place, problems)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        if value is None:
            return None
        return read(arguments[0], value, place, problems)
    if origin is tuple and isinstance(value, (list, tuple)):
        return _read_items(arguments[0], value, place, problems)
    if origin is dict and isinstance(value, dict):
        return _read_values(arguments[1], value, place, problems)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)  # Pulumi keeps every number as a double
    if origin is None and type(value) is kind:
        return value
    expected = getattr(origin or kind, "__name__", str(kind))
    problems.append(f"{place}: {quote(value)} is not {_article(expected)} {expected}")
    return None


def _read_items(
    kind: Any,
    value: Any,
    place: str,
    problems: list[str],
) -> tuple[Any, ...]:
    items = []
    for index, item in enumerate(value):
        items.append(read(kind, item, f"{place}[{index}]", problems))
    return tuple(items)


def _read_values(
    kind: Any,
    value: Any,
    place: str,
    problems: list[str],
) -> dict[str, Any]:
    values = {}
    for key, item in value.items():
        values[key] = read(kind, item, f"{place}.{_shown(key)}", problems)
    return values


def _read_dataclass(
    kind: Any,
    value: Any,
    place: str,
    problems: list[str],
) -> Any:
    if not isinstance(value, dict):
        problems.append(f"{place}: {quote(value)} is not an object")
        return None
    hints = _hints(kind)
    missing = sorted(_required(kind) - value.keys())
    if missing:
        problems.append(f"{place}: {', '.join(missing)} missing")
    unknown = [_shown(key) for key in sorted(value.keys() - hints.keys())]
    if unknown:
        problems.append(f"{place}: {', '.join(unknown)} unknown to this kit: pull a newer one")
    fields = {}
    for key, item in value.items():
        if key in hints:
            fields[key] = read(hints[key], item, f"{place}.{key}", problems)
    return None if missing else kind(**fields)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of its fields; a list of previews reads the same few classes fifty times."""
    return typing.get_type_hints(kind)


@functools.cache
def _required(kind: Any) -> set[str]:
    """The fields without a default."""
    names = set()
    for field in dataclasses.fields(kind):
        has_default = field.default is not dataclasses.MISSING
        if not has_default and field.default_factory is dataclasses.MISSING:
            names.add(field.name)
    return names


def _shown(key: str) -> str:
    """A key as part of a place: as it is, or quoted where it is no plain word."""
    plain = key.isidentifier() and key.isascii() and len(key) <= 60
    return key if plain else quote(key)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
