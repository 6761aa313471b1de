"""What settings can be: said, computed at run time, or a name from outside; and what can be made of
such. Pure."""

from __future__ import annotations

import ast
import json
import operator
import os.path
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra.core import exits
from infra.core.errors import KitError

RUNNING = "{}.{}".format(*sys.version_info)  # the Python that reads the project


class AdoptError(KitError):
    """The project can't be read, or the stack's config not be written; the text says where, and the
    next step."""

    exit_status = exits.USAGE


class NotPython(AdoptError):
    """A file that the Python which runs `fab` can't read: it has a mistake, or is written for a
    newer Python."""

    def __init__(self, file: object, line: int, problem: object) -> None:
        super().__init__(
            f"not valid Python {RUNNING} ({problem})",
            where=f"{file}:{line}",
            cure="correct it, or, if it is written for a newer Python, install that and give it to"
            " the kit: `UV_PYTHON=python3.13 make -B .venv/run`",
        )
        self.line = line


class _Nothing:
    """No value at all, where None is one."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()


@dataclass(frozen=True)
class Computed:
    """What only a run can tell: the variables and the condition that it hangs on, what it is where
    that holds, and what it is where none of the variables is set."""

    names: tuple[str, ...] = ()
    when: str = ""
    maybe: Any = None
    unset: Any = field(default=NOTHING, compare=False)


@dataclass(frozen=True)
class External:
    """A name from outside of what is read, dotted: `os.environ`, `list`, `environ.Env`."""

    name: str


@dataclass(frozen=True, eq=False)
class Function:
    """A function of the project, and where its names are looked up."""

    node: ast.FunctionDef | ast.Lambda
    scope: Scope


@dataclass(frozen=True)
class Setting:
    """A value, and the file and line that said it last; None where nothing did."""

    value: Any = None
    where: str = ""


Names = dict[str, Setting]


@dataclass(eq=False)
class Scope:
    """The module or function that is being read; `returned` are a function's values, and whether
    they come of an empty environment."""

    module: str
    file: Path
    names: Names
    returned: list[tuple[Any, bool]] | None = None


# ------------------------------------------------------------------------------------------ telling


def shown(value: Any) -> str:
    """A value for a person, shortened; never a guess."""
    if isinstance(value, Computed):
        source = f", from {' and '.join(value.names)}" if value.names else ""
        sure = value.when and value.maybe is not None and not isinstance(value.maybe, Computed)
        text = f"{shown(value.maybe)} if {value.when}" if sure else f"computed at run time{source}"
    elif isinstance(value, dict) and not known(value):
        text = shown(unknown(value))
    elif isinstance(value, list):
        text = f"[{', '.join(map(shown, value))}]"
    elif isinstance(value, External):
        text = value.name
    elif isinstance(value, Function):
        text = "a function"
    else:
        text = (
            "not set" if value is None else str(value) if isinstance(value, Path) else repr(value)
        )
    return text if len(text) <= 60 else text[:57] + "..."


def known(value: Any) -> bool:
    """Whether all of it is said."""
    if isinstance(value, (list, dict)):
        return all(map(known, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, (Computed, External, Function))


def unknown(*values: Any) -> Computed:
    """What comes of values in a way that is not followed: it hangs on the same variables."""
    return Computed(tuple(sorted(_variables(values))))


def _variables(values: Iterable[Any]) -> set[str]:
    inner = [list(one.values()) if isinstance(one, dict) else one for one in values]
    own = {name for one in inner if isinstance(one, Computed) for name in one.names}
    return own.union(*(_variables(one) for one in inner if isinstance(one, list)))


def unset(value: Any) -> Any:
    """What a value is where no variable is set; NOTHING where that is not known."""
    if isinstance(value, Computed):
        return value.unset
    if isinstance(value, list):
        parts = [unset(one) for one in value]
        return NOTHING if any(one is NOTHING for one in parts) else parts
    if isinstance(value, dict):
        pairs = {key: unset(one) for key, one in value.items()}
        return NOTHING if any(one is NOTHING for one in pairs.values()) else pairs
    return value if known(value) else NOTHING


def truth(value: Any) -> bool | None:
    """Whether a condition holds in an empty environment; None where that is not known."""
    found = unset(value)
    return None if found is NOTHING else bool(found)


# ------------------------------------------------------------------------------------------- bounds

_PARTS, _DEPTH, _TEXT, _BITS = 5_000, 40, 100_000, 4_096


def bounded(value: Any) -> Any:
    """The value, unless it is larger or deeper than any setting is: lists that double in each line
    have no end."""
    left, stack = _PARTS, [(value, 0)]
    while stack:
        one, depth = stack.pop()
        left -= 1
        if left < 0 or depth > _DEPTH or _is_long(one):
            return Computed()
        if isinstance(one, Computed):
            stack += [(one.maybe, depth + 1), (one.unset, depth + 1)]
        elif isinstance(one, (list, dict)):
            stack += [
                (inner, depth + 1) for inner in (one.values() if isinstance(one, dict) else one)
            ]
    return value


def _is_long(value: Any) -> bool:
    if isinstance(value, (str, bytes, Path)):
        return len(str(value) if isinstance(value, Path) else value) > _TEXT
    return isinstance(value, int) and value.bit_length() > _BITS


# ------------------------------------------------------------------------------- what comes of them


def _product(left: Any, right: Any) -> int:
    if not isinstance(left, int) or not isinstance(right, int):
        raise TypeError  # text times a number can be any size
    return left * right


def _among(left: Any, right: Any) -> bool:
    return left in right


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
    ast.In: _among,
    ast.NotIn: lambda left, right: not _among(left, right),
}


def boolean(value: Any) -> bool:
    """As readers of the environment and `strtobool` read it."""
    if isinstance(value, str):
        return value.lower() in ("true", "t", "yes", "y", "on", "ok", "1")
    return bool(value)


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
    "re.compile": lambda pattern, *_: pattern,
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
# What a function without effects can't do with values that it wasn't meant for.
_REFUSALS = (
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
    if isinstance(op, ast.Add) and (isinstance(left, list) or isinstance(right, list)):
        sides = [side if isinstance(side, list) else [unknown(side)] for side in (left, right)]
        return sides[0] + sides[1]
    return (
        result(_OPERATORS[type(op)], [left, right])
        if type(op) in _OPERATORS
        else unknown(left, right)
    )


def result(
    function: Callable[..., Any], given: list[Any], words: dict[str, Any] | None = None
) -> Any:
    """What a function without effects returns, where its arguments are said."""
    if function is list and len(given) == 1 and isinstance(given[0], list):
        return given[0]
    everything = [*given, *(words or {}).values()]
    shallow = (
        function is operator.getitem and isinstance(given[0], (list, dict)) and known(given[1])
    )
    try:
        if shallow or all(map(known, everything)):
            return bounded(function(*given, **(words or {})))
        return replace(unknown(*everything), unset=_without_variables(function, given, words or {}))
    except _REFUSALS:
        return unknown(*everything)


def _without_variables(
    function: Callable[..., Any], given: list[Any], words: dict[str, Any]
) -> Any:
    plain = [unset(one) for one in given]
    named = {name: unset(one) for name, one in words.items()}
    if any(one is NOTHING for one in (*plain, *named.values())):
        return NOTHING
    try:
        return bounded(function(*plain, **named))
    except _REFUSALS:
        return NOTHING


def method(inner: Any, name: str, given: list[Any], words: dict[str, Any]) -> Any:
    """`inner.name(…)` for those of text, lists, dicts and paths that have no effects; NOTHING for
    any other."""
    plain = unset(inner) if isinstance(inner, Computed) else inner
    for kind, names in _METHODS.items():
        if isinstance(plain, kind) and name in names:
            return result(
                lambda one, *rest, **more: getattr(one, name)(*rest, **more), [inner, *given], words
            )
    return NOTHING


def changed(old: Any, attr: str, given: list[Any]) -> Any:
    """A list or dict after a method that changes it."""
    match attr, old, given:
        case "append", list(), [one]:
            return [*old, one]
        case "extend", list(), [list() as more]:
            return [*old, *more]
        case "insert", list(), [int() as place, one]:
            return [*old[:place], one, *old[place:]]
        case "remove", list(), [one] if known(one):
            return [kept for kept in old if kept != one]
        case "update", dict(), [dict() as more]:
            return {**old, **more}
        case "setdefault", dict(), [str() as key, value]:
            return {key: value, **old}
    return [*old, unknown(*given)] if isinstance(old, list) else unknown(old, *given)


def merge(yes: Names, no: Names, when: str, condition: Any) -> None:
    """Into `yes` what is so whether or not the condition holds; the rest as what hangs on it."""
    for name in list(yes.keys() | no.keys()):
        one, other = yes.get(name, Setting()), no.get(name, Setting())
        if one.value is not other.value and one.value != other.value:
            yes[name] = Setting(
                bounded(joined(one.value, other.value, when, condition)), one.where or other.where
            )


def joined(yes: Any, no: Any, when: str, condition: Any) -> Any:
    """What is `yes` where a condition holds, and `no` elsewhere."""
    if isinstance(yes, dict) and isinstance(no, dict) and yes.keys() == no.keys():
        return {
            key: yes[key] if yes[key] == no[key] else joined(yes[key], no[key], when, condition)
            for key in yes
        }
    if isinstance(yes, list) and isinstance(no, list):
        longer, text = (yes, when) if len(yes) > len(no) else (no, f"not ({when})")
        shorter = no if longer is yes else yes
        if all(one in longer for one in shorter):
            names = unknown(condition).names
            return [one if one in shorter else Computed(names, text, one) for one in longer]
    holds = truth(condition)
    plain = NOTHING if holds is None else unset(yes if holds else no)
    return replace(unknown(yes, no, condition), when=when, maybe=yes, unset=plain)
