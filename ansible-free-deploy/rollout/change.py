"""A change of several hosts, carried out side by side: one thread a host, the coordinator between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import uuid4

from infra import exits
from infra.contract import Contract, Host, Json
from rollout import access, hosts, report
from rollout.coordinator import Coordinator, how_it_ended
from rollout.hosts import ConnectError, HostError, LostError

STOP_S = 20.0  # how long the first ^C waits for hosts that have switched to hear that they go back

T = TypeVar("T")


class ChangeError(ValueError):
    """Not every host could be done: each with what is wrong there, then what became of the others. `but` is what can't
    be rolled back."""

    def __init__(self, failures: Sequence[HostError], kept: Sequence[str] = (), *, but: str = "") -> None:
        own = [failure for failure in failures if not failure.left_alone]
        others = [failure.host.name for failure in failures if failure.left_alone]
        in_doubt = [failure.host.name for failure in own if failure.in_doubt]
        lines = [f"{failure}\n{failure.detail}".rstrip() for failure in own]
        if in_doubt:
            lines.append(
                f"{', '.join(in_doubt)}: serves the new one, unless it has heard that the change was undone; run the "
                "same command again, which asks all hosts how it ended"
            )
        if others:
            lines.append(f"{', '.join(others)}: unchanged or rolled back, since all hosts change or none{but}")
        if kept:
            lines.append(f"{', '.join(kept)}: changed; run the same command again, which brings the rest along")
        super().__init__("\n".join(lines))
        unreachable = bool(own) and all(isinstance(failure, ConnectError) for failure in own)
        self.exit_status = exits.UNREACHABLE if unreachable else exits.WRONG


def new_transaction() -> str:
    """An id that one change has on all of its hosts, so that each can say how it ended."""
    return uuid4().hex[:12]


@dataclass
class Turn:
    """One host's way through a change: among the bounded many until it is ready, then as the coordinator says."""

    host: Host
    coordinator: Coordinator
    bounded: threading.BoundedSemaphore
    sessions: list[hosts.Session]
    voted: bool = field(default=False, init=False)  # it serves the target, and waits for the outcome
    _ready: bool = field(default=False, init=False)

    def run(self, session: hosts.Session, orders: Json, **more: object) -> Json:
        """Have the orders carried out; what it asks is answered, what it does is shown."""
        self.sessions.append(session)
        with report.busy(self.host.name) as begin:

            def on_event(event: Json) -> None:
                self._note(str(event.get("step", "")))
                if "text" in event:
                    begin(event["text"])

            return session.run(orders, on_event=on_event, on_gate=self._answer, **more)  # type: ignore[arg-type]

    def _note(self, step: str) -> None:
        if step == "wait":
            self.coordinator.waits_for_lock(self.host.name)
        elif step != "follow":
            self.coordinator.works(self.host.name)

    def _answer(self, question: str) -> str:
        if question == "staged" and not self._ready:
            self._ready = True
            self.bounded.release()
        self.voted = self.voted or question == "switched"
        return self.coordinator.answer(self.host.name, question)

    def begin(self) -> None:
        """Wait for a place among those that work at the same time."""
        self.bounded.acquire()

    def over(self, failed: bool) -> None:
        """The host has ended."""
        if not self._ready:
            self.bounded.release()
        self.coordinator.left(self.host.name, failed=failed)


def carry_out(
    contract: Contract, pairs: Sequence[tuple[str, Host]], one: Callable[[str, Host, Turn], T], batch: int = 1,
    on_stop: Callable[[], None] = lambda: None,
) -> list[T | HostError]:  # fmt: skip
    """`one(role, host, turn)` for every host side by side; a host's failure is its result.

    ^C calls `on_stop`, has every host that has switched go back, if the outcome is not yet decided, and ends when they
    have, or at the second ^C; a host that hears nothing more undoes what it did, or asks at the next run.
    """
    coordinator = Coordinator([host.name for _, host in pairs], batch, _Outcomes(contract))
    bounded = threading.BoundedSemaphore(hosts.MOST_AT_ONCE)
    sessions: list[hosts.Session] = []

    def turn_of(pair: tuple[str, Host]) -> T | HostError:
        role, host = pair
        turn, failed = Turn(host, coordinator, bounded, sessions), True
        turn.begin()
        try:
            result = one(role, host, turn)
            failed = False
            return result
        except HostError as problem:
            problem.in_doubt = problem.in_doubt or (turn.voted and isinstance(problem, LostError))
            return problem
        finally:
            turn.over(failed)

    def stop() -> None:
        coordinator.stop()
        try:
            on_stop()
            if coordinator.outcome == "undo":
                report.step("stop", "rolls back; press ^C again to leave the hosts to themselves")
            coordinator.wait_until_answered(STOP_S)
        finally:
            for session in sessions:
                session.connection.close()

    return hosts.each(pairs, turn_of, stop, at_once=max(1, len(pairs)))


class _Outcomes:
    """Ask the hosts of an earlier change how it ended, once for each change."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, transaction: str, participants: Sequence[str]) -> str:
        with self._lock:
            if transaction not in self._known:
                self._known[transaction] = self._ask(transaction, participants)
            return self._known[transaction]

    def _ask(self, transaction: str, participants: Sequence[str]) -> str:
        """`commit`, `undo`, or `unknown` where a host can't be asked or is still at it. A host that the contract no
        longer has is gone, and has no say."""
        orders = {"verb": "outcome", "app": self._contract.application.name, "who": "", "transaction": transaction}
        found = []
        for _, host in self._contract.hosts:
            if host.name not in participants:
                continue
            try:
                with hosts.session(host, access.identity(self._contract)) as session:
                    found.append(str(session.run(orders)["outcome"]))
            except HostError:
                return "unknown"
        return "unknown" if "under way" in found else how_it_ended(found)
