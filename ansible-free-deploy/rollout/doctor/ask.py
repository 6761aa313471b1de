"""Ask the live environment: the public address from here, each host from within, the page for its
policy."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from infra.core.contract import Contract
from rollout.verdict import Headers, Response

TIMEOUT_S = 15
_AT_ONCE = 8


@dataclass(frozen=True)
class Unanswered:
    """Nothing came back, and why."""

    problem: str


Answer = Response | Unanswered


@dataclass(frozen=True)
class Page:
    """The frontend as it is served: its policy, and where its config.json says that the backend is,
    if it was read."""

    status: int | None
    csp: str | None = None
    backend: str | None = None
    problem: str = ""
    config_problem: str = ""  # why config.json could not be read


def resolve(origin: str) -> tuple[str, ...]:
    """The IPv4 and IPv6 addresses that the origin's host has from here; empty if the name is
    unknown."""
    parts = urlsplit(origin)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def one(address: str, port: int, method: str, target: str, headers: Headers) -> Answer:
    """One exchange, its header lines as they came."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders()
        found = connection.getresponse()
        return Response(found.status, tuple(found.getheaders()))
    except (OSError, http.client.HTTPException) as problem:
        return Unanswered(str(problem) or type(problem).__name__)
    finally:
        connection.close()


_HOPS = 10  # browsers follow twenty


def led(address: str, origin: str, headers: Headers) -> tuple[str, int] | None:
    """Where redirects from `/` lead within `origin`, and what is answered there; None for one
    without redirects, that leads elsewhere, or that does not answer."""
    parts, target = urlsplit(origin), "/"
    for hop in range(_HOPS):
        answer = one(address, parts.port or 80, "GET", target, (("Host", parts.netloc), *headers))
        if isinstance(answer, Unanswered):
            return None
        if not (answer.redirects and answer.get("Location")):
            return (target, answer.status) if hop else None
        place = urlsplit(urljoin(f"{origin}{target}", answer.get("Location") or ""))
        if (place.scheme, place.netloc) != (parts.scheme, parts.netloc):
            return None
        target = (place.path or "/") + (f"?{place.query}" if place.query else "")
    return None


def many(address: str, port: int, lines: Sequence[tuple[str, str, Headers]]) -> list[Answer]:
    """As `one`, a few side by side, answers in order."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda line: one(address, port, *line), lines))


def page(contract: Contract, address: str) -> Page:
    """What the frontend serves at `address` under its own name."""
    parts = urlsplit(contract.frontend.origin)
    host = (("Host", parts.netloc),)
    answer = one(address, parts.port or 80, "GET", "/", host)
    if isinstance(answer, Unanswered):
        return Page(None, problem=answer.problem)
    backend, problem = _backend(address, parts.port or 80, host)
    return Page(
        answer.status, answer.get("Content-Security-Policy"), backend, config_problem=problem
    )


def _backend(address: str, port: int, headers: Headers) -> tuple[str | None, str]:
    """What config.json says, and why it could not be asked, if so."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/config.json", headers=dict(headers))
        found = connection.getresponse()
        if found.status != 200:
            return None, f"it answers {found.status}" if found.status >= 500 else ""
        told = json.loads(found.read(65536))
        return (str(told["backend"]) if isinstance(told, dict) and "backend" in told else None), ""
    except (OSError, http.client.HTTPException) as problem:
        return None, str(problem) or type(problem).__name__
    except ValueError:  # it is no JSON
        return None, ""
    finally:
        connection.close()
