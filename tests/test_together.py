"""Hosts that wait for each other: threads stand for hosts, and every one of them ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from rollout.together import Together


class Hosts:
    """`count` hosts; `fails` maps a host's number to where it fails: `stage`, `switch`; `idle` have nothing to do."""

    def __init__(self, count: int, batch: int = 1, fails: dict[int, str] | None = None, idle: int = 0) -> None:
        self.together, self.fails, self.idle = Together(count, batch), fails or {}, idle
        self.lock, self.switching, self.most = threading.Lock(), 0, 0
        self.staged: list[int] = []
        self.order: list[tuple[int, int]] = []  # a host that switches, and how many were staged then
        pool = ThreadPoolExecutor(count)
        futures = [pool.submit(self.one, number) for number in range(count)]
        late = wait(futures, timeout=20).not_done
        assert not late, "hosts wait for each other for ever"
        self.ends = [future.result() for future in futures]

    def one(self, number: int) -> str:
        if number < self.idle or self.fails.get(number) == "stage":
            self.together.left(staged=False, failed=number in self.fails)
            return "failed" if number in self.fails else "unchanged"
        with self.lock:
            self.staged.append(number)
        if (word := self.together.answer("staged")) == "go":
            word = self.switch(number)
        self.together.left(staged=True, failed=word == "failed")
        return word

    def switch(self, number: int) -> str:
        with self.lock:
            self.switching += 1
            self.most = max(self.most, self.switching)
            self.order.append((number, len(self.staged)))
        with self.lock:
            self.switching -= 1
        return "failed" if self.fails.get(number) == "switch" else self.together.answer("switched")


@pytest.mark.parametrize("count", [1, 2, 16])
@pytest.mark.parametrize("batch", [1, 3, 99])
def test_all_go_and_nobody_before_all_are_staged(count: int, batch: int) -> None:
    """At most `batch` at a time."""
    hosts = Hosts(count, batch)
    assert hosts.ends == ["commit"] * count
    assert {staged for _, staged in hosts.order} == {count}
    assert hosts.most <= batch


def test_a_host_that_can_not_be_staged_leaves_all_as_they_are() -> None:
    hosts = Hosts(5, fails={3: "stage"})
    assert sorted(hosts.ends) == ["abort"] * 4 + ["failed"]
    assert not hosts.order


def test_a_host_that_fails_its_switch_takes_back_those_before_and_holds_those_after() -> None:
    hosts = Hosts(6, fails={0: "switch"})
    assert hosts.ends[0] == "failed"
    assert set(hosts.ends[1:]) <= {"undo", "abort"}
    switched = {number for number, _ in hosts.order} - {0}
    assert {number for number, end in enumerate(hosts.ends) if end == "undo"} == switched


def test_hosts_with_nothing_to_do_keep_nobody_waiting() -> None:
    assert Hosts(4, idle=3).ends == ["unchanged"] * 3 + ["commit"]


def test_who_waits_is_let_go_when_the_operator_leaves() -> None:
    together, words = Together(2), []
    waiting = threading.Thread(target=lambda: words.append(together.answer("staged")))
    waiting.start()
    together.stop()
    waiting.join(10)
    assert words == ["abort"]
