"""The two-phase commit as tables: its states, what may happen in each, and the words on the wire.

Pure; both sides use it, and docs/transaction.md shows the same tables. The host's part is
`two_phase.py`, its journal `journal.py`; the operator's part is `rollout/coordinator.py`.
"""

from __future__ import annotations

from typing import Iterable, Literal, Mapping  # noqa: UP035 - Python 3.9 on hosts

# ---------------------------------------------------------------------------- questions and answers

Decision = Literal["commit", "undo"]

# What a host asks → the answers that it may get. `go` after `staged` names who takes part.
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "staged": ("go", "abort", "yield"),
    "again": ("go", "abort"),
    "switched": ("commit", "undo"),
    "in-doubt": ("commit", "undo", "unknown"),
}
# What one host knows of how a transaction ended; `undone` also where it never heard of it.
Ending = Literal["committed", "prepared", "under way", "undone"]

COMMIT: Decision = "commit"
UNDO: Decision = "undo"
UNKNOWN = "unknown"  # not all hosts of that change could be asked


def go(participants: Iterable[str]) -> str:
    """The answer that lets a host switch, with the names of all hosts that take part."""
    return "go:" + ",".join(participants)


def participants_in(answer: str | None) -> list[str] | None:
    """Who takes part, where the answer lets the host switch; otherwise None."""
    if answer is None or not answer.startswith("go:"):
        return None
    return answer[len("go:") :].split(",")


def in_doubt(transaction: str, participants: Iterable[str]) -> str:
    """The question how an earlier transaction of these hosts ended."""
    return f"in-doubt:{transaction}:{','.join(participants)}"


def parse_in_doubt(question: str) -> tuple[str, list[str]] | None:
    """Transaction and participants where a host is in doubt; None for any other question."""
    kind, _, rest = question.partition(":")
    if kind != "in-doubt":
        return None
    transaction, _, names = rest.partition(":")
    return transaction, names.split(",")


class IllegalTransition(RuntimeError):
    """Something happened that these tables do not allow: a bug of the kit."""


def check_answer(question: str, answer: str) -> None:
    """Raise IllegalTransition for an answer that the question does not have."""
    kind = question.partition(":")[0]
    if answer.partition(":")[0] not in ANSWERS.get(kind, ()):
        raise IllegalTransition(f"{answer!r} is no answer to {question!r}")


# --------------------------------------------------------------------------------- the state tables


# A host as the coordinator sees it:
#   working     does something, or has been given its orders
#   waiting     until it gets the lock that somebody else has
#   yielded     has given its lock back, so that nobody waits in a circle
#   staged      has everything ready, and waits until it may switch
#   switching   makes the target current
#   prepared    serves the target (its vote), and waits for the outcome
#   decided     has heard the outcome, and carries it out
#   left        has ended: done, failed, or with nothing to do
HostState = Literal[
    "working", "waiting", "yielded", "staged", "switching", "prepared", "decided", "left"
]
# What happens: the host reports (`wait`: for its lock, `work`, `end`), asks, or is answered.
HostEvent = Literal[
    "wait", "work", "end", "staged", "again", "switched", "go", "abort", "yield", "commit", "undo"
]
HOST: Mapping[HostState, Mapping[HostEvent, HostState]] = {
    "working": {"work": "working", "wait": "waiting", "staged": "staged", "end": "left"},
    "waiting": {"work": "working", "wait": "waiting", "staged": "staged", "end": "left"},
    "yielded": {"again": "yielded", "go": "working", "abort": "decided", "end": "left"},
    "staged": {"go": "switching", "yield": "yielded", "abort": "decided", "end": "left"},
    "switching": {"switched": "prepared", "end": "left"},
    "prepared": {"commit": "decided", "undo": "decided", "end": "left"},
    "decided": {"end": "left"},
    "left": {},
}

# The journal of a change on a host; `none` is no file.
JournalState = Literal["none", "switching", "prepared"]
JournalEvent = Literal["begin", "prepare", "commit", "undo"]
JOURNAL: Mapping[JournalState, Mapping[JournalEvent, JournalState]] = {
    "none": {"begin": "switching"},
    "switching": {"prepare": "prepared", "commit": "none", "undo": "none"},
    "prepared": {"commit": "none", "undo": "none"},
}
NONE: JournalState = "none"
SWITCHING: JournalState = "switching"
PREPARED: JournalState = "prepared"


def next_of_host(state: HostState, event: HostEvent) -> HostState:
    """The state of a host after `event`. Raises IllegalTransition."""
    allowed = HOST[state]
    if event not in allowed:
        raise IllegalTransition(_text("a host", state, event, allowed))
    return allowed[event]


def next_of_journal(state: JournalState, event: JournalEvent) -> JournalState:
    """The state of a journal after `event`. Raises IllegalTransition."""
    allowed = JOURNAL[state]
    if event not in allowed:
        raise IllegalTransition(_text("the journal", state, event, allowed))
    return allowed[event]


def _text(what: str, state: str, event: str, allowed: Iterable[str]) -> str:
    expected = ", ".join(allowed) or "nothing"
    return f"{what} in state {state!r} does not allow {event!r}; expected: {expected}"
