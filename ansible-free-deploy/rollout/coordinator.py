"""The coordinator of a two-phase commit: hosts report what they have reached and ask what to do.

No I/O, only threads that meet. The states of a host and what may follow each are the table `HOST`
of `on_host/states.py`; a host's part is `on_host/two_phase.py`.

The outcome is decided once: `commit` when every host that has not left is prepared, `undo` when one
fails before that or the operator wants to leave. Locks are taken in one order: a host that waits
for its lock makes those after it give theirs back, so that two changes of the same hosts never wait
for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from on_host import states
from on_host.states import COMMIT, UNDO, Decision, Ending, HostEvent, HostState

# From its readiness until it has ended, a host may not be left alone without need.
_BUSY: tuple[HostState, ...] = ("staged", "switching", "prepared", "decided")
_NOT_READY: tuple[HostState, ...] = ("working", "waiting", "yielded")


class Coordinator:
    """One change of several hosts, `batch` of them switched at a time. `hosts` are names, in the
    order of locks.

    `ask_how_it_ended(transaction, participants)` gives the outcome of an earlier change that a host
    has left open: `commit`, `undo`, or `unknown` where that can't be known now.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        batch: int = 1,
        ask_how_it_ended: Callable[
            [str, Sequence[str]], str
        ] = lambda _transaction, _participants: states.UNKNOWN,
    ) -> None:
        self._order = list(hosts)
        self._state: dict[str, HostState] = dict.fromkeys(hosts, "working")
        self._batch = batch
        self._ask_how_it_ended = ask_how_it_ended
        self._participants: list[str] = []
        self._begun = set[str]()
        self._moved = threading.Condition()
        self.outcome: Decision | None = None

    def answer(self, host: str, question: str) -> str:
        """The answer for a host that asks: blocks until it is known. Raises IllegalTransition for a
        question that the host's state does not allow."""
        answer = self._answer(host, question)
        states.check_answer(question, answer)
        return answer

    def _answer(self, host: str, question: str) -> str:
        earlier = states.parse_in_doubt(question)
        if earlier is not None:
            transaction, participants = earlier
            return self._ask_how_it_ended(transaction, participants)
        if question == "staged":
            return self._at_staged(host)
        if question == "again":
            return self._at_again(host)
        if question == "switched":
            return self._at_switched(host)
        raise states.IllegalTransition(f"host {host} asks {question!r}, which is no question")

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
        with self._moved:
            self._advance(host, "wait")

    def works(self, host: str) -> None:
        """The host does something: if it waited for its lock, it has it now."""
        with self._moved:
            if self._state[host] == "waiting":
                self._advance(host, "work")

    def left(self, host: str, *, failed: bool) -> None:
        """The host has ended: with nothing to do, done, or `failed`. A failure after the outcome
        doesn't change it."""
        with self._moved:
            self._advance(host, "end")
            if failed and self.outcome is None:
                self.outcome = UNDO

    def stop(self) -> None:
        """The operator wants to leave: as if a host had failed."""
        with self._moved:
            self.outcome = self.outcome or UNDO
            self._moved.notify_all()

    def wait_until_answered(self, seconds: float) -> bool:
        """Whether, in time, no host is left between its readiness and its end: each has had its
        answer and has ended. One that decides alone has ended, too."""

        def all_have_ended() -> bool:
            if self.decides_alone is not None:
                return False
            return not any(state in _BUSY for state in self._state.values())

        with self._moved:
            return self._moved.wait_for(all_have_ended, seconds)

    def _advance(self, host: str, event: HostEvent) -> None:
        """Note what has happened to a host, and let everybody look again who waits. Needs the
        lock; raises IllegalTransition."""
        self._state[host] = states.next_of_host(self._state[host], event)
        self._moved.notify_all()

    def _at_staged(self, host: str) -> str:
        with self._moved:
            self._advance(host, "staged")
            self._moved.wait_for(
                lambda: self.outcome or self._must_yield(host) or self._may_switch()
            )
            if self.outcome:
                self._advance(host, "abort")
                return "abort"
            if self._must_yield(host):
                self._advance(host, "yield")
                return "yield"
            if not self._participants:
                self._participants = [name for name in self._order if self._state[name] == "staged"]
            self._advance(host, "go")
            return states.go(self._participants)

    def _must_yield(self, host: str) -> bool:
        """Whether a host before this one waits for its lock."""
        before = self._order[: self._order.index(host)]
        return any(self._state[name] == "waiting" for name in before)

    def _may_switch(self) -> bool:
        """Whether all are ready, and fewer than `batch` are between their switch and their vote."""
        now = list(self._state.values())
        if any(state in _NOT_READY for state in now):
            return False
        return now.count("switching") < self._batch

    def _at_again(self, host: str) -> str:
        with self._moved:
            self._advance(host, "again")
            self._moved.wait_for(lambda: self.outcome or not self._must_yield(host))
            if self.outcome:
                self._advance(host, "abort")
                return "abort"
            self._advance(host, "go")
            return "go"

    def _at_switched(self, host: str) -> Decision:
        with self._moved:
            self._advance(host, "switched")
            everybody_voted = all(state in ("prepared", "left") for state in self._state.values())
            if self.outcome is None and everybody_voted:
                self.outcome = COMMIT
                self._moved.notify_all()
            self._moved.wait_for(lambda: self.outcome is not None)
            assert self.outcome is not None
            self._advance(host, self.outcome)
            return self.outcome


def how_it_ended(endings: Sequence[Ending]) -> Decision:
    """What a prepared host is to do, from what all participants say of that change
    (`journal.outcome`)."""
    if "committed" in endings:
        return COMMIT
    if all(ending == "prepared" for ending in endings):
        return COMMIT
    return UNDO
