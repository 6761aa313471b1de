"""Origins that no page of ours has, sent to a live backend byte by byte: none is allowed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.core.origins import look_alikes, parse_origin
from tests.support.kit import Stack
from tests.support.servers import Quiet, answering

pytestmark = pytest.mark.machines

PREFLIGHT = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: content-type\r\n"
REQUESTS = (
    ("GET", "/api/products/", ""),
    ("OPTIONS", "/api/products/", PREFLIGHT),
    ("GET", "/static/none.css", ""),
)


def raw(origin: str) -> Iterator[bytes]:
    """What Python's own client would not send: every control byte and every high one, in front,
    inside and behind."""
    text = origin.encode()
    for number in (*range(32), *range(127, 256)):
        byte = bytes([number])
        yield from (byte + text, text[:10] + byte + text[10:], text + byte + b"x")


def answers(
    address: str, host: str, values: Iterable[bytes], method: str, path: str, more: str
) -> Iterator[bytes]:
    """The head of each answer, lower case; a connection of its own each, as nginx closes it after a
    bad request."""
    for value in values:
        head = (
            f"{method} {path} HTTP/1.0\r\nHost: {host}\r\n{more}Origin: ".encode()
            + value
            + b"\r\n\r\n"
        )
        with socket.create_connection((address, 80), timeout=20) as connection:
            connection.sendall(head)
            with connection.makefile("rb") as file:
                yield file.read().partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize(("method", "path", "more"), REQUESTS, ids=["GET", "OPTIONS", "static"])
def test_no_hostile_origin_is_allowed(stack: Stack, method: str, path: str, more: str) -> None:
    """Prefix, suffix, dot, case, port, scheme, sub-domain, null, special characters, overlong,
    control bytes."""
    contract = stack.contract
    allowed = contract.cors.allowed_origins
    similar = {
        text for origin in allowed for text in look_alikes(parse_origin(origin, production=False))
    } - {*allowed}
    values = [text.encode("latin-1") for text in sorted(similar)] + list(
        raw(contract.frontend.origin)
    )
    assert len(values) > 700
    backend = (contract.backend.hosts[0].address, urlsplit(contract.backend.origin).netloc)
    heads = list(answers(*backend, values, method, path, more))
    # CR and LF end the line: what stands before them is the whole origin, and may be a right one.
    own = [origin.encode() for origin in allowed]
    cut = [value.splitlines()[0].strip() if value.strip() else b"" for value in values]
    answered = [
        value
        for value, line, head in zip(values, cut, heads, strict=True)
        if b"access-control-allow-origin" in head and line not in own
    ]
    assert answered == []
    control = next(answers(*backend, own[:1], method, path, more))
    assert b"access-control-allow-origin: " + own[0] in control  # so that silence means refusal


def test_the_frontend_lets_nobody_read_it(stack: Stack) -> None:
    """Its files are for its own pages; config.json is no exception."""
    contract = stack.contract
    frontend = (contract.frontend.hosts[0].address, urlsplit(contract.frontend.origin).netloc)
    values = [
        origin.encode()
        for origin in (*contract.cors.allowed_origins, "null", "http://evil.example")
    ]
    for path in ("/", "/config.json"):
        for head in answers(*frontend, values, "GET", path, ""):
            assert head.startswith(b"http/1.1 200")
            assert b"access-control-" not in head


# ---------------------------------------------------------------------------------- second opinions


def corscanner(url: str, origin: str, folder: Path) -> object:
    """What it finds; it makes its origins from the API's host, `origin` it does not want to
    know."""
    scanner("cors", "-u", url, "-o", str(folder / "found.json"))
    return json.loads((folder / "found.json").read_text())


def corsair(url: str, origin: str, folder: Path) -> object:
    """What it finds; it makes its origins from the one that is allowed."""
    asked = [
        {"url": url, "verb": verb, "params": "", "headers": {"Origin": origin}}
        for verb in ("GET", "OPTIONS")
    ]
    (folder / "asked.json").write_text(json.dumps(asked))
    scanner("corsair", str(folder / "asked.json"), "-r", str(folder / "report.json"))
    report = json.loads((folder / "report.json").read_text())
    assert len(report["report"]) == 2 and report["summary"]["error"] == []
    return report["summary"]["misconfigured"]


def scanner(name: str, *words: str) -> None:
    # Both would like the list of public suffixes by https, and have one of their own: the proxy
    # that is none says no.
    environment = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    program = Path(sys.executable).with_name(name)
    done = subprocess.run(
        [program, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def a_server_that_says_yes() -> Iterator[str]:
    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", ""))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_OPTIONS = do_GET

    with answering(Handler) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize("scan", [corscanner, corsair])
def test_public_scanners_find_nothing_here(
    stack: Stack, tmp_path: Path, scan: Callable[[str, str, Path], object]
) -> None:
    """Public scanners find nothing here and something elsewhere."""
    contract = stack.contract
    assert (
        scan(f"{contract.backend.origin}/api/products/", contract.frontend.origin, tmp_path) == []
    )
    with a_server_that_says_yes() as url:
        assert scan(url, contract.frontend.origin, tmp_path)
