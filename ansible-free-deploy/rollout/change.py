"""A change of several hosts, carried out side by side: one thread a host, the coordinator between
them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from infra.core import exits
from infra.core.contract import Contract, Host
from infra.core.errors import KitError, describe
from on_host import protocol, states
from on_host.events import DataEvent, StepEvent
from on_host.protocol import Given, OutcomeOrders, Verb
from on_host.states import UNDO
from rollout import access, hosts, report
from rollout.coordinator import Coordinator, how_it_ended
from rollout.host_errors import SAME_COMMAND, ConnectError, HostError, LostError

STOP_S = 20.0  # how long the first ^C waits for hosts that have switched to hear that they go back

T = TypeVar("T")
A = TypeVar("A")  # the type of a verb's answer


class ChangeError(KitError):
    """Not every host could be done: each with what is wrong there, then what became of the others.
    `but` is what can't be rolled back; `again` is, for each host, what to run where the same
    command again is not it.
    """

    def __init__(
        self,
        failures: Sequence[HostError],
        kept: Sequence[str] = (),
        *,
        but: str = "",
        again: Mapping[str, str] | None = None,
    ) -> None:
        own = []
        others = []
        in_doubt = []
        lines = []
        for failure in failures:
            if failure.left_alone:
                others.append(failure.host.name)
                continue
            own.append(failure)
            if failure.in_doubt:
                in_doubt.append(failure.host.name)
            failure.command = _commands(again, [failure.host.name])
            lines.append(describe(failure).rstrip())
        if in_doubt:
            lines.append(
                f"{', '.join(in_doubt)}: serves the new one, unless it has heard that the change"
                f" was undone; run {_commands(again, in_doubt)}, which asks all hosts how it ended"
            )
        if others:
            lines.append(
                f"{', '.join(others)}: unchanged or rolled back, since all hosts change or"
                f" none{but}"
            )
        if kept:
            rest = [failure.host.name for failure in failures]
            lines.append(
                f"{', '.join(kept)}: changed; run {_commands(again, rest)}, which brings the rest"
                " along"
            )
        super().__init__("\n".join(lines))
        unreachable = bool(own) and all(isinstance(failure, ConnectError) for failure in own)
        self.exit_status = exits.UNREACHABLE if unreachable else exits.WRONG


class Stopped(KeyboardInterrupt):
    """^C during a change. The text is what to run next; "" where the same command may be run
    again."""


def _commands(again: Mapping[str, str] | None, names: Iterable[str]) -> str:
    """What to run for these hosts."""
    if not again:
        return SAME_COMMAND
    commands: list[str] = []
    for name in names:
        if again[name] not in commands:
            commands.append(again[name])
    return " and ".join(commands)


def new_transaction() -> str:
    """An id that one change has on all of its hosts, so that each can say how it ended."""
    return uuid4().hex[:12]


@dataclass
class Turn:
    """One host's way through a change: among the bounded many until it is ready, then as the
    coordinator says."""

    host: Host
    coordinator: Coordinator
    bounded: threading.BoundedSemaphore
    sessions: list[hosts.Session]
    # It serves the target, and waits for the outcome.
    voted: bool = field(default=False, init=False)
    _ready: bool = field(default=False, init=False)

    def run(
        self,
        session: hosts.Session,
        verb: Verb[Given, A],
        orders: Given,
        blob: Path | None = None,
    ) -> A:
        """Have the orders carried out; what it asks is answered, what it does is shown. Raises
        HostError where the change is to be undone before it has begun here."""
        if not self.coordinator.begins(self.host.name):
            raise HostError(self.host, "nothing was changed here", left_alone=True)
        self.sessions.append(session)
        with report.busy(self.host.name) as begin:

            def on_event(event: StepEvent | DataEvent) -> None:
                if "step" in event:
                    self._note(event["step"])
                    begin(event["text"])

            return session.ask(
                verb,
                orders,
                blob=blob,
                on_event=on_event,
                on_gate=self._answer,
            )

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
    contract: Contract,
    pairs: Sequence[tuple[str, Host]],
    work: Callable[[str, Host, Turn], T],
    batch: int = 1,
    *,
    changes: bool = True,
    again: Mapping[str, str] | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> list[T | HostError]:
    """`work(role, host, turn)` for every host side by side; a host's failure is its result.

    ^C calls `on_stop`, has every host that has switched go back, if the outcome is not yet decided,
    waits for one that decides alone, and ends when they have, or at the second ^C; a host that
    hears nothing more undoes what it did, or asks at the next run. Raises Stopped then. `again` is
    as in ChangeError; without `changes` the hosts are only asked.
    """
    names = [host.name for _, host in pairs]
    running = _Running(Coordinator(names, batch, _Outcomes(contract)))

    def run_on_one(pair: tuple[str, Host]) -> T | HostError:
        role, host = pair
        return running.take_turn(role, host, work)

    def stop() -> None:
        running.stop(on_stop, changes)

    try:
        return hosts.each(pairs, run_on_one, stop, at_once=max(1, len(pairs)))
    except KeyboardInterrupt:
        raise Stopped(_next(names, running.carried_out, again)) from None


def split(outcomes: Iterable[T | HostError]) -> tuple[list[T], list[HostError]]:
    """What `carry_out` gives, in two lists: results and failures."""
    results: list[T] = []
    failures: list[HostError] = []
    for outcome in outcomes:
        if isinstance(outcome, HostError):
            failures.append(outcome)
        else:
            results.append(outcome)
    return results, failures


class _Running:
    """A change under way: the coordinator, the open sessions, the hosts that ended well."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._bounded = threading.BoundedSemaphore(hosts.MOST_AT_ONCE)
        self._sessions: list[hosts.Session] = []
        self.carried_out: list[str] = []

    def take_turn(
        self,
        role: str,
        host: Host,
        work: Callable[[str, Host, Turn], T],
    ) -> T | HostError:
        """Do the work on one host; its failure is the result."""
        turn = Turn(host, self._coordinator, self._bounded, self._sessions)
        failed = True
        turn.begin()
        try:
            result = work(role, host, turn)
            failed = False
            self.carried_out.append(host.name)
            return result
        except HostError as problem:
            if turn.voted and isinstance(problem, LostError):
                problem.in_doubt = True
            return problem
        finally:
            turn.over(failed)

    def stop(self, on_stop: Callable[[], None], changes: bool) -> None:
        """End the change after ^C; where it `changes` hosts, wait until each has had its answer."""
        self._coordinator.stop()
        try:
            on_stop()
            if changes:
                _say_what_becomes(self._coordinator)
                self._coordinator.wait_until_answered(STOP_S)
        finally:
            for session in self._sessions:
                session.connection.close()


def _say_what_becomes(coordinator: Coordinator) -> None:
    alone = coordinator.decides_alone
    if alone:
        report.step(
            "stop",
            f"{alone} goes on alone and ends by itself; waits for it; press ^C again to leave it",
        )
    elif coordinator.outcome == UNDO:
        report.step("stop", "rolls back; press ^C again to leave the hosts to themselves")


def _next(
    names: Sequence[str],
    carried_out: Sequence[str],
    again: Mapping[str, str] | None,
) -> str:
    """What to run after ^C, where that is not the same command again."""
    if again is None:
        return ""
    if set(names) <= set(carried_out):
        return "every host has carried it out, so there is nothing left to do"
    return f"run {_commands(again, names)}: it finishes what was under way"


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
        """`commit`, `undo`, or `unknown` where a host can't be asked or is still at it. A host that
        the contract no longer has is gone, and has no say."""
        orders: OutcomeOrders = {
            "app": self._contract.application.name,
            "who": "",
            "transaction": transaction,
        }
        endings: list[states.Ending] = []
        for _, host in self._contract.hosts:
            if host.name not in participants:
                continue
            try:
                with hosts.session(host, access.identity(self._contract)) as session:
                    answer = session.ask(protocol.OUTCOME, orders)
                    endings.append(answer["outcome"])
            except HostError:
                return states.UNKNOWN
        if "under way" in endings:
            return states.UNKNOWN
        return how_it_ended(endings)
