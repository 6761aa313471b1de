"""What the doctor does where nothing answers: everything is asked at once, a first silence ends the
questions, and nobody is accused."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Contract
from infra.core.origins import Origin
from rollout import doctor
from rollout.doctor import ask, diagnose
from rollout.doctor.ask import LOOKUP_S, NOT_ASKED, Unanswered
from rollout.doctor.codes import Code
from rollout.doctor.examination import surroundings
from rollout.doctor.verdicts import Surroundings, within
from rollout.outputs import Outputs
from rollout.tls import Place
from rollout.verdict import Response
from tests.test_doctor import NAMES, observed, said

LIMIT_S = 10.0
MOST_TOGETHER_S = 30.0  # of this test's own patience, never waited for where all is well
Target = tuple[str, int]


@dataclass
class DeadNetwork:
    """The wire: every connection times out at once, and says how long it would have taken.

    `together`: each target's first attempt waits until all of them are under way, which only
    happens where they are asked at the same time.
    """

    targets: set[Target]
    attempts: list[tuple[Target, float]] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._first: set[Target] = set()
        self._lock = threading.Lock()
        self._together = threading.Barrier(len(self.targets))

    def connect(self, connection: socket.socket, address: Any) -> None:
        target = (address[0], address[1])
        with self._lock:
            self.attempts.append((target, connection.gettimeout() or 1e9))
            is_first = target not in self._first
            self._first.add(target)
        if is_first:
            self._together.wait(MOST_TOGETHER_S)
        raise TimeoutError("timed out")

    def longest_s(self) -> float:
        """How long the slowest target would have kept the doctor: attempts to one target are made
        AT_ONCE at a time."""
        longest = 0.0
        for target in self.targets:
            waits = [seconds for address, seconds in self.attempts if address == target]
            rounds = -(-len(waits) // ask.AT_ONCE)
            longest = max(longest, rounds * max(waits))
        return longest


def targets(contract: Contract) -> set[Target]:
    """Port 22 of every host, and port 80 of the page and of the API."""
    ssh = {(host.address, host.port) for _, host in contract.hosts}
    http = {(role.hosts[0].address, 80) for role in (contract.frontend, contract.backend)}
    return ssh | http


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DeadNetwork:
    network = DeadNetwork(targets(NAMES))
    answered = socket.getaddrinfo

    def look_up(host: str, *words: Any, **options: Any) -> Any:
        if host.replace(".", "").isdigit():
            return answered(host, *words, **options)
        network.lookups.append(host)
        threading.Event().wait()  # no end, as a lookup may have none; nobody waits for it

    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(
        socket.socket, "connect", lambda one, address: network.connect(one, address)
    )
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return network


def test_a_dead_network_is_known_in_under_ten_seconds(dead: DeadNetwork) -> None:
    """Counted, not timed: names and connections are tried at the same time, each target once, and
    the seconds of all that have to end one after another are fewer than ten."""
    result = diagnose(doctor.examine(Outputs(NAMES)))
    assert {target for target, _ in dead.attempts} == dead.targets
    assert LOOKUP_S + dead.longest_s() < LIMIT_S - 3  # the rest is for Python
    assert set(dead.lookups) == {"app.shop.test", "api.shop.test"}
    assert result.status == 4
    (only,) = result.findings
    assert only.code == Code.NOTHING_ANSWERS
    codes = {one.code for one in only.follows}
    assert Code.NAME_NOT_LOOKED_UP in codes and Code.NAME_UNKNOWN not in codes


def test_the_remaining_questions_are_not_asked(dead: DeadNetwork) -> None:
    """Where the first question finds no connection, a hundred others are not sent."""
    result = doctor.examine(Outputs(NAMES))
    count = dict.fromkeys(dead.targets, 0)
    for target, _ in dead.attempts:
        count[target] += 1
    assert set(count.values()) == {1}
    answers = [answer for cell in result.public for answer in cell.answers]
    assert len(answers) > 50
    assert all(isinstance(answer, Unanswered) for answer in answers)
    assert answers[-1] == Unanswered(NOT_ASKED)
    assert all(cell.verdict is None for cell in result.cells)


def test_nobody_is_accused_where_the_network_is_dead(dead: DeadNetwork) -> None:
    """No answer is no verdict: no origin, no file, no name that leads elsewhere."""
    (only,) = diagnose(doctor.examine(Outputs(NAMES))).findings
    text = " ".join([only.text, *(one.text for one in only.follows)])
    for word in ("allows", "resolves to", "differs", "refused", "MissingAllow"):
        assert word not in text


# --------------------------------------------------------------------------- parts that are silent


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port of this machine that drops what comes, as a firewall does: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield int(full.getsockname()[1])
        for one in waiting:
            one.close()


def here(port: int) -> Place:
    """A port of this machine."""
    return Place(Origin("http", "127.0.0.1", port), "127.0.0.1")


def test_a_port_that_drops_costs_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real time-outs, made short: two hundred questions end with the first eight."""
    monkeypatch.setattr(ask, "CONNECT_S", 0.2)
    requests = [("GET", f"/{number}", (("Host", "a"),)) for number in range(200)]
    with black_hole() as port:
        answers = ask.exchange_all(here(port), requests)
    assert answers[:8] == [Unanswered("timed out")] * 8
    assert answers[8:] == [Unanswered(NOT_ASKED)] * 192


class Server:
    """Answers every request but those to /slow, which it never answers; counts them."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                target = connection.recv(4096).decode().split()[1]
                self.targets.append(target)
                if target != "/slow":
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                self._open.append(connection)

    def close(self) -> None:
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_one_slow_answer_does_not_end_the_questions(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view that never answers is not a dead network: everything else is asked."""
    monkeypatch.setattr(ask, "TIMEOUT_S", 0.3)
    paths = [*["/slow"] * 7, *["/fast"] * 20]
    found = ask.exchange_all(here(server.port), [("GET", path, ()) for path in paths])
    assert [isinstance(answer, Response) for answer in found] == [False] * 7 + [True] * 20
    assert len(server.targets) == 27


def test_a_connection_and_an_answer_have_their_own_patience(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that takes the connection may take long to answer."""
    monkeypatch.setattr(ask, "CONNECT_S", 30.0)
    monkeypatch.setattr(ask, "TIMEOUT_S", 0.1)
    found = ask.exchange(here(server.port), "GET", "/slow", ())
    assert found == Unanswered("timed out", connected=True)


# ------------------------------------------------------------------------------------------- names


def test_a_name_that_nobody_knows_and_a_silent_name_service_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No answer is no verdict: the second is never called unknown."""
    for error, problem in (
        (socket.gaierror(socket.EAI_NONAME, "unknown"), ""),
        (socket.gaierror(socket.EAI_AGAIN, "again"), "the name service does not answer"),
    ):

        def fails(*_: Any, failure: Exception = error, **__: Any) -> Any:
            raise failure

        monkeypatch.setattr(socket, "getaddrinfo", fails)
        lookup = ask.Lookup(NAMES.backend.parsed_origin)
        assert lookup.addresses(MOST_TOGETHER_S) == ()
        assert lookup.problem == problem
    silent = observed(
        NAMES,
        addresses={"frontend": (), "backend": ()},
        lookup_problems={"frontend": "x", "backend": "x"},
    )
    assert "could not be looked up" in said(silent) and "resolves to nothing" not in said(silent)
    assert diagnose(silent).status == 0


def test_a_late_name_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts are asked by address meanwhile; what the name resolves to is known at the end."""
    go_on = threading.Event()

    def late(*_: Any, **__: Any) -> Any:
        go_on.wait(MOST_TOGETHER_S)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", late)
    lookup = ask.Lookup(NAMES.backend.parsed_origin)
    assert lookup.addresses(0) == () and lookup.problem
    go_on.set()
    assert lookup.addresses(MOST_TOGETHER_S) == ("192.0.2.7",) and lookup.problem == ""


def test_the_page_s_policy_is_judged_when_it_is_known() -> None:
    """Questions are asked before the page has answered: the frontend's own cells are judged again,
    no others."""
    front = NAMES.frontend.origin
    addresses = (NAMES.frontend.hosts[0].address, NAMES.backend.hosts[0].address)
    for cell in observed(NAMES).cells:
        again = within(cell, front, Surroundings("connect-src 'self'", *addresses))
        assert again.readable == (cell.readable and cell.question.row.origin != front)
        assert within(cell, front, Surroundings(None, *addresses)) is cell


def test_a_proxy_in_front_of_private_hosts_is_what_browsers_reach() -> None:
    """A page on the internet calls no private address where both names lead to a CDN: the proxy's
    address decides about local network access."""
    behind = replace(
        NAMES,
        behind=("192.0.2.0/24",),
        frontend=replace(
            NAMES.frontend, hosts=(replace(NAMES.frontend.hosts[0], address="8.8.8.8"),)
        ),
        backend=replace(
            NAMES.backend, hosts=(replace(NAMES.backend.hosts[0], address="10.0.0.2"),)
        ),
    )
    of_the_hosts = {"frontend": ("8.8.8.8",), "backend": ("10.0.0.2",)}
    of_the_proxy = {"frontend": ("192.0.2.7",), "backend": ("192.0.2.7",)}
    assert surroundings(behind, None, of_the_proxy) == Surroundings(None, "192.0.2.7", "192.0.2.7")

    front = NAMES.frontend.origin
    for addresses, is_readable in ((of_the_hosts, False), (of_the_proxy, True)):
        around = surroundings(behind, None, addresses)
        cells = [within(cell, front, around) for cell in observed(NAMES).cells]
        own = [cell for cell in cells if cell.question.row.origin == front]
        assert {cell.readable for cell in own} == {is_readable}
