"""Origins that no page of ours has, sent to a live backend byte by byte: none is let in."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import pytest

from infra.origins import look_alikes, parse_origin
from tests.e2e.kit import Stack

pytestmark = pytest.mark.machines

PREFLIGHT = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: content-type\r\n"
REQUESTS = (("GET", "/api/products/", ""), ("OPTIONS", "/api/products/", PREFLIGHT), ("GET", "/static/none.css", ""))


def raw(origin: str) -> Iterator[bytes]:
    """What Python's own client would not send: every control byte and every high one, in front, inside and behind."""
    text = origin.encode()
    for number in (*range(32), *range(127, 256)):
        byte = bytes([number])
        yield from (byte + text, text[:10] + byte + text[10:], text + byte + b"x")


def answers(address: str, host: str, values: Iterable[bytes], method: str, path: str, more: str) -> Iterator[bytes]:
    """The head of each answer, lower case; a connection of its own each, as nginx closes it after a bad request."""
    for value in values:
        head = f"{method} {path} HTTP/1.0\r\nHost: {host}\r\n{more}Origin: ".encode() + value + b"\r\n\r\n"
        with socket.create_connection((address, 80), timeout=20) as connection:
            connection.sendall(head)
            with connection.makefile("rb") as file:
                yield file.read().partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize(("method", "path", "more"), REQUESTS, ids=["GET", "OPTIONS", "static"])
def test_no_hostile_origin_is_let_in(stack: Stack, method: str, path: str, more: str) -> None:
    """Prefix, suffix, dot, case, port, scheme, sub-domain, null, special characters, overlong, control bytes."""
    contract = stack.contract
    allowed = contract.cors.allowed_origins
    near = {text for origin in allowed for text in look_alikes(parse_origin(origin, production=False))} - {*allowed}
    values = [text.encode("latin-1") for text in sorted(near)] + list(raw(contract.frontend.origin))
    assert len(values) > 700
    backend = (contract.backend.hosts[0].address, urlsplit(contract.backend.origin).netloc)
    heads = list(answers(*backend, values, method, path, more))
    # CR and LF end the line: what stands before them is the whole origin, and may be a right one.
    own = [origin.encode() for origin in allowed]
    cut = [value.splitlines()[0].strip() if value.strip() else b"" for value in values]
    let_in = [
        value
        for value, line, head in zip(values, cut, heads, strict=True)
        if b"access-control-allow-origin" in head and line not in own
    ]
    assert let_in == []
    told = next(answers(*backend, own[:1], method, path, more))
    assert b"access-control-allow-origin: " + own[0] in told  # so that silence means refusal


def test_the_frontend_lets_nobody_read_it(stack: Stack) -> None:
    """Its files are for its own pages; config.json is no exception."""
    contract = stack.contract
    frontend = (contract.frontend.hosts[0].address, urlsplit(contract.frontend.origin).netloc)
    values = [origin.encode() for origin in (*contract.cors.allowed_origins, "null", "http://evil.example")]
    for path in ("/", "/config.json"):
        for head in answers(*frontend, values, "GET", path, ""):
            assert head.startswith(b"http/1.1 200")
            assert b"access-control-" not in head
