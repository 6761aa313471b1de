"""What a host says while it works: events, one JSON object a line; the last is a result or error.

A host never loads this module: there it is imported for the type checker alone. An older kit's unit
may still run, so a key that is here keeps its name and its meaning.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Union, final


@final
class ProgramEvent(TypedDict):
    """The first event, of `bootstrap.py`: whether the program has to be sent."""

    program: Literal["kept", "missing"]


@final
class BeatEvent(TypedDict):
    """A sign of life."""

    beat: bool


@final
class StepEvent(TypedDict):
    """A step begins. `wait` and `follow` are those of a host that waits for another change."""

    step: str
    text: str


@final
class GateEvent(TypedDict):
    """A question: the work goes on when it is answered (`states.ANSWERS`)."""

    gate: str


@final
class DataEvent(TypedDict):
    """A piece of what is copied off the host, in base64."""

    data: str


@final
class ResultEvent(TypedDict):
    """The last event of what went well: the verb's answer."""

    result: Any


class _ErrorEvent(TypedDict):
    error: str
    detail: str


@final
class ErrorEvent(_ErrorEvent, total=False):
    """The last event of what failed."""

    left_alone: bool  # this host is as it was, as another one failed
    in_doubt: bool  # it serves the target, and does not know whether the others do
    changed_meanwhile: bool  # another generation than the orders `expects` is current


Event = Union[  # noqa: UP007 - Python 3.9 evaluates it
    ProgramEvent,
    BeatEvent,
    StepEvent,
    GateEvent,
    DataEvent,
    ResultEvent,
    ErrorEvent,
]
