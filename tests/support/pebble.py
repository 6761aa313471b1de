"""pebble, the ACME server for tests by Let's Encrypt's makers, with a name server and a front of
ours that can fail."""

from __future__ import annotations

import base64
import fcntl
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.certificates import Authority
from tests.support.installed import installed
from tests.support.kit import ROOT
from tests.support.servers import Quiet, answering

MODULE = "github.com/letsencrypt/pebble/v2/cmd"
VERSION = "v2.10.3"
PROGRAMS = ROOT / ".tools" / f"pebble-{VERSION}"

DAY_S = 86_400
# Lifetimes of Let's Encrypt's profiles (https://letsencrypt.org/docs/profiles/).
LIFETIMES = {"classic": 90 * DAY_S, "tlsserver": 45 * DAY_S, "shortlived": 160 * 3600}
_STARTS_S = 20.0

# As Let's Encrypt words it (https://letsencrypt.org/docs/rate-limits/).
LIMITED = (
    "too many certificates (5) already issued for this exact set of identifiers in the last"
    " 168h0m0s, retry after 2031-01-02 03:04:05 UTC: see"
    " https://letsencrypt.org/docs/rate-limits/"
)


def install() -> Path:
    """The folder with pebble and its name server, built once for each version."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    with (PROGRAMS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        names = ("pebble", "pebble-challtestsrv")
        missing = [name for name in names if not (PROGRAMS / name).exists()]
        for name in missing:
            subprocess.run(
                [installed("go") or "go", "install", f"{MODULE}/{name}@{VERSION}"],
                env={**os.environ, "GOBIN": str(PROGRAMS)},
                check=True,
                capture_output=True,
                text=True,
                timeout=600,
            )
    return PROGRAMS


@dataclass
class Front:
    """What clients reach in pebble's place, over TLS; it hands on, refuses, or is gone.

    `limited`: new orders are refused as Let's Encrypt refuses them. `on_order` is called before an
    order is handed on.
    """

    port: int
    certificate: Path
    upstream: int
    limited: bool = False
    orders: list[float] = field(default_factory=list)
    _running: ExitStack = field(default_factory=ExitStack)

    def open(self) -> None:
        """Listen; a front that was closed has its port again."""
        front = self

        class Handler(Quiet):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                front.hand_on(self)

            do_HEAD = do_POST = do_GET

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self._running.enter_context(answering(Handler, "", self.port, context))

    def close(self) -> None:
        """Refuse connections from now on."""
        self._running.close()

    def hand_on(self, request: Quiet) -> None:
        """Answer with what pebble answers, or with the limit."""
        length = int(request.headers.get("Content-Length", 0))
        body = request.rfile.read(length)
        if request.path == "/order-plz":
            self.orders.append(time.monotonic())
            if self.limited:
                self._refuse(request)
                return
        there = http.client.HTTPSConnection(
            "127.0.0.1", self.upstream, context=ssl._create_unverified_context(), timeout=30
        )
        try:
            there.request(request.command, request.path, body, dict(request.headers))
            answer = there.getresponse()
            content = answer.read()
            request.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    request.send_header(name, value)
        finally:
            there.close()
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def _refuse(self, request: Quiet) -> None:
        problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": LIMITED}
        content = json.dumps({**problem, "status": 429}).encode()
        request.send_response(429)
        request.send_header("Content-Type", "application/problem+json")
        request.send_header("Retry-After", "3600")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@dataclass(frozen=True)
class Pebble:
    """A running ACME server. `directory` is what clients are given, `ca` signs its address's
    certificate."""

    directory: str
    ca: str
    front: Front
    management: int
    names: int

    def resolve(self, name: str, address: str) -> None:
        """Have its name server know a name."""
        words = json.dumps({"host": name, "addresses": [address]})
        there = http.client.HTTPConnection("127.0.0.1", self.names, timeout=10)
        there.request("POST", "/add-a", words)
        assert there.getresponse().status == 200
        there.close()

    def root(self) -> str:
        """The certificate, as PEM, of the CA that issues."""
        return self._ask("GET", "/roots/0").decode()

    def suggest(self, certificate: str, start: str, end: str) -> None:
        """Suggest this window for the renewal of a certificate (RFC 9773), times as RFC 3339."""
        window = json.dumps({"suggestedWindow": {"start": start, "end": end}})
        words = json.dumps({"Certificate": certificate, "ARIResponse": window})
        self._ask("POST", "/set-renewal-info/", words)

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        there = http.client.HTTPSConnection(
            "127.0.0.1", self.management, context=ssl._create_unverified_context(), timeout=10
        )
        there.request(method, path, body, {"User-Agent": "origin-kit tests"})
        answer = there.getresponse()
        content = answer.read()
        there.close()
        assert answer.status == 200, content
        return content


@contextmanager
def pebble(
    folder: Path,
    address: str,
    *,
    lifetimes: Mapping[str, int] = LIFETIMES,
    eab: Mapping[str, str] | None = None,
    http_port: int = 80,
) -> Iterator[Pebble]:
    """An ACME server at `address`, which this machine has or will have, that asks hosts at
    `http_port`. `eab` are key identifiers with their keys, one of which accounts must have
    then."""
    programs = install()
    folder.mkdir(parents=True, exist_ok=True)
    ca = _certificates(folder, address)
    port, upstream, management, dns, names = _free_ports(5)
    (folder / "pebble.json").write_text(
        json.dumps(
            {"pebble": _configuration(folder, upstream, management, lifetimes, eab, http_port)}
        )
    )
    name_server = [
        str(programs / "pebble-challtestsrv"),
        *("-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""),
        *("-dnsserver", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{names}"),
    ]
    server = [
        str(programs / "pebble"),
        *("-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"),
    ]
    variables = {
        **os.environ,
        "PEBBLE_AUTHZREUSE": "0",  # else a failing challenge passes every other time
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_WFE_NONCEREJECT": "0",
    }
    with ExitStack() as stack:
        stack.enter_context(_running(name_server, variables, folder / "names.log"))
        stack.enter_context(_running(server, variables, folder / "pebble.log"))
        for open_port in (upstream, management, names):
            _wait_for(open_port)
        front = Front(port, folder / "front.pem", upstream)
        front.open()
        stack.callback(front.close)
        yield Pebble(f"https://{address}:{port}/dir", ca, front, management, names)


def _configuration(
    folder: Path,
    port: int,
    management: int,
    lifetimes: Mapping[str, int],
    eab: Mapping[str, str] | None,
    http_port: int,
) -> dict[str, object]:
    """https://github.com/letsencrypt/pebble, test/config/pebble-config.json"""
    profiles = {
        name: {"description": name, "validityPeriod": seconds}
        for name, seconds in lifetimes.items()
    }
    return {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "front.pem"),
        "privateKey": str(folder / "front.pem"),
        "httpPort": http_port,
        "tlsPort": 443,
        "externalAccountBindingRequired": eab is not None,
        "externalAccountMACKeys": dict(eab or {}),
        "domainBlocklist": ["blocked.kit.test"],
        "retryAfter": {"authz": 1, "order": 1},
        "keyAlgorithm": "ecdsa",
        "profiles": profiles,
    }


def eab_key(text: str) -> str:
    """A key for external account binding, as CAs give it: base64url without padding."""
    return base64.urlsafe_b64encode(text.encode().ljust(32, b".")).decode().rstrip("=")


@contextmanager
def _running(command: list[str], variables: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int) -> None:
    end = time.monotonic() + _STARTS_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end, f"nothing listens on port {port}"
            time.sleep(0.02)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, for TCP and UDP."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            one = stack.enter_context(socket.create_server(("", 0)))
            port = one.getsockname()[1]
            try:
                udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
        return found


def _certificates(folder: Path, address: str) -> str:
    """Write front.pem, the server's certificate and key for `address`; the CA's certificate."""
    ca = Authority.root("the ACME server's own CA")
    own = ca.issue(*dict.fromkeys([address, "127.0.0.1"]))
    (folder / "front.pem").write_text(own.pem + own.key)
    return ca.pem
