"""Ask the live environment from here: the public address, and the page for its policy."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from infra.core.contract import Contract
from infra.core.origins import Origin
from rollout.verdict import Headers, Response

TIMEOUT_S = 15
_AT_ONCE = 8
_MOST_REDIRECTS = 10  # browsers follow twenty
_MOST_BYTES = 65536  # of config.json


@dataclass(frozen=True)
class Unanswered:
    """Nothing came back, and why."""

    problem: str


Answer = Response | Unanswered


@dataclass(frozen=True)
class Page:
    """The frontend as it is served: its policy, and where its config.json says that the backend is,
    if it was read. `config_problem` is why config.json could not be read."""

    status: int | None
    csp: str | None = None
    backend: str | None = None
    problem: str = ""
    config_problem: str = ""


def resolve(origin: Origin) -> tuple[str, ...]:
    """The IPv4 and IPv6 addresses that the origin's host has from here; empty if the name is
    unknown."""
    try:
        entries = socket.getaddrinfo(origin.hostname, origin.port_number, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    addresses = [str(entry[4][0]) for entry in entries]
    return tuple(dict.fromkeys(addresses))


def exchange(address: str, port: int, method: str, target: str, headers: Headers) -> Answer:
    """Send one request and return the answer, its header lines as they came."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders()
        answer = connection.getresponse()
        return Response(answer.status, tuple(answer.getheaders()))
    except (OSError, http.client.HTTPException) as problem:
        return Unanswered(_reason(problem))
    finally:
        connection.close()


def _reason(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


def landing(address: str, origin: Origin, headers: Headers) -> tuple[str, int] | None:
    """Follow redirects from `/` within `origin`: the last target, and the status there.

    None where `/` does not redirect, where a redirect leads elsewhere or has no end, and where
    nothing answers.
    """
    sent = (("Host", origin.authority), *headers)
    target = "/"
    for hop in range(_MOST_REDIRECTS):
        answer = exchange(address, origin.port_number, "GET", target, sent)
        if isinstance(answer, Unanswered):
            return None
        if not answer.location:
            return (target, answer.status) if hop else None
        place = urlsplit(urljoin(f"{origin}{target}", answer.location))
        if (place.scheme, place.netloc) != (origin.scheme, origin.authority):
            return None
        target = place.path or "/"
        if place.query:
            target += f"?{place.query}"
    return None


def exchange_all(
    address: str, port: int, requests: Sequence[tuple[str, str, Headers]]
) -> list[Answer]:
    """Send these requests, a few at a time; return the answers in their order."""

    def send(request: tuple[str, str, Headers]) -> Answer:
        return exchange(address, port, *request)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(send, requests))


def page(contract: Contract, address: str) -> Page:
    """What the frontend serves at `address` under its own name."""
    origin = contract.frontend.parsed_origin
    host = (("Host", origin.authority),)
    answer = exchange(address, origin.port_number, "GET", "/", host)
    if isinstance(answer, Unanswered):
        return Page(None, problem=answer.problem)
    backend, problem = _backend(address, origin.port_number, host)
    csp = answer.get("Content-Security-Policy")
    return Page(answer.status, csp, backend, config_problem=problem)


def _backend(address: str, port: int, headers: Headers) -> tuple[str | None, str]:
    """The backend in config.json (None: it has none), and why it could not be read, if so."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
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
