"""What the operator is told of a change that did not come about everywhere, and who may not have heard how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.contract import Contract, Host, Json
from rollout import change
from rollout.change import ChangeError
from rollout.hosts import HostError, LostError
from tests.test_outputs import CONTRACT


def host(name: str) -> Host:
    return Host(name, "192.0.2.1", 22, "deploy", ())


class Session:
    """Stands for a host that asks `questions`, and then `ends`."""

    def __init__(self, host: Host, questions: tuple[str, ...], ends: Callable[[Host], Json]) -> None:
        self.host, self.questions, self.ends = host, questions, ends

    def run(self, _orders: Json, *, on_gate: Callable[[str], str], **_: Any) -> Json:
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
        return turn.run(Session(host, questions, ends), {})  # type: ignore[arg-type]

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


def test_hosts_in_doubt_are_named_with_the_next_step() -> None:
    """They are not among those that were rolled back: nobody knows yet, and the next run finds out."""
    failures = [
        HostError(host("backend-1"), "the connection was lost", in_doubt=True),
        HostError(host("frontend-1"), "", left_alone=True),
    ]
    lines = str(ChangeError(failures)).splitlines()
    assert lines[1] == (
        "backend-1: serves the new one, unless it has heard that the change was undone; run the same command again, "
        "which asks all hosts how it ended"
    )
    assert lines[2].startswith("frontend-1: unchanged or rolled back")
