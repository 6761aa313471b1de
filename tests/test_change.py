"""What the operator hears of a change that did not come about everywhere, and who may not have
heard how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from infra.core.contract import Contract, Host, Json
from on_host import protocol
from on_host.protocol import Verb
from rollout import access, change, hosts
from rollout.change import ChangeError
from rollout.coordinator import Coordinator
from rollout.host_errors import AGAIN, SAME_COMMAND, HostError, LostError
from tests.test_outputs import CONTRACT

DEPLOY: Verb[Any, Any] = protocol.DEPLOY


def host(name: str) -> Host:
    return Host(name, "192.0.2.1", 22, "deploy", ())


class Session:
    """Stands for a host that asks `questions`, and then `ends`."""

    def __init__(
        self, host: Host, questions: tuple[str, ...], ends: Callable[[Host], Json]
    ) -> None:
        self.host, self.questions, self.ends = host, questions, ends

    def ask(self, _verb: str, _orders: Json, *, on_gate: Callable[[str], str], **_: Any) -> Json:
        for question in self.questions:
            on_gate(question)
        return self.ends(self.host)


def lost(host: Host) -> Json:
    raise LostError(host, "the connection was lost")


def failed(host: Host) -> Json:
    raise HostError(host, "nginx does not come up")


def carried_out(questions: tuple[str, ...], ends: Callable[[Host], Json]) -> HostError:
    """The failure of a change of one host that goes like this."""

    def one(_role: str, host: Host, turn: change.Turn) -> Json:
        return turn.run(Session(host, questions, ends), DEPLOY, {})  # type: ignore[arg-type]

    (found,) = change.carry_out(Contract.from_json(CONTRACT), [("backend", host("backend-1"))], one)
    assert isinstance(found, HostError)
    return found


@pytest.mark.parametrize(
    ("questions", "ends", "in_doubt"),
    [
        (("staged", "switched"), lost, True),
        (("staged",), lost, False),  # without its vote it goes back by itself
        (("staged", "switched"), failed, False),  # it says itself how it ended
    ],
)
def test_a_host_whose_line_is_cut_after_its_vote_is_in_doubt(
    questions: tuple[str, ...], ends: Callable[[Host], Json], in_doubt: bool
) -> None:
    assert carried_out(questions, ends).in_doubt is in_doubt


@pytest.mark.parametrize(
    ("questions", "answers"), [((), ["abort"]), (("staged",), ["go:backend-1,frontend-1", "undo"])]
)
def test_a_host_that_fails_ends_the_wait_of_the_others(
    questions: tuple[str, ...], answers: list[str]
) -> None:
    """A host that is ready, or has switched, hears at once what it has to do."""
    heard: list[str] = []
    went = threading.Event()

    class Other:
        host, connection = host("backend-1"), None

        def ask(
            self, _verb: str, _orders: Json, *, on_gate: Callable[[str], str], **_: Any
        ) -> Json:
            heard.append(on_gate("staged"))
            if heard[-1].startswith("go:"):
                went.set()
                heard.append(on_gate("switched"))
            raise HostError(self.host, "another host failed", left_alone=True)

    def fails_then(host: Host) -> Json:
        assert not questions or went.wait(10)
        return failed(host)

    def one(_role: str, host: Host, turn: change.Turn) -> Json:
        session = Other() if host.name == "backend-1" else Session(host, questions, fails_then)
        return turn.run(session, DEPLOY, {})  # type: ignore[arg-type]

    pairs = [(name.partition("-")[0], host(name)) for name in ("backend-1", "frontend-1")]
    found = change.carry_out(Contract.from_json(CONTRACT), pairs, one, batch=2)
    left_alone = [failure.left_alone for failure in found if isinstance(failure, HostError)]
    assert left_alone == [True, False]
    assert heard == answers


def test_hosts_in_doubt_are_named_with_the_next_step() -> None:
    """They are not among those that were rolled back: nobody knows yet, and the next run finds
    out."""
    failures = [
        HostError(host("backend-1"), "the connection was lost", in_doubt=True),
        HostError(host("frontend-1"), "", left_alone=True),
    ]
    lines = str(ChangeError(failures)).splitlines()
    assert (
        lines[1]
        == "backend-1: serves the new one, unless it has heard that the change was undone; run the"
        " same command again, which asks all hosts how it ended"
    )
    assert lines[2].startswith("frontend-1: unchanged or rolled back")


# ---------------------------------------------------------------------- what the coordinator learns


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ({"backend-1": "prepared", "frontend-1": "prepared"}, "commit"),
        ({"backend-1": "prepared", "frontend-1": "committed"}, "commit"),
        ({"backend-1": "prepared", "frontend-1": "undone"}, "undo"),
        ({"backend-1": "prepared", "frontend-1": "under way"}, "unknown"),
        ({"backend-1": "prepared", "frontend-1": None}, "unknown"),
    ],
)
def test_all_that_took_part_are_asked_how_a_change_ended(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, str | None], wanted: str
) -> None:
    """A host that can't be asked (None), or still works, leaves it open; each is asked once."""
    contract, asked = Contract.from_json(CONTRACT), []
    assert {host.name for _, host in contract.hosts} == set(answers)

    @contextlib.contextmanager
    def session(host: Host, _identity: object) -> Iterator[SimpleNamespace]:
        asked.append(host.name)
        if answers[host.name] is None:
            raise LostError(host, "the connection was lost")
        yield SimpleNamespace(ask=lambda _verb, _orders: {"outcome": answers[host.name]})

    monkeypatch.setattr(hosts, "session", session)
    monkeypatch.setattr(access, "identity", lambda contract: None)
    outcomes = change._Outcomes(contract)
    assert [outcomes("t1", sorted(answers)), outcomes("t1", sorted(answers))] == [wanted] * 2
    assert sorted(asked) == sorted(answers)


def test_only_hosts_of_a_change_are_asked_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another host answers `undone`, which would undo what was committed."""
    contract = Contract.from_json(CONTRACT)

    @contextlib.contextmanager
    def session(host: Host, _identity: object) -> Iterator[SimpleNamespace]:
        outcome = "prepared" if host.name == "backend-1" else "undone"
        yield SimpleNamespace(ask=lambda _verb, _orders: {"outcome": outcome})

    monkeypatch.setattr(hosts, "session", session)
    monkeypatch.setattr(access, "identity", lambda contract: None)
    assert change._Outcomes(contract)("t1", ["backend-1", "backend-2"]) == "commit"


def test_the_coordinator_knows_who_waits_for_a_lock() -> None:
    """The host reports it as a step; a host that follows the work of another one still waits."""
    coordinator = Coordinator(["backend-1", "frontend-1"])
    turn = change.Turn(host("backend-1"), coordinator, threading.BoundedSemaphore(1), [])
    heard = []

    class Waits:
        host, connection = turn.host, None

        def ask(
            self, _verb: str, _orders: Json, *, on_event: Callable[[Json], None], **_: Any
        ) -> Json:
            for step in ("wait", "follow", "unpack"):
                on_event({"step": step, "text": ""})
                heard.append(coordinator._must_yield("frontend-1"))
            return {}

    turn.run(Waits(), DEPLOY, {})  # type: ignore[arg-type]
    assert heard == [True, True, False]


# ----------------------------------------------------------------------------------------------- ^C

WAYS = {
    "backend-1": "`fab rollback --release --to b1`",
    "frontend-1": "`fab rollback --release --to f1`",
}


class Stoppable:
    """Stands for a host's session; `goes_on` is how its work ends once the operator has pressed
    ^C."""

    def __init__(
        self, host: Host, goes_on: Callable[[Stoppable, Callable[[str], str]], Json]
    ) -> None:
        self.host, self.goes_on = host, goes_on
        self.connection, self.closed = self, threading.Event()

    def close(self) -> None:
        self.closed.set()

    def ask(self, _verb: str, _orders: Json, *, on_gate: Callable[[str], str], **_: Any) -> Json:
        return self.goes_on(self, on_gate)


def completes(_session: Stoppable, _ask: Callable[[str], str]) -> Json:
    return {"changed": True}


def is_slow(session: Stoppable, _ask: Callable[[str], str]) -> Json:
    session.closed.wait(30)
    raise LostError(session.host, "the connection was lost")


def asks(session: Stoppable, ask: Callable[[str], str]) -> Json:
    assert ask("staged") == "abort"
    raise HostError(session.host, "nothing was changed here", left_alone=True)


def stopped(names: list[str], goes_on: Callable[..., Json], **more: Any) -> change.Stopped:
    """What ^C gives in a change of these hosts, after each has its orders."""
    pressed = threading.Barrier(len(names), lambda: os.kill(os.getpid(), signal.SIGINT))

    def one(_role: str, host: Host, turn: change.Turn) -> Json:
        def then(session: Stoppable, ask: Callable[[str], str]) -> Json:
            pressed.wait(30)
            with turn.coordinator._moved:
                assert turn.coordinator._moved.wait_for(lambda: turn.coordinator.outcome, 30)
            return goes_on(session, ask)

        return turn.run(Stoppable(host, then), DEPLOY, {})  # type: ignore[arg-type]

    pairs = [(name.partition("-")[0], host(name)) for name in names]
    with pytest.raises(change.Stopped) as caught:
        change.carry_out(Contract.from_json(CONTRACT), pairs, one, **more)
    return caught.value


def test_a_host_that_goes_on_alone_is_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It asks nobody, so ^C does not take it back; a rollback that is done must not be run again:
    it would go back once more."""
    found = stopped(["backend-1"], completes, again=WAYS)
    assert str(found) == "every host has carried it out, so there is nothing left to do"
    said = capsys.readouterr().out
    assert "backend-1 goes on alone and ends by itself; waits for it" in said
    assert "rolls back" not in said


def test_a_rollback_that_is_left_to_itself_names_where_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command with the target can be run again, whatever has become of the hosts."""
    monkeypatch.setattr(change, "STOP_S", 0.1)
    assert (
        str(stopped(["backend-1"], is_slow, again=WAYS))
        == "run `fab rollback --release --to b1`: it finishes what was under way"
    )


def test_hosts_that_are_taken_back_are_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    said = str(stopped(["backend-1", "frontend-1"], asks, again=WAYS))
    assert (
        said == f"run {WAYS['backend-1']} and {WAYS['frontend-1']}: it finishes what was under way"
    )
    assert "rolls back; press ^C again" in capsys.readouterr().out


def test_what_can_be_repeated_has_no_words_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A deploy or a ship; and a verb that only looks does not speak of going back."""
    assert str(stopped(["backend-1"], completes)) == ""
    capsys.readouterr()
    assert str(stopped(["backend-1"], completes, changes=False)) == ""
    assert capsys.readouterr().out == ""


def test_no_host_gets_orders_after_the_interrupt() -> None:
    """While a release is built here, ^C ends that; nothing is begun afterwards."""
    given = []

    def one(_role: str, host: Host, turn: change.Turn) -> Json:
        os.kill(os.getpid(), signal.SIGINT)
        with turn.coordinator._moved:
            assert turn.coordinator._moved.wait_for(lambda: turn.coordinator.outcome, 30)
        there = Stoppable(host, lambda *_: given.append(host) or {})  # type: ignore[func-returns-value]
        return turn.run(there, DEPLOY, {})  # type: ignore[arg-type]

    with pytest.raises(change.Stopped, match="run `fab rollback --release --to b1`"):
        change.carry_out(
            Contract.from_json(CONTRACT), [("backend", host("backend-1"))], one, again=WAYS
        )
    assert given == []


def test_a_rollback_is_never_advised_to_run_the_same_command_again() -> None:
    """Each run of it goes back by one more; the one that names its target does not."""
    failures = [
        LostError(
            host("backend-1"),
            f"the connection was lost; the work there continues: run {AGAIN}",
        )
    ]
    doubt = [HostError(host("frontend-1"), "the connection was lost", in_doubt=True)]
    said = str(ChangeError([*failures, *doubt], ["backend-1"], again=WAYS))
    assert SAME_COMMAND not in said and AGAIN not in said
    assert f"work there continues: run {WAYS['backend-1']}" in said
    assert f"run {WAYS['frontend-1']}, which asks all hosts how it ended" in said
    assert (
        f"backend-1: changed; run {WAYS['backend-1']} and {WAYS['frontend-1']}, which brings the"
        " rest along" in said
    )
