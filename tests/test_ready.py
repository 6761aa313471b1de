"""Waiting for hosts: bounded, patient, and with a reason each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.core.contract import Contract, Host
from rollout import access, hosts, ready
from rollout.host_errors import ConnectError, HostError
from rollout.hosts import Identity
from rollout.ready import Clock

HOST = Host("backend-1", "203.0.113.20", 22, "deploy", ("ssh-ed25519 AAAA",))
Answer = str | Exception


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Answer]], None]:
    """What the host does at each try; the last one without end."""

    def give(what: list[Answer]) -> None:
        left = list(what)

        @contextmanager
        def session(host: Host, identity: Path | None) -> Iterator[Any]:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            yield SimpleNamespace(host=host, ask=lambda *_: {"text": answer})

        monkeypatch.setattr(hosts, "session", session)

    return give


def refused(why: str) -> ConnectError:
    return ConnectError(HOST, why)


def test_it_goes_on_as_soon_as_the_host_is_ready(
    answers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each new reason is reported once, pauses grow."""
    passing = Time()
    answers(
        [
            refused("port 22 timed out"),
            refused("port 22 timed out"),
            refused("port 22 refused the connection"),
            '{"status": "running"}',
            '{"status": "done"}',
        ]
    )
    ready._one(HOST, Identity(), 300, passing.clock)
    assert capsys.readouterr().out.splitlines() == [
        "  backend-1    waits: port 22 timed out",
        "  backend-1    waits: port 22 refused the connection",
        "  backend-1    waits: its first boot is still running",
    ]
    assert passing.pauses == sorted(passing.pauses)
    assert len(passing.pauses) == 4


@pytest.mark.parametrize(
    "why",
    [
        "port 22 refused the connection; sshd is not up",
        "port 22 timed out after 10 s; does its firewall (ssh_from)",
        "its host key is not the one in the contract",
        "it refused the key x for user deploy",
    ],
)
def test_the_last_reason_is_the_error_when_time_is_up(answers: Any, why: str) -> None:
    passing = Time()
    answers([refused(why)])
    with pytest.raises(ConnectError, match="backend-1") as caught:
        ready._one(HOST, Identity(), 300, passing.clock)
    assert why in str(caught.value)
    assert 250 < passing.now <= 300


def test_a_first_boot_that_never_ends_is_reported(answers: Any) -> None:
    answers(['{"status": "running"}'])
    with pytest.raises(HostError, match="its first boot is still running after 300 s"):
        ready._one(HOST, Identity(), 300, Time().clock)


def test_a_failed_first_boot_is_reported_at_once(answers: Any) -> None:
    """A failed first boot is reported at once in cloud init's words."""
    passing = Time()
    answers(['{"status": "error", "errors": ["(\'packages\', ProcessExecutionError())"]}'])
    with pytest.raises(HostError, match=r"its first boot failed: .*packages"):
        ready._one(HOST, Identity(), 300, passing.clock)
    assert passing.pauses == []


def test_no_pause_is_longer_than_eight_seconds(answers: Any) -> None:
    passing = Time()
    answers([refused("port 22 timed out")])
    with pytest.raises(ConnectError):
        ready._one(HOST, Identity(), 300, passing.clock)
    assert max(passing.pauses) <= 8


def test_an_interrupt_ends_the_waiting(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """^C while hosts are waited for: the pause under way ends, and no host is asked again."""
    answers([refused("port 22 timed out")])

    def interrupted(futures: Sequence[Future[Any]]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hosts, "wait", interrupted)
    monkeypatch.setattr(ready, "FIRST_PAUSE_S", 20.0)
    contract = SimpleNamespace(hosts=[("backend", HOST)])
    monkeypatch.setattr(access, "identity", lambda _: Identity())
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ready.wait(cast(Contract, contract), limit_s=60)
    assert time.monotonic() - began < 10
