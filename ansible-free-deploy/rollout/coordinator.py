"""The coordinator of a two-phase commit: hosts report what they have reached, and are told what to
do.

No I/O, only threads that meet; a host's part is `two_phase.py`.

    a host is   until it                            and then working     has everything ready
    staged waiting     gets the lock that somebody has     working staged      may switch
    switching; or working, where it has to give its lock back (yield) switching   serves the target
    (its vote)        prepared prepared    hears the outcome                   left left        for
    good: done, failed, or with nothing to do

The outcome is decided once: `commit` when every host that has not left is prepared, `undo` when one
fails before that or the operator wants to leave. Locks are taken in one order: a host that waits
for its lock makes those after it give theirs back, so that two changes of the same hosts never wait
for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

COMMIT, UNDO = "commit", "undo"


class Coordinator:
    """One change of several hosts, `batch` of them switched at a time. `hosts` are names, in the
    order of locks.

    `ask_how_it_ended(transaction, participants)` gives the outcome of an earlier change that a host
    has left open: `commit`, `undo`, or anything else where that can't be known now.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        batch: int = 1,
        ask_how_it_ended: Callable[
            [str, Sequence[str]], str
        ] = lambda _transaction, _participants: "unknown",
    ) -> None:
        self._order = list(hosts)
        self._state = dict.fromkeys(hosts, "working")
        self._batch = batch
        self._ask_how_it_ended = ask_how_it_ended
        self._participants: list[str] = []
        self._begun = set[str]()
        self._moved = threading.Condition()
        self.outcome: str | None = None

    def answer(self, host: str, question: str) -> str:
        """The word for a host that asks: blocks until it is known."""
        if question.startswith("in-doubt:"):
            _, transaction, names = question.split(":", 2)
            return self._ask_how_it_ended(transaction, names.split(","))
        return {"staged": self._at_staged, "again": self._at_again, "switched": self._at_switched}[
            question
        ](host)

    def begins(self, host: str) -> bool:
        """Whether a host may be given its orders: not once the change is to be undone."""
        with self._moved:
            if self.outcome != UNDO:
                self._begun.add(host)
            return self.outcome != UNDO

    @property
    def decides_alone(self) -> str | None:
        """The host that has its orders and asks nobody, as it is the only one with anything to
        do."""
        with self._moved:
            names = self._order if len(self._order) == 1 else self._participants
            alone = names[0] if len(names) == 1 else ""
            return alone if alone in self._begun and self._state[alone] != "left" else None

    def waits_for_lock(self, host: str) -> None:
        """Somebody else has the lock of this host."""
        self._set(host, "waiting")

    def works(self, host: str) -> None:
        """The host does something: if it waited for its lock, it has it now."""
        if self._state[host] == "waiting":
            self._set(host, "working")

    def left(self, host: str, *, failed: bool) -> None:
        """The host has ended: with nothing to do, done, or `failed`. A failure after the outcome
        doesn't change it."""
        with self._moved:
            self._state[host] = "left"
            if failed and self.outcome is None:
                self.outcome = UNDO
            self._moved.notify_all()

    def stop(self) -> None:
        """The operator wants to leave: as if a host had failed."""
        with self._moved:
            self.outcome = self.outcome or UNDO
            self._moved.notify_all()

    def wait_until_answered(self, seconds: float) -> bool:
        """Whether, in time, no host is left between its readiness and its end: each has had its
        word and has ended. One that decides alone has ended, too."""
        busy = ("staged", "switching", "prepared")

        def all_have_ended() -> bool:
            return self.decides_alone is None and not any(
                state in busy for state in self._state.values()
            )

        with self._moved:
            return self._moved.wait_for(all_have_ended, seconds)

    def _set(self, host: str, state: str) -> None:
        with self._moved:
            self._state[host] = state
            self._moved.notify_all()

    def _at_staged(self, host: str) -> str:
        with self._moved:
            self._state[host] = "staged"
            self._moved.notify_all()
            self._moved.wait_for(
                lambda: self.outcome or self._must_yield(host) or self._may_switch()
            )
            if self.outcome:
                return "abort"
            if self._must_yield(host):
                self._state[host] = "yielded"
                self._moved.notify_all()
                return "yield"
            self._participants = self._participants or [
                name for name in self._order if self._state[name] == "staged"
            ]
            self._state[host] = "switching"
            return "go:" + ",".join(self._participants)

    def _must_yield(self, host: str) -> bool:
        """Whether a host before this one waits for its lock."""
        before = self._order[: self._order.index(host)]
        return any(self._state[name] == "waiting" for name in before)

    def _may_switch(self) -> bool:
        """Whether all are ready, and fewer than `batch` are between their switch and their vote."""
        ready = all(
            state not in ("working", "waiting", "yielded") for state in self._state.values()
        )
        return ready and list(self._state.values()).count("switching") < self._batch

    def _at_again(self, host: str) -> str:
        with self._moved:
            self._moved.wait_for(lambda: self.outcome or not self._must_yield(host))
            if self.outcome:
                return "abort"
            self._state[host] = "working"
            return "go"

    def _at_switched(self, host: str) -> str:
        with self._moved:
            self._state[host] = "prepared"
            if self.outcome is None and all(
                state in ("prepared", "left") for state in self._state.values()
            ):
                self.outcome = COMMIT
            self._moved.notify_all()
            self._moved.wait_for(lambda: self.outcome is not None)
            assert self.outcome is not None
            return self.outcome


def how_it_ended(outcomes: Sequence[str]) -> str:
    """What a prepared host is to do, from what all participants say of that change
    (`journal.outcome`)."""
    if "committed" in outcomes:
        return COMMIT
    return COMMIT if all(outcome == "prepared" for outcome in outcomes) else UNDO
