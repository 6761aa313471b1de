"""The coordinator: threads stand for hosts, and every one of them ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from on_host import states
from rollout.coordinator import Coordinator, how_it_ended


class Hosts:
    """`count` hosts; `fails` maps a host's number to where it fails: `stage`, `switch`; `idle` have
    nothing to do."""

    def __init__(
        self, count: int, batch: int = 1, fails: dict[int, str] | None = None, idle: int = 0
    ) -> None:
        self.names = [f"host-{number}" for number in range(count)]
        self.coordinator, self.fails, self.idle = Coordinator(self.names, batch), fails or {}, idle
        self.lock, self.switching, self.most = threading.Lock(), 0, 0
        self.staged: list[int] = []
        self.order: list[
            tuple[int, int]
        ] = []  # a host that switches, and how many were staged then
        self.participants: set[str] = set()
        pool = ThreadPoolExecutor(count)
        futures = [pool.submit(self.one, number) for number in range(count)]
        late = wait(futures, timeout=20).not_done
        assert not late, "hosts wait for each other and nothing ends that"
        self.ends = [future.result() for future in futures]

    def one(self, number: int) -> str:
        name = self.names[number]
        if number < self.idle or self.fails.get(number) == "stage":
            self.coordinator.left(name, failed=number in self.fails)
            return "failed" if number in self.fails else "unchanged"
        with self.lock:
            self.staged.append(number)
        word = self.coordinator.answer(name, "staged")
        if word.startswith("go:"):
            self.participants.add(word)
            word = self.switch(number)
        self.coordinator.left(name, failed=word == "failed")
        return word

    def switch(self, number: int) -> str:
        with self.lock:
            self.switching += 1
            self.most = max(self.most, self.switching)
            self.order.append((number, len(self.staged)))
        with self.lock:
            self.switching -= 1
        if self.fails.get(number) == "switch":
            return "failed"
        return self.coordinator.answer(self.names[number], "switched")


@pytest.mark.parametrize("count", [1, 2, 16])
@pytest.mark.parametrize("batch", [1, 3, 99])
def test_all_go_and_nobody_before_all_are_staged(count: int, batch: int) -> None:
    """At most `batch` at a time; each hears the names of all that take part."""
    hosts = Hosts(count, batch)
    assert hosts.ends == ["commit"] * count
    assert {staged for _, staged in hosts.order} == {count}
    assert hosts.most <= batch
    assert hosts.participants == {"go:" + ",".join(hosts.names)}


def test_a_host_that_can_not_be_staged_leaves_all_as_they_are() -> None:
    hosts = Hosts(5, fails={3: "stage"})
    assert sorted(hosts.ends) == ["abort"] * 4 + ["failed"]
    assert not hosts.order


def test_a_failed_switch_rolls_back_and_stops_the_rest() -> None:
    """A host that fails its switch takes back those before and holds those after."""
    hosts = Hosts(6, fails={0: "switch"})
    assert hosts.ends[0] == "failed"
    assert set(hosts.ends[1:]) <= {"undo", "abort"}
    switched = {number for number, _ in hosts.order} - {0}
    assert {number for number, end in enumerate(hosts.ends) if end == "undo"} == switched


def test_hosts_with_nothing_to_do_keep_nobody_waiting() -> None:
    """And take no part: the one that is left decides alone."""
    hosts = Hosts(4, idle=3)
    assert hosts.ends == ["unchanged"] * 3 + ["commit"]
    assert hosts.participants == {"go:host-3"}


# -------------------------------------------------------------------------------------- one outcome


class Asking:
    """A host's question, asked from a thread; `word` waits for the answer."""

    def __init__(self, coordinator: Coordinator, host: str, question: str) -> None:
        self.words: list[str] = []
        self.thread = threading.Thread(
            target=lambda: self.words.append(coordinator.answer(host, question)), daemon=True
        )
        self.thread.start()

    @property
    def word(self) -> str:
        self.thread.join(10)
        assert self.words, "no answer came"
        return self.words[0]

    def waits(self) -> bool:
        self.thread.join(0.1)
        return not self.words


def until(question: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not question():
        assert time.monotonic() < end
        time.sleep(0.005)


def until_count_of(names: Callable[[], list[str]], least: int) -> None:
    until(lambda: len(names()) >= least)


@pytest.mark.parametrize("batch", [1, 2])
def test_at_most_one_batch_is_between_switch_and_vote(batch: int) -> None:
    """The next host gets its go once a host that switches has voted."""
    coordinator = Coordinator(["a", "b", "c"], batch)
    staged = {name: Asking(coordinator, name, "staged") for name in "abc"}
    votes: dict[str, Asking] = {}

    def may_switch() -> list[str]:
        return [name for name, one in staged.items() if one.words]

    while len(votes) < 3:
        expected = min(3, len(votes) + batch)
        until_count_of(may_switch, expected)
        assert sum(one.waits() for one in staged.values()) == 3 - expected
        voter = next(name for name in may_switch() if name not in votes)
        votes[voter] = Asking(coordinator, voter, "switched")
    assert {vote.word for vote in votes.values()} == {"commit"}


def test_who_waits_is_let_go_when_the_operator_leaves() -> None:
    coordinator = Coordinator(["a", "b"])
    waiting = Asking(coordinator, "a", "staged")
    coordinator.stop()
    assert waiting.word == "abort"


def test_the_outcome_is_decided_once() -> None:
    """A host that fails, and an operator who leaves, after the last vote change nothing about
    it."""
    coordinator = Coordinator(["a", "b"], batch=2)
    staged = [Asking(coordinator, name, "staged") for name in "ab"]
    assert [asking.word for asking in staged] == ["go:a,b", "go:a,b"]
    first = Asking(coordinator, "a", "switched")
    assert first.waits()
    assert Asking(coordinator, "b", "switched").word == "commit"
    coordinator.left("b", failed=True)
    coordinator.stop()
    assert first.word == "commit"
    assert coordinator.outcome == "commit"


def test_a_host_lost_before_the_last_vote_takes_all_back() -> None:
    coordinator = Coordinator(["a", "b"], batch=2)
    staged = [Asking(coordinator, name, "staged") for name in "ab"]
    assert [asking.word for asking in staged] == ["go:a,b", "go:a,b"]
    first = Asking(coordinator, "a", "switched")
    coordinator.left("b", failed=True)
    assert first.word == "undo"


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        (["prepared", "prepared"], "commit"),
        (["prepared", "committed"], "commit"),
        (["prepared", "undone"], "undo"),
        (["prepared"], "commit"),
        (["prepared", "prepared", "undone"], "undo"),
        (["committed", "prepared", "prepared"], "commit"),
    ],
)
def test_how_an_earlier_change_ended(outcomes: list[states.Ending], wanted: str) -> None:
    """All that got an answer agree, so one word is enough; without one, all have voted or one never
    did."""
    assert how_it_ended(outcomes) == wanted


def test_a_host_in_doubt_is_answered_from_the_others() -> None:
    asked: list[tuple[str, list[str]]] = []

    def ask(transaction: str, participants: object) -> str:
        asked.append((transaction, list(participants)))  # type: ignore[call-overload]
        return "undo"

    assert Coordinator(["a"], ask_how_it_ended=ask).answer("a", "in-doubt:t1:a,b") == "undo"
    assert asked == [("t1", ["a", "b"])]


@pytest.mark.parametrize("question", ["again", "switched", "stage", ""])
def test_a_question_that_the_state_does_not_allow_is_an_error(question: str) -> None:
    """A host that has reported nothing yet can only ask whether it may switch."""
    coordinator = Coordinator(["a", "b"])
    with pytest.raises(states.IllegalTransition):
        coordinator.answer("a", question)


def test_a_host_that_has_left_reports_nothing_more() -> None:
    coordinator = Coordinator(["a"])
    coordinator.left("a", failed=False)
    with pytest.raises(states.IllegalTransition, match="'left' does not allow 'end'"):
        coordinator.left("a", failed=False)


# ------------------------------------------------------------------------------- locks in one order


def test_two_changes_of_the_same_hosts_never_wait_in_a_circle() -> None:
    """Each has the lock of one host and waits for the other's: the later host of the one that waits
    gives way."""
    first, second = Coordinator(["a", "b"], batch=2), Coordinator(["a", "b"], batch=2)
    first_a = Asking(first, "a", "staged")  # `first` has the lock of a,
    second_b = Asking(second, "b", "staged")  # `second` that of b
    first.waits_for_lock("b")
    second.waits_for_lock("a")
    assert second_b.word == "yield"
    assert first_a.waits()
    first.works("b")  # gets the lock that was given back
    first_b = Asking(first, "b", "staged")
    assert [first_a.word, Asking(first, "a", "switched").waits(), first_b.word] == [
        "go:a,b",
        True,
        "go:a,b",
    ]
    again = Asking(second, "b", "again")
    assert again.waits()
    second.works("a")  # `first` is done with a
    assert again.word == "go"
    words = [Asking(second, name, "staged") for name in "ab"]
    assert [asking.word for asking in words] == ["go:a,b", "go:a,b"]


def test_a_host_that_gave_way_ends_with_the_others() -> None:
    coordinator = Coordinator(["a", "b"])
    coordinator.waits_for_lock("a")
    assert Asking(coordinator, "b", "staged").word == "yield"
    again = Asking(coordinator, "b", "again")
    coordinator.left("a", failed=True)
    assert again.word == "abort"


def test_the_end_of_those_under_way_is_waited_for() -> None:
    coordinator = Coordinator(["a", "b"])
    asking = Asking(coordinator, "a", "staged")
    assert asking.waits()
    coordinator.stop()
    assert asking.word == "abort"
    assert not coordinator.wait_until_answered(0.05)
    coordinator.left("a", failed=True)
    assert coordinator.wait_until_answered(0.05)
