"""Ask the live environment from here: the public address, and the page for its policy.

Nothing waits long for a network that is dead: a name for LOOKUP_S, a connection for CONNECT_S, and
where the first questions to an address get no answer, the others are not asked.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from infra.core.origins import Origin
from on_host.probe import is_late
from rollout import gated
from rollout.tls import Place
from rollout.verdict import Headers, Response

LOOKUP_S = 1.0  # a name; what it resolves to may come later and still counts
CONNECT_S = 4.0  # a connection: two retransmissions
TIMEOUT_S = 15.0  # an answer, once there is a connection
AT_ONCE = 8
NOT_ASKED = "not asked, as the questions before got no answer"
_MOST_REDIRECTS = 10  # browsers follow twenty
_MOST_BYTES = 65536  # of config.json


@dataclass(frozen=True)
class Unanswered:
    """Nothing came back, and why."""

    problem: str
    connected: bool = False  # somebody took the question

    @property
    def is_late(self) -> bool:
        """Whether somebody took the question and did not answer in time."""
        return self.connected and is_late(self.problem)


Answer = Response | Unanswered


@dataclass(frozen=True)
class Page:
    """The frontend as it is served: its policy, and where its config.json says that the backend is,
    if it was read. `config_problem` is why config.json could not be read; `hsts` is the value of
    Strict-Transport-Security; `gate` is the config key of what refused this machine, or empty."""

    status: int | None
    csp: str | None = None
    backend: str | None = None
    problem: str = ""
    config_problem: str = ""
    hsts: str | None = None
    gate: str = ""


class Lookup:
    """The IPv4 and IPv6 addresses that an origin's host has from here, looked up in the background:
    a lookup can't be stopped, and may take longer than anybody waits."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._addresses: tuple[str, ...] = ()
        self._problem = ""
        self._done = threading.Event()
        threading.Thread(target=self._look_up, daemon=True).start()

    def addresses(self, wait_s: float) -> tuple[str, ...]:
        """What is known after at most `wait_s`; empty where the name is unknown, or nobody has
        answered (`problem` says which)."""
        self._done.wait(wait_s)
        return self._addresses

    @property
    def problem(self) -> str:
        """Why it is not known what the name resolves to; empty where that is known."""
        if not self._done.is_set():
            return "the name service does not answer"
        return self._problem

    def _look_up(self) -> None:
        host = self._origin.hostname
        port = self._origin.port_number
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except socket.gaierror as problem:
            if problem.errno == socket.EAI_AGAIN:
                self._problem = "the name service does not answer"
        except OSError as problem:
            self._problem = _reason(problem)
        finally:
            self._done.set()


def exchange(
    place: Place,
    method: str,
    target: str,
    headers: Headers,
) -> Answer:
    """Send one request and return the answer, its header lines as they came."""
    connection = place.connection(CONNECT_S)
    connected = False
    try:
        _connect(connection)
        connected = True
        connection.putrequest(
            method,
            target,
            skip_host=True,
            skip_accept_encoding=True,
        )
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders()
        answer = connection.getresponse()
        return Response(answer.status, tuple(answer.getheaders()))
    except (OSError, http.client.HTTPException) as problem:
        return Unanswered(_reason(problem), connected)
    finally:
        connection.close()


def _connect(connection: http.client.HTTPConnection) -> None:
    """Connect, and from then on wait longer: a host that is there may be slow."""
    connection.connect()
    connection.sock.settimeout(TIMEOUT_S)


def _reason(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


def landing(place: Place, headers: Headers) -> tuple[str, int] | None:
    """Follow redirects from `/` within the origin: the last target, and the status there.

    None where `/` does not redirect, where a redirect leads elsewhere or has no end, and where
    nothing answers.
    """
    origin = place.origin
    sent = (("Host", origin.authority), *headers)
    target = "/"
    for hop in range(_MOST_REDIRECTS):
        answer = exchange(place, "GET", target, sent)
        if isinstance(answer, Unanswered):
            return None
        if not answer.location:
            return (target, answer.status) if hop else None
        url = urlsplit(urljoin(f"{origin}{target}", answer.location))
        if (url.scheme, url.netloc) != (origin.scheme, origin.authority):
            return None
        target = url.path or "/"
        if url.query:
            target += f"?{url.query}"
    return None


def exchange_all(place: Place, requests: Sequence[tuple[str, str, Headers]]) -> list[Answer]:
    """Send these requests, AT_ONCE at a time; return the answers in their order. Where all that
    were sent at once got no answer, the rest is not sent (NOT_ASKED). What has had no answer in
    time is not waited for again by another origin."""
    late: dict[tuple[str, str], Unanswered] = {}

    def send(request: tuple[str, str, Headers]) -> Answer:
        method, target, _ = request
        known = late.get((method, target))
        if known:
            return known
        answer = exchange(place, *request)
        if isinstance(answer, Unanswered) and answer.is_late:
            late[method, target] = answer
        return answer

    answers: list[Answer] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(requests), AT_ONCE):
            at_once = requests[start : start + AT_ONCE]
            found = list(pool.map(send, at_once))
            answers += found
            if not any(isinstance(answer, Response) for answer in found):
                break
    not_sent = len(requests) - len(answers)
    return answers + [Unanswered(NOT_ASKED)] * not_sent


def page(place: Place, credentials: Headers = ()) -> Page:
    """What the frontend serves there under its own name, to who sends these `credentials`."""
    host = (("Host", place.origin.authority), *credentials)
    answer = exchange(place, "GET", "/", host)
    if isinstance(answer, Unanswered):
        return Page(None, problem=answer.problem)
    if gate := gated.gate_of(answer.status, answer.get):
        return Page(answer.status, gate=gate)
    backend, problem = _backend(place, host)
    csp = answer.get("Content-Security-Policy")
    hsts = answer.get("Strict-Transport-Security")
    return Page(
        answer.status,
        csp,
        backend,
        config_problem=problem,
        hsts=hsts,
    )


def _backend(place: Place, headers: Headers) -> tuple[str | None, str]:
    """The backend in config.json (None: it has none), and why it could not be read, if so."""
    connection = place.connection(CONNECT_S)
    try:
        _connect(connection)
        connection.request("GET", "/config.json", headers=dict(headers))
        answer = connection.getresponse()
        if answer.status >= 500:
            return None, f"it answers {answer.status}"
        if answer.status != 200:
            return None, ""
        config = json.loads(answer.read(_MOST_BYTES))
    except (OSError, http.client.HTTPException) as problem:
        return None, _reason(problem)
    except ValueError:  # it is not JSON
        return None, ""
    finally:
        connection.close()
    if isinstance(config, dict) and "backend" in config:
        return str(config["backend"]), ""
    return None, ""
