"""What a setting can be: known, computed at run time, or a name from outside of what is read.
Pure."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.core import exits
from infra.core.errors import KitError

RUNNING = "{}.{}".format(*sys.version_info)  # the Python that reads the project


class AdoptError(KitError):
    """The project can't be read, or the stack's config can't be written.

    The text says where, and the next step.
    """

    exit_status = exits.USAGE


class NotPython(AdoptError):
    """A file is not valid for the Python that runs `fab`: a mistake, or written for a newer one."""

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
    """A value that only a run can compute.

    `names` are the environment variables that it depends on. `when` is the condition that it
    depends on, and `maybe` the value where that holds. `unset` is the value where none of the
    variables is set.
    """

    names: tuple[str, ...] = ()
    when: str = ""
    maybe: Any = None
    unset: Any = field(default=NOTHING, compare=False)


@dataclass(frozen=True)
class External:
    """A dotted name from outside of what is read: `os.environ`, `list`, `environ.Env`."""

    name: str


@dataclass(frozen=True, eq=False)
class Function:
    """A function of the project, and where its names are looked up."""

    node: ast.FunctionDef | ast.Lambda
    scope: Scope


@dataclass(frozen=True)
class Setting:
    """A value, and the file and line that set it last; its value is None where nothing sets it."""

    value: Any = None
    where: str = ""


Names = dict[str, Setting]


@dataclass(eq=False)
class Scope:
    """The module or function that is being read.

    `returned` are the values that a function returns, each with whether it is returned in an empty
    environment. It is None outside of a function.
    """

    module: str
    file: Path
    names: Names
    returned: list[tuple[Any, bool]] | None = None


# ------------------------------------------------------------------------------------ for a person

_LONGEST_TEXT = 60


def shown(value: Any) -> str:
    """A value as text for a person, shortened; it is never a guess."""
    text = _text(value)
    if len(text) <= _LONGEST_TEXT:
        return text
    return text[: _LONGEST_TEXT - 3] + "..."


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Computed):
        return _computed_text(value)
    if isinstance(value, dict) and not known(value):
        return shown(unknown(value))
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, External):
        return value.name
    if isinstance(value, Function):
        return "a function"
    if isinstance(value, Path):
        return str(value)
    return repr(value)


def _computed_text(value: Computed) -> str:
    is_known = value.maybe is not None and not isinstance(value.maybe, Computed)
    if value.when and is_known:
        return f"{shown(value.maybe)} if {value.when}"
    if value.names:
        return f"computed at run time, from {' and '.join(value.names)}"
    return "computed at run time"


# -------------------------------------------------------------------------------- what is known


def known(value: Any) -> bool:
    """Whether the source says all of a value."""
    if isinstance(value, dict):
        return all(map(known, value.values()))
    if isinstance(value, list):
        return all(map(known, value))
    return not isinstance(value, (Computed, External, Function))


def unknown(*values: Any) -> Computed:
    """The result of values that are not followed further: it depends on the same variables."""
    return Computed(tuple(sorted(_variables(values))))


def _variables(values: Iterable[Any]) -> set[str]:
    names: set[str] = set()
    for value in values:
        if isinstance(value, Computed):
            names.update(value.names)
        elif isinstance(value, dict):
            names |= _variables(list(value.values()))
        elif isinstance(value, list):
            names |= _variables(value)
    return names


def unset(value: Any) -> Any:
    """The value where no environment variable is set; NOTHING where that is not known."""
    if isinstance(value, Computed):
        return value.unset
    if isinstance(value, list):
        return _unset_items(value)
    if isinstance(value, dict):
        items = _unset_items(list(value.values()))
        if items is NOTHING:
            return NOTHING
        return dict(zip(value, items, strict=True))
    if known(value):
        return value
    return NOTHING


def _unset_items(values: list[Any]) -> Any:
    items = [unset(item) for item in values]
    if any(item is NOTHING for item in items):
        return NOTHING
    return items


def truth(value: Any) -> bool | None:
    """Whether a condition holds in an empty environment; None where that is not known."""
    plain = unset(value)
    if plain is NOTHING:
        return None
    return bool(plain)


def opposite(holds: bool | None) -> bool | None:
    """Whether the opposite of a condition holds; None where that is not known."""
    if holds is None:
        return None
    return not holds


# ------------------------------------------------------------------------------------------ bounds

_MOST_PARTS = 5_000
_DEEPEST = 40
_MOST_CHARACTERS = 100_000
_MOST_BITS = 4_096


def bounded(value: Any) -> Any:
    """The value, or Computed() where it is larger or deeper than any setting.

    A list that doubles in each line has no end.
    """
    left = _MOST_PARTS
    stack = [(value, 0)]
    while stack:
        part, depth = stack.pop()
        left -= 1
        if left < 0 or depth > _DEEPEST or _is_long(part):
            return Computed()
        for inner in _parts(part):
            stack.append((inner, depth + 1))
    return value


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Computed):
        return (value.maybe, value.unset)
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    return ()


def _is_long(value: Any) -> bool:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, (str, bytes)):
        return len(value) > _MOST_CHARACTERS
    return isinstance(value, int) and value.bit_length() > _MOST_BITS
