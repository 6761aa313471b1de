"""Origins that no page of ours has, sent to a live backend byte by byte: none is allowed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.core.contract import Role
from infra.core.origins import look_alikes, parse_origin
from tests.e2e.test_bad_days import on
from tests.support.clients import dial, root_of
from tests.support.guideline import WEAKENED, deviations
from tests.support.kit import Kit, Stack
from tests.support.sampling import sampled
from tests.support.servers import Quiet, answering

pytestmark = [pytest.mark.machines, pytest.mark.either_scheme]

PREFLIGHT = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: content-type\r\n"
SITE = "/etc/origin-kit/current/nginx/origin-kit.conf"
# Name → whether port 80 is asked and not the origin's own, method, path, further headers.
REQUESTS = {
    "GET": (False, "GET", "/api/products/", ""),
    "OPTIONS": (False, "OPTIONS", "/api/products/", PREFLIGHT),
    "static": (False, "GET", "/static/none.css", ""),
    "GET on port 80": (True, "GET", "/api/products/", ""),
    "OPTIONS on port 80": (True, "OPTIONS", "/api/products/", PREFLIGHT),
}


@pytest.fixture(scope="module", autouse=True)
def https_alone(stack: Stack) -> None:
    """No http origin is allowed where the API is https: then its port 80 only says what to call."""
    if stack.contract.speaks_https:
        stack.write(extra_origins=["https://localhost:7001"])
        stack.fab("deploy")


def raw(origin: str) -> Iterator[bytes]:
    """What Python's own client would not send: every control byte and every high one, in front,
    inside and behind."""
    text = origin.encode()
    for number in (*range(32), *range(127, 256)):
        byte = bytes([number])
        yield from (byte + text, text[:10] + byte + text[10:], text + byte + b"x")


@dataclass(frozen=True)
class Door:
    """Where a role's host is asked: as clients of its origin do, or on port 80."""

    kit: Kit
    role: Role
    plain: bool = False

    def connect(self) -> socket.socket:
        if self.plain:
            return socket.create_connection((self.role.hosts[0].address, 80), timeout=20)
        return dial(self.kit, self.role)

    def answers(
        self, values: Iterable[bytes], method: str, path: str, more: str = ""
    ) -> Iterator[bytes]:
        """The head of each answer, lower case; a connection of its own each, as nginx closes it
        after a bad request."""
        host = self.role.parsed_origin.authority
        for value in values:
            begin = f"{method} {path} HTTP/1.0\r\nHost: {host}\r\n{more}Origin: ".encode()
            with self.connect() as connection:
                connection.sendall(begin + value + b"\r\n\r\n")
                with connection.makefile("rb") as file:
                    yield file.read().partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize("name", sampled(REQUESTS, ["GET", "GET on port 80"]))
def test_no_hostile_origin_is_allowed(stack: Stack, name: str) -> None:
    """Prefix, suffix, dot, case, port, scheme, sub-domain, null, special characters, overlong,
    control bytes; an https API is not opened by its port 80 either, where it says what to call."""
    plain, method, path, more = REQUESTS[name]
    contract = stack.contract
    allowed = contract.cors.allowed_origins
    similar = {
        text for origin in allowed for text in look_alikes(parse_origin(origin, production=False))
    } - {*allowed}
    values = [text.encode("latin-1") for text in sorted(similar)] + list(
        raw(contract.frontend.origin)
    )
    assert len(values) > 700
    backend = Door(stack.kit, contract.backend, plain)
    heads = list(backend.answers(values, method, path, more))
    # CR and LF end the line: what stands before them is the whole origin, and may be a right one.
    own = [origin.encode() for origin in allowed]
    cut = [value.splitlines()[0].strip() if value.strip() else b"" for value in values]
    answered = [
        value
        for value, line, head in zip(values, cut, heads, strict=True)
        if b"access-control-allow-origin" in head and line not in own
    ]
    assert answered == []
    control = next(backend.answers(own[:1], method, path, more))
    assert b"access-control-allow-origin: " + own[0] in control  # so that silence means refusal


def test_the_frontend_lets_nobody_read_it(stack: Stack) -> None:
    """Its files are for its own pages; config.json is no exception."""
    contract = stack.contract
    frontend = Door(stack.kit, contract.frontend)
    values = [
        origin.encode()
        for origin in (*contract.cors.allowed_origins, "null", "http://evil.example")
    ]
    for path in ("/", "/config.json"):
        for head in frontend.answers(values, "GET", path):
            assert head.startswith(b"http/1.1 200")
            assert b"access-control-" not in head


# ---------------------------------------------------------------------------------- second opinions


def corscanner(url: str, origin: str, folder: Path, root: Path) -> object:
    """What it finds; it makes its origins from the API's host, `origin` it does not want to
    know."""
    scanner(url, root, "cors", "-u", url, "-o", str(folder / "found.json"))
    return json.loads((folder / "found.json").read_text())


def corsair(url: str, origin: str, folder: Path, root: Path) -> object:
    """What it finds; it makes its origins from the one that is allowed."""
    asked = [
        {"url": url, "verb": verb, "params": "", "headers": {"Origin": origin}}
        for verb in ("GET", "OPTIONS")
    ]
    (folder / "asked.json").write_text(json.dumps(asked))
    words = [str(folder / "asked.json"), "-r", str(folder / "report.json")]
    scanner(url, root, "corsair", *words)
    report = json.loads((folder / "report.json").read_text())
    assert len(report["report"]) == 2 and report["summary"]["error"] == []
    return report["summary"]["misconfigured"]


def scanner(url: str, root: Path, name: str, *words: str) -> None:
    """Run one on a URL whose certificate, if it has any, is of this CA."""
    # Both would like the list of public suffixes by https, and have one of their own: the proxy
    # that is none says no.
    environment = {
        **os.environ,
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": urlsplit(url).hostname or "",
        "REQUESTS_CA_BUNDLE": str(root),
    }
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
    stack: Stack, tmp_path: Path, scan: Callable[[str, str, Path, Path], object]
) -> None:
    """Public scanners find nothing here and something elsewhere."""
    contract, root = stack.contract, root_of(stack.kit)
    page, url = contract.frontend.origin, f"{contract.backend.origin}/api/products/"
    assert scan(url, page, tmp_path, root) == []
    with a_server_that_says_yes() as url:
        assert scan(url, page, tmp_path, root)


@pytest.mark.https
@pytest.mark.parametrize("role", ["backend", "frontend"])
def test_sslyze_finds_nothing_against_the_guideline(stack: Stack, role: str) -> None:
    """Mozilla's intermediate one, the certificate of the user's own CA included."""
    assert guideline_of(stack, role) == {}


@pytest.mark.https
def test_sslyze_finds_what_is_weakened_on_purpose(stack: Stack) -> None:
    """Each rule that a line of the shipped file keeps."""
    host = stack.contract.backend.hosts[0]
    edits = " ".join(f"-e 's/{before}/{after}/'" for before, after in WEAKENED.values())
    reload = "systemctl reload nginx"
    weaken = f"cp {SITE} /run/kept && sed -i {edits} {SITE} && {reload}"
    with on(stack, host, weaken, f"cat /run/kept > {SITE} && rm /run/kept && {reload}"):
        assert set(guideline_of(stack, "backend")) == set(WEAKENED)


def guideline_of(stack: Stack, role: str) -> dict[str, str]:
    """What sslyze finds at a role's first host."""
    found: Role = getattr(stack.contract, role)
    name, address = found.parsed_origin.hostname, found.hosts[0].address
    return deviations(name, address, 443, root_of(stack.kit))
