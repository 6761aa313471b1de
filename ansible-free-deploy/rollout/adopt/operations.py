"""What operators, functions and methods without effects make of values. Pure."""

from __future__ import annotations

import ast
import json
import operator
import os.path
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rollout.adopt.values import (
    NOTHING,
    Computed,
    Names,
    Setting,
    bounded,
    known,
    truth,
    unknown,
    unset,
)


def boolean(value: Any) -> bool:
    """A text as true or false, as readers of the environment and `strtobool` read it."""
    if isinstance(value, str):
        return value.lower() in ("true", "t", "yes", "y", "on", "ok", "1")
    return bool(value)


def _product(left: Any, right: Any) -> int:
    if not isinstance(left, int) or not isinstance(right, int):
        raise TypeError  # text times a number can be any size
    return left * right


def _contained(left: Any, right: Any) -> bool:
    return left in right


def _not_contained(left: Any, right: Any) -> bool:
    return left not in right


def _pattern_text(pattern: Any, *_: Any) -> Any:
    return pattern


_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _product,
    ast.Div: operator.truediv,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: _contained,
    ast.NotIn: _not_contained,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": float,
    "len": len,
    "list": list,
    "tuple": list,
    "json.loads": json.loads,
    "distutils.util.strtobool": boolean,
    "strtobool": boolean,
    "re.compile": _pattern_text,
    "pathlib.Path": Path,
    "os.path.join": os.path.join,
    "os.path.dirname": os.path.dirname,
    "os.path.abspath": os.path.normpath,
    "os.path.realpath": os.path.normpath,
    "os.path.normpath": os.path.normpath,
}
_METHODS: dict[type, tuple[str, ...]] = {
    str: (
        "lower",
        "upper",
        "strip",
        "lstrip",
        "rstrip",
        "split",
        "startswith",
        "endswith",
        "removeprefix",
        "removesuffix",
        "title",
        "capitalize",
        "casefold",
        "isdigit",
        "join",
    ),
    list: ("copy",),
    dict: ("get", "copy"),
    Path: ("joinpath", "with_name", "with_suffix"),
}
# What a function without effects raises for values that it was not meant for.
_ERRORS = (
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    MemoryError,
)


def operated(op: ast.AST, left: Any, right: Any) -> Any:
    """`left op right`; a list with an unknown part is still a list."""
    is_list = isinstance(left, list) or isinstance(right, list)
    if isinstance(op, ast.Add) and is_list:
        return _as_list(left) + _as_list(right)
    function = _OPERATORS.get(type(op))
    if function is None:
        return unknown(left, right)
    return result(function, [left, right])


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [unknown(value)]


def all_of(*parts: Any) -> bool:
    """Whether every part is true, as a chained comparison has it."""
    return all(parts)


def joined_text(*parts: Any) -> str:
    """The parts of an f-string as one text."""
    return "".join(map(str, parts))


def result(
    function: Callable[..., Any],
    arguments: list[Any],
    keywords: Mapping[str, Any] | None = None,
) -> Any:
    """The return value of a function without effects, where its arguments are known."""
    named = dict(keywords or {})
    if function is list and len(arguments) == 1 and isinstance(arguments[0], list):
        return arguments[0]
    everything = [*arguments, *named.values()]
    try:
        if _is_known_item(function, arguments) or all(map(known, everything)):
            return bounded(function(*arguments, **named))
        plain = _without_variables(function, arguments, named)
        return replace(unknown(*everything), unset=plain)
    except _ERRORS:
        return unknown(*everything)


def _is_known_item(function: Callable[..., Any], arguments: list[Any]) -> bool:
    """Whether it takes one item by a known key: the other items may be unknown."""
    if function is not operator.getitem:
        return False
    return isinstance(arguments[0], (list, dict)) and known(arguments[1])


def _without_variables(
    function: Callable[..., Any],
    arguments: list[Any],
    keywords: Mapping[str, Any],
) -> Any:
    """The return value where no variable is set; NOTHING where that is not known."""
    plain = [unset(value) for value in arguments]
    named = {name: unset(value) for name, value in keywords.items()}
    if any(value is NOTHING for value in (*plain, *named.values())):
        return NOTHING
    try:
        return bounded(function(*plain, **named))
    except _ERRORS:
        return NOTHING


def method(
    inner: Any,
    name: str,
    arguments: list[Any],
    keywords: Mapping[str, Any],
) -> Any:
    """`inner.name(…)` for methods of text, lists, dicts and paths that have no effects.

    NOTHING for any other method.
    """
    plain = unset(inner) if isinstance(inner, Computed) else inner

    def call(instance: Any, *rest: Any, **named: Any) -> Any:
        return getattr(instance, name)(*rest, **named)

    for kind, names in _METHODS.items():
        if isinstance(plain, kind) and name in names:
            return result(call, [inner, *arguments], keywords)
    return NOTHING


def changed(old: Any, attr: str, arguments: list[Any]) -> Any:
    """A list or dict after a method that changes it."""
    match attr, old, arguments:
        case "append", list(), [item]:
            return [*old, item]
        case "extend", list(), [list() as more]:
            return [*old, *more]
        case "insert", list(), [int() as place, item]:
            return [*old[:place], item, *old[place:]]
        case "remove", list(), [item] if known(item):
            return [kept for kept in old if kept != item]
        case "update", dict(), [dict() as more]:
            return {**old, **more}
        case "setdefault", dict(), [str() as key, value]:
            return {key: value, **old}
    if isinstance(old, list):
        return [*old, unknown(*arguments)]
    return unknown(old, *arguments)


def replaced(old: list[Any], key: Any, value: Any) -> list[Any]:
    """A list with one item replaced; `TEMPLATES[0]["DIRS"] = …` comes here."""
    if not isinstance(key, int) or not -len(old) <= key < len(old):
        return [*old, unknown(value)]
    copy = list(old)
    copy[key] = value
    return copy


# ---------------------------------------------------------------------------------- two branches


def merge(
    yes: Names,
    no: Names,
    when: str,
    condition: Any,
) -> None:
    """Merge the names of two branches into `yes`.

    What both branches set to the same value stays; the rest depends on the condition.
    """
    for name in list(yes.keys() | no.keys()):
        first = yes.get(name, Setting())
        second = no.get(name, Setting())
        if first.value is second.value or first.value == second.value:
            continue
        value = joined(first.value, second.value, when, condition)
        yes[name] = Setting(bounded(value), first.where or second.where)


def joined(
    yes: Any,
    no: Any,
    when: str,
    condition: Any,
) -> Any:
    """A value that is `yes` where a condition holds, and `no` elsewhere."""
    if isinstance(yes, dict) and isinstance(no, dict) and yes.keys() == no.keys():
        return _joined_dicts(yes, no, when, condition)
    if isinstance(yes, list) and isinstance(no, list):
        items = _joined_lists(yes, no, when, condition)
        if items is not None:
            return items
    plain = NOTHING
    holds = truth(condition)
    if holds is not None:
        plain = unset(yes if holds else no)
    return replace(
        unknown(yes, no, condition),
        when=when,
        maybe=yes,
        unset=plain,
    )


def _joined_dicts(
    yes: dict[Any, Any],
    no: dict[Any, Any],
    when: str,
    condition: Any,
) -> dict[Any, Any]:
    values: dict[Any, Any] = {}
    for key, value in yes.items():
        values[key] = value
        if value != no[key]:
            values[key] = joined(value, no[key], when, condition)
    return values


def _joined_lists(
    yes: list[Any],
    no: list[Any],
    when: str,
    condition: Any,
) -> list[Any] | None:
    """The longer list, its additional items conditional; None where it lacks some of the other."""
    longer = no
    shorter = yes
    text = f"not ({when})"
    if len(yes) > len(no):
        longer = yes
        shorter = no
        text = when
    if not all(item in longer for item in shorter):
        return None
    names = unknown(condition).names
    items = []
    for item in longer:
        if item in shorter:
            items.append(item)
        else:
            items.append(Computed(names, text, item))
    return items
