"""A cell in a word or two, for people, and its state, for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rollout.doctor.observations import Cell


class State(StrEnum):
    """What became of a cell. A name never changes its meaning."""

    READABLE = "readable"  # as intended: a page of this origin may read the answer
    REFUSED = "refused"  # as intended: an unlisted origin may not
    READABLE_UNLISTED = "readable-unlisted"  # an unlisted origin may
    REFUSED_LISTED = "refused-listed"  # a listed origin may not
    SERVER_ERROR = "server-error"  # the right pages may read it, and the server fails
    NO_ANSWER = "no-answer"  # no verdict


AS_INTENDED = (State.READABLE, State.REFUSED)
NOT_AS_INTENDED = "!"
LEGEND = (
    ("404 ok", "as intended: a page of this origin may read the answer and its status"),
    ("refused", "as intended: a page of this origin may not"),
    (NOT_AS_INTENDED, "not as intended; the findings say why"),
    ("no answer", "no verdict"),
)


@dataclass(frozen=True)
class Counts:
    """How many cells were asked, and what became of them."""

    cells: int
    as_intended: int
    not_as_intended: int
    no_answer: int


def state_of(cell: Cell) -> State:
    """What became of this cell."""
    if cell.verdict is None:
        return State.NO_ANSWER
    listed = cell.question.row.allowed
    if cell.readable and not listed:
        return State.READABLE_UNLISTED
    if listed and not cell.readable:
        return State.REFUSED_LISTED
    if cell.failing:
        return State.SERVER_ERROR
    return State.READABLE if listed else State.REFUSED


def word(cell: Cell) -> str:
    """A cell in a word or two, with the status where that says something; `!` marks what is not as
    intended."""
    words = {
        State.NO_ANSWER: "no answer",
        State.READABLE: f"{cell.status} ok",
        State.REFUSED: "refused",
        State.READABLE_UNLISTED: f"{cell.status} allowed {NOT_AS_INTENDED}",
        State.REFUSED_LISTED: f"{cell.status} refused {NOT_AS_INTENDED}",
        State.SERVER_ERROR: f"{cell.status} fails {NOT_AS_INTENDED}",
    }
    return words[state_of(cell)]


def counts(cells: Iterable[Cell]) -> Counts:
    """The cells by what became of them."""
    states = [state_of(cell) for cell in cells]
    silent = states.count(State.NO_ANSWER)
    intended = sum(state in AS_INTENDED for state in states)
    return Counts(
        len(states),
        intended,
        len(states) - intended - silent,
        silent,
    )
