"""The rendered nginx, run for real on loopback, with a real Django behind it.

Only places and listeners are moved; the sockets are handed over as nginx.socket hands them over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from infra.core import csp
from infra.core.contract import Contract, Page
from infra.core.origins import look_alikes, parse_origin
from rollout.certificates.pair import Pair
from rollout.render import Generation, closed
from rollout.render.frontend import policy
from tests.support.certificates import Authority, Issued
from tests.support.folders import write_files
from tests.support.installed import installed
from tests.test_render import GOLDEN, SECRETS, cors, load, rendered, text

pytestmark = pytest.mark.nginx

FRONT = "http://10.213.7.10"
UNLISTED = "http://10.213.7.11"
HOST = {"Host": "10.213.7.74"}
ALLOW = "Access-Control-Allow-Origin"
PREFLIGHT = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-cart"}

AUTHORITY = Authority.root()
NAMES = ("app.shop.test", "api.shop.test", "10.213.7.10", "10.213.7.74")

FOLDERS = (
    "run",
    "tmp",
    "etc/nginx/conf.d",
    "opt/shop/current",
    "var/lib/shop/media",
    "var/log/nginx",
)

MAIN = """
user {user};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    client_body_temp_path {folder}/tmp;
    proxy_temp_path {folder}/tmp;
    fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp;
    scgi_temp_path {folder}/tmp;
    include {folder}/etc/nginx/conf.d/*.conf;
}}
"""


@dataclasses.dataclass
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def allowed(self) -> list[str]:
        return self.headers.get_all(ALLOW, [])

    @property
    def vary(self) -> set[str]:
        return {
            name.strip().lower()
            for line in self.headers.get_all("Vary", [])
            for name in line.split(",")
        }

    def json(self) -> Any:
        return json.loads(self.body)


def anyone() -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def program() -> str:
    return installed("nginx") or "nginx"


def listener(family: socket.AddressFamily, address: Any) -> socket.socket:
    listening = socket.socket(family)
    listening.bind(address)
    listening.listen(128)
    listening.setblocking(False)
    return listening


class Site:
    """A host's folders under one short path, and the nginx that runs on them."""

    def __init__(self, folder: Path, generation: Generation) -> None:
        self.folder, self.generation = folder, generation
        self.status_socket = folder / "run/origin-kit-nginx.sock"
        for place in FOLDERS:
            (folder / place).mkdir(parents=True, exist_ok=True)
        first = listener(socket.AF_INET, ("127.0.0.1", 0))
        self.port = first.getsockname()[1]
        status = listener(socket.AF_UNIX, str(self.status_socket))
        self.sockets = [first, self.second(self.port), status]
        self.secure_port = 0  # none where no https is spoken
        if self.lineage:
            secure = listener(socket.AF_INET, ("127.0.0.1", 0))
            self.secure_port = secure.getsockname()[1]
            self.sockets += [secure, self.second(self.secure_port)]
            self.put_pair(AUTHORITY.issue(*NAMES))
        self.write()
        self.process = self.start()

    def second(self, port: int) -> socket.socket:
        try:
            return listener(socket.AF_INET6, ("::1", port))
        except OSError:  # no IPv6 here
            return listener(socket.AF_INET, ("127.0.0.2", port))

    @property
    def lineage(self) -> str:
        """The folder of the certificate that nginx reads; none without https."""
        texts = "".join(file.text for file in self.generation.files)
        found = re.search(r"ssl_certificate /etc/origin-kit/tls/([^/]+)/", texts)
        return found[1] if found else ""

    def put_pair(self, pair: Issued | Pair) -> None:
        """A certificate and its key, where a host keeps them."""
        folder = self.folder / "etc/origin-kit/tls" / self.lineage / "current"
        write_files(folder, {"chain.pem": pair.chain, "key.pem": pair.key})

    def moved(self, written: str) -> str:
        address = self.sockets[1].getsockname()[0]
        shown = f"[{address}]" if ":" in address else address
        for usual, port in ((80, self.port), (443, self.secure_port)):
            written = re.sub(rf" 0\.0\.0\.0:{usual}(?=[ ;])", f" 127.0.0.1:{port}", written)
            written = re.sub(rf" \[::\]:{usual}(?=[ ;])", f" {shown}:{port}", written)
        return re.sub(
            r"(?<=[ :=])/(etc/origin-kit|opt|var/lib|var/log|run)/", rf"{self.folder}/\1/", written
        )

    def write(self) -> None:
        current = self.folder / "etc/origin-kit/current"
        for file in self.generation.files:
            place = current / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(self.moved(file.text) if file.path.startswith("nginx/") else file.text)
        for link in self.generation.links:
            if link.place.startswith("/etc/nginx/"):
                place = self.folder / link.place[1:]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(current / link.target)
        user = "root" if os.geteuid() == 0 else "nobody"
        (self.folder / "etc/nginx/nginx.conf").write_text(
            MAIN.format(folder=self.folder, user=user)
        )

    def start(self) -> subprocess.Popen[bytes]:
        descriptors = [listening.fileno() for listening in self.sockets]
        environment = {
            **os.environ,
            "NGINX": "".join(f"{number}:" for number in descriptors).removesuffix(":") + ";",
        }
        command = [
            program(),
            "-c",
            str(self.folder / "etc/nginx/nginx.conf"),
            "-g",
            "master_process on;",
        ]
        return subprocess.Popen(
            command, env=environment, pass_fds=descriptors, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        """End it as nginx.service does. nginx notes a signal that comes while it still starts, and
        looks at its notes after the next one: it is sent until nginx has ended."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.log()
            self.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.5)

    def reload(self) -> None:
        """Read everything again, and wait until no worker of before is left."""
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while before & self.workers() or not self.workers():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def log(self) -> str:
        """What nginx has written into its error log."""
        return (self.folder / "error.log").read_text()

    def workers(self) -> set[str]:
        """The process ids of nginx's workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return set(children.read_text().split())

    def close(self) -> None:
        self.stop()
        for listening in self.sockets:
            listening.close()

    def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        https: bool = False,
    ) -> Answer:
        """One request on a connection of its own; `Host` is the backend's unless given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        if https:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.secure_port, timeout=20, context=anyone()
            )
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in ({**HOST, **(headers or {})}).items():
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def loaded(self) -> str:
        """What nginx says on its local socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.status_socket))
            connection.sendall(b"GET /loaded HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(4096), b"")).split(b"\r\n\r\n")[1].decode()


@contextlib.contextmanager
def running(generation: Generation) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(
        prefix="ok-"
    ) as folder:  # short: a socket's path has at most 107 bytes
        site = Site(Path(folder), generation)
        try:
            yield site
        finally:
            site.close()


def edited(generation: Generation, before: str, after: str) -> Generation:
    """The same with `before`, which must occur, written otherwise."""
    assert any(before in file.text for file in generation.files)
    files = (
        dataclasses.replace(file, text=file.text.replace(before, after))
        for file in generation.files
    )
    return dataclasses.replace(generation, files=tuple(files))


def put_project(site: Site) -> None:
    """The project as a release, a static and a media file, and the host's key."""
    release, data = site.folder / "opt/shop/current", site.folder / "var/lib/shop"
    shutil.copytree(GOLDEN / "project", release / "app")
    (release / "static").mkdir()
    (release / "static" / "site.css").write_text("body { color: black }\n")
    (data / "media" / "cat.txt").write_text("0123456789")
    (data / "secret_key").write_text("key")


@contextlib.contextmanager
def django(site: Site) -> Iterator[None]:
    """The project with the rendered settings, on the socket where nginx looks for gunicorn."""
    put_project(site)
    release = site.folder / "opt/shop/current"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{site.folder}/etc/origin-kit/current/django",
        "DJANGO_SETTINGS_MODULE": "origin_kit_settings",
        "ORIGIN_KIT_RELEASE": str(release),
        "ORIGIN_KIT_DATA": str(site.folder / "var/lib/shop"),
    }
    command = [sys.executable, "serve.py", str(site.folder / "run/shop.sock")]
    with (
        open(site.folder / "django.log", "wb") as log,  # noqa: PTH123
        subprocess.Popen(
            command, cwd=release / "app", env=environment, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n", (site.folder / "django.log").read_text()
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def backend(contract: Contract) -> Iterator[Site]:
    with running(rendered(contract, "backend")) as site, django(site):
        yield site


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The `local-ip` backend: exact origins, no credentials."""
    with backend(load("local-ip")) as found:
        yield found


@pytest.fixture(scope="module")
def page() -> Iterator[Site]:
    """The `local-ip` frontend, with a built folder."""
    with running(rendered(load("local-ip"), "frontend")) as found:
        names = (
            "index.html",
            "app.js",
            "docs/index.html",
            ".git/config",
            ".env",
            ".well-known/x.txt",
        )
        texts = {name: f"this is {name}" for name in names}
        write_files(found.folder / "opt/shop/current/site", texts)
        yield found


@pytest.mark.parametrize(("mebibytes", "status"), [(4, 200), (10, 200), (11, 413)])
def test_django_reads_as_much_as_nginx_lets_through(
    site: Site, mebibytes: int, status: int
) -> None:
    """A JSON body above Django's own 2.5 MB and up to max_body_mb arrives."""
    body = b"1" * (mebibytes << 20)
    sent = {"Content-Length": str(len(body)), "Content-Type": "application/json", "Origin": FRONT}
    answer = site.ask("POST", "/size/", sent, body if status == 200 else None)
    assert (answer.status, answer.allowed) == (status, [FRONT])
    assert status != 200 or answer.json() == {"size": len(body)}


# method, path, further headers → status. Every kind of answer that the site gives, Django's,
# nginx's own and files'.
ANSWERS = [
    ("GET", "/echo/", {}, 200),
    ("HEAD", "/echo/", {}, 200),
    ("POST", "/echo/", {}, 200),
    ("PUT", "/echo/", {}, 200),
    ("DELETE", "/echo/", {}, 200),
    ("OPTIONS", "/echo/", {}, 200),
    ("GET", "/nowhere/", {}, 404),
    ("GET", "/boom/", {}, 500),
    ("GET", "/echo", {}, 301),
    ("POST", "/opinionated/", {}, 403),
    ("GET", "/opinionated/", {}, 200),
    ("GET", "/echo/", {"Host": "elsewhere.test"}, 400),
    ("GET", "/beyond/", {}, 416),
    ("GET", "/tagged/", {"If-None-Match": '"one"'}, 304),
    ("POST", "/echo/", {"Content-Length": "11000000"}, 413),
    ("GET", "/static/site.css", {}, 200),
    ("HEAD", "/static/site.css", {}, 200),
    ("GET", "/static/site.css", {"Range": "bytes=0-3"}, 206),
    ("GET", "/static/site.css", {"Range": "bytes=900-"}, 416),
    ("GET", "/static/site.css", {"If-Modified-Since": "Wed, 01 Jan 2094 00:00:00 GMT"}, 200),
    ("GET", "/static/none.css", {}, 404),
    ("GET", "/static/", {}, 403),
    ("POST", "/static/site.css", {}, 405),
    ("GET", "/media/cat.txt", {}, 200),
    ("GET", "/media/cat.txt", {"Range": "bytes=2-3"}, 206),
    ("GET", "/media/none.txt", {}, 404),
    ("GET", "/media/../secret_key", {}, 404),
    ("OPTIONS", "/echo/", PREFLIGHT, 204),
    ("OPTIONS", "/nowhere/", PREFLIGHT, 204),
    ("OPTIONS", "/static/site.css", PREFLIGHT, 204),
    ("OPTIONS", "/media/cat.txt", PREFLIGHT, 204),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), ANSWERS)
@pytest.mark.parametrize("origin", [FRONT, UNLISTED, "null", None])
def test_every_answer_once(
    site: Site, method: str, path: str, headers: dict[str, str], status: int, origin: str | None
) -> None:
    """Every answer carries exactly one line for an allowed origin and none for any other, and
    varies by it always."""
    answer = site.ask(method, path, headers | ({"Origin": origin} if origin else {}))
    allowed = [FRONT] if origin == FRONT else []
    if origin or headers is not PREFLIGHT:  # without an origin it is no preflight
        assert answer.status == status
    assert answer.allowed == allowed
    assert "origin" in answer.vary
    assert not answer.headers.get_all("Access-Control-Allow-Credentials")
    assert answer.headers.get_all("Access-Control-Expose-Headers", []) == (
        ["X-Cart-Seen"] if allowed else []
    )


@pytest.mark.parametrize("origin", [FRONT, UNLISTED])
def test_an_answer_before_the_rules_of_the_server(site: Site, origin: str) -> None:
    """A cookie that is too big ends a request before nginx comes to any `if`; the page can read
    that as well."""
    answer = site.ask("GET", "/echo/", {"Origin": origin, "Cookie": "c" * 40_000})
    assert answer.status == 431
    assert answer.allowed == ([FRONT] if origin == FRONT else [])
    assert answer.headers.get_all("Access-Control-Expose-Headers", []) == (
        ["X-Cart-Seen"] if origin == FRONT else []
    )


def test_static_unchanged(site: Site) -> None:
    """A file that the browser has already is answered 304, readable by the page as well."""
    tag = site.ask("GET", "/static/site.css").headers["ETag"]
    answer = site.ask("GET", "/static/site.css", {"Origin": FRONT, "If-None-Match": tag})
    assert (answer.status, answer.allowed) == (304, [FRONT])


@pytest.mark.parametrize("headers", [{}, {"Origin": FRONT}, {"Origin": UNLISTED}])
def test_plain_options_reaches_django(site: Site, headers: dict[str, str]) -> None:
    """OPTIONS that is no preflight is the application's."""
    answer = site.ask("OPTIONS", "/echo/", headers)
    assert (answer.status, answer.json()["method"]) == (200, "OPTIONS")


def test_preflight_answer(site: Site) -> None:
    """An allowed origin gets methods, headers and time as the contract has them; another
    nothing."""
    allowed = load("local-ip").cors
    answer = site.ask("OPTIONS", "/echo/", {"Origin": FRONT, **PREFLIGHT})
    assert answer.headers.get_all("Access-Control-Allow-Methods") == [
        ", ".join(allowed.allow_methods)
    ]
    assert answer.headers.get_all("Access-Control-Allow-Headers") == [
        ", ".join(allowed.allow_headers)
    ]
    assert answer.headers.get_all("Access-Control-Max-Age") == ["600"]
    refused = site.ask("OPTIONS", "/echo/", {"Origin": UNLISTED, **PREFLIGHT})
    assert refused.status == 204
    assert not [name for name in refused.headers if name.lower().startswith("access-control-")]
    assert not site.ask("GET", "/echo/", {"Origin": FRONT}).headers.get_all(
        "Access-Control-Allow-Methods"
    )


def test_upstream_headers_are_hidden(site: Site) -> None:
    """What a view says about CORS never reaches the browser."""
    answer = site.ask("GET", "/opinionated/", {"Origin": UNLISTED})
    assert answer.body == b"mine"
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("origin", load("local-ip").cors.allowed_origins)
@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("OPTIONS", PREFLIGHT)])
def test_look_alikes(site: Site, origin: str, method: str, headers: dict[str, str]) -> None:
    """Nothing that resembles an allowed origin passes for it."""
    own = load("local-ip").cors.allowed_origins
    values = [
        value for value in look_alikes(parse_origin(origin, production=False)) if value not in own
    ]
    allowed = [
        value
        for value in values
        if site.ask(method, "/static/site.css", {"Origin": value, **headers}).allowed
    ]
    assert len(values) > 100
    assert allowed == []


def test_hostile_origins_on_preflights(site: Site) -> None:
    """Two origins in one header, or one with a blank inside, get an answer of nginx's own without
    headers."""
    for origin in (f"{FRONT} {FRONT}", f"{FRONT} ", f"{FRONT},{FRONT}", "a b"):
        answer = site.ask("OPTIONS", "/echo/", {"Origin": origin, **PREFLIGHT})
        assert answer.status == 204
        assert answer.allowed == ([FRONT] if origin == f"{FRONT} " else [])


def test_forwarded_headers_are_set(site: Site) -> None:
    """What a client says about itself is replaced by what nginx knows."""
    spoofed = dict.fromkeys(
        ("X-Forwarded-For", "X-Real-IP", "X-Forwarded-Host", "Forwarded", "Proxy"), "203.0.113.66"
    )
    meta = site.ask("GET", "/echo/", {**spoofed, "X-Forwarded-Proto": "https"}).json()["meta"]
    assert meta["HTTP_X_FORWARDED_FOR"] == meta["HTTP_X_REAL_IP"] == "127.0.0.1"
    assert (meta["HTTP_X_FORWARDED_PROTO"], meta["HTTP_X_FORWARDED_HOST"]) == (
        "http",
        "10.213.7.74",
    )
    assert "HTTP_FORWARDED" not in meta
    assert "HTTP_PROXY" not in meta


@pytest.mark.parametrize("host", ["10.213.7.74", "10.213.7.74:8080", "10.213.7.74:80"])
def test_host_keeps_its_port(site: Site, host: str) -> None:
    """Django sees the host as the browser wrote it, port included."""
    assert site.ask("GET", "/echo/", {"Host": host}).json()["host"] == host


def test_stream(site: Site) -> None:
    """A part of an unbuffered answer arrives before the next one is made."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=15)
    connection.request("GET", "/stream/", headers={**HOST, "Origin": FRONT})
    answer = connection.getresponse()
    assert answer.readline() == b"first\n"
    assert answer.headers.get_all(ALLOW) == [FRONT]
    assert site.ask("GET", "/go/").status == 200
    assert answer.readline() == b"second\n"
    connection.close()


def test_second_listener(site: Site) -> None:
    """The other address of the pair is served as well."""
    with socket.create_connection(site.sockets[1].getsockname()[:2], timeout=15) as connection:
        connection.sendall(
            f"GET /echo/ HTTP/1.0\r\nHost: 10.213.7.74\r\nOrigin: {FRONT}\r\n\r\n".encode()
        )
        assert f"{ALLOW}: {FRONT}\r\n".encode() in b"".join(
            iter(lambda: connection.recv(65536), b"")
        )


def test_says_nothing_about_itself(site: Site) -> None:
    """nginx names no version."""
    assert site.ask("GET", "/static/none.css").headers["Server"] == "nginx"


def test_decisions_are_djangos(site: Site) -> None:
    """Asked directly, Django decides like nginx for whatever a browser can send."""
    for origin in [
        *load("local-ip").cors.allowed_origins,
        UNLISTED,
        "null",
        "http://10.213.7.10:8080",
        "https://10.213.7.10",
    ]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(site.folder / "run/shop.sock"))
            connection.sendall(
                f"GET /echo/ HTTP/1.0\r\nHost: 10.213.7.74\r\nOrigin: {origin}\r\n\r\n".encode()
            )
            direct = b"".join(iter(lambda: connection.recv(65536), b"")).decode().lower()
        found = re.findall(r"^access-control-allow-origin: (.*)\r$", direct, re.MULTILINE)
        assert found == site.ask("GET", "/echo/", {"Origin": origin}).allowed


def test_loaded_survives_a_restart() -> None:
    """nginx reports what it has loaded, and a restart keeps every socket, the local one
    included."""
    with running(rendered(load("local-ip"), "backend")) as site:
        fingerprint = site.generation.fingerprints["nginx"] + "\n"
        assert site.loaded() == fingerprint
        site.stop()
        assert site.status_socket.exists()
        site.process = site.start()
        assert site.loaded() == fingerprint
        assert site.ask("OPTIONS", "/", {"Origin": FRONT, **PREFLIGHT}).status == 204


def test_application_down() -> None:
    """With nothing behind it nginx still answers preflights, files and a readable 502."""
    with running(rendered(load("local-ip"), "backend")) as site:
        put_project(site)
        for method, path, headers, status in (
            ("GET", "/echo/", {}, 502),
            ("PUT", "/echo/", {}, 502),
            ("OPTIONS", "/echo/", PREFLIGHT, 204),
            ("GET", "/static/site.css", {}, 200),
        ):
            answer = site.ask(method, path, {"Origin": FRONT, **headers})
            assert (answer.status, answer.allowed) == (status, [FRONT])


def test_a_host_that_takes_no_writes_says_so_readably() -> None:
    """While it is replaced: a 503 with the time to come back for every method; preflights and files
    as ever; an unlisted origin reads nothing. The application's units have no place, so that no
    boot starts them; its settings stay.
    """
    contract = load("local-ip")
    usual, now = rendered(contract, "backend"), closed(contract, contract.backend.hosts[0], SECRETS)
    assert {link.place for link in usual.links} - {link.place for link in now.links} == set(
        now.absent
    ) - set(usual.absent)
    assert {file.path for file in usual.files} - {file.path for file in now.files} == {
        "bin/manage",
        "gunicorn/gunicorn.conf.py",
        "systemd/shop.service",
        "systemd/shop.socket",
    }
    assert now.id != usual.id and "gunicorn" not in now.fingerprints
    with running(now) as site:
        put_project(site)
        for method, path, headers, status in (
            ("GET", "/echo/", {}, 503),
            ("PUT", "/echo/", {}, 503),
            ("POST", "/admin/", {}, 503),
            ("OPTIONS", "/echo/", PREFLIGHT, 204),
            ("GET", "/static/site.css", {}, 200),
        ):
            answer = site.ask(method, path, {"Origin": FRONT, **headers})
            assert (answer.status, answer.allowed) == (status, [FRONT])
            assert (answer.headers["Retry-After"] == "30") == (status == 503)
            assert (
                site.ask(method, path, {"Origin": "http://evil.example", **headers}).allowed == []
            )


def test_application_silent() -> None:
    """An application that does not answer in time is a readable 504."""
    generation = rendered(load("local-ip"), "backend")
    with (
        running(edited(generation, "_timeout 30s", "_timeout 1s")) as site,
        listener(socket.AF_UNIX, str(site.folder / "run/shop.sock")),
    ):
        answer = site.ask("GET", "/", {"Origin": FRONT})
        assert (answer.status, answer.allowed) == (504, [FRONT])


def test_a_limit_on_requests_is_readable() -> None:
    """Somebody's own `limit_req` for the whole server: its 503 has the headers, and preflights are
    not counted."""
    limit = "limit_req_zone $binary_remote_addr zone=all:1m rate=1r/m;\nlimit_req zone=all;\n"
    generation = edited(
        rendered(load("local-ip"), "backend"), "upstream origin_kit", f"{limit}upstream origin_kit"
    )
    with running(generation) as site:
        put_project(site)
        answers = [site.ask("GET", "/static/site.css", {"Origin": FRONT}) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 503, 503]
        assert all(answer.allowed == [FRONT] and "origin" in answer.vary for answer in answers)
        assert site.ask("GET", "/static/site.css", {"Origin": UNLISTED}).allowed == []
        assert site.ask("OPTIONS", "/echo/", {"Origin": FRONT, **PREFLIGHT}).status == 204


def closes_within(site: Site, beginning: bytes, seconds: float) -> bool:
    """Whether nginx gives up a connection whose request does not go on."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=seconds) as connection:
        connection.sendall(beginning)
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


HEADER, BODY = "client_header_timeout 10s", "client_body_timeout 20s"
UNFINISHED = b"POST /echo/ HTTP/1.1\r\nHost: 10.213.7.74\r\nContent-Length: 9\r\n\r\nab"


@pytest.mark.parametrize(
    ("role", "limit", "beginning"),
    [
        ("backend", HEADER, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "),
        ("frontend", HEADER, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "),
        ("backend", HEADER, b""),
        ("backend", BODY, UNFINISHED),
    ],
)
def test_a_request_that_does_not_go_on_is_given_up(role: str, limit: str, beginning: bytes) -> None:
    """Each of the times that a client has ends the connection."""
    generation = edited(rendered(load("local-ip"), role), limit, limit.split()[0] + " 1s")
    with running(generation) as site:
        assert closes_within(site, beginning, 15)


def held_posts(stack: contextlib.ExitStack, site: Site, count: int, header: str) -> None:
    """Requests with this header line that are being worked on until the stack ends."""
    for _ in range(count):
        connection = stack.enter_context(
            socket.create_connection(("127.0.0.1", site.port), timeout=20)
        )
        lines = (
            f"POST /echo/ HTTP/1.1\r\nHost: 10.213.7.74\r\n{header}\r\nContent-Length: 9\r\n\r\na"
        )
        connection.sendall(lines.encode())


@pytest.mark.parametrize(
    ("slow", "other", "status"),
    [
        ("203.0.113.9", "203.0.113.9", 429),
        ("203.0.113.9", "203.0.113.8", 200),
        ("2001:db8:0:1::9", "2001:db8:0:1:a:b:c:d", 429),
        ("2001:db8:0:1::9", "2001:db8:0:2::9", 200),
        ("2001:db8:a0a:a0a::9", "2001:db8:a0a:a0a::8", 429),  # a line's end among the bytes
        ("::ffff:203.0.113.9", "203.0.113.9", 200),
    ],
)
def test_the_limit_counts_by_address_and_network(slow: str, other: str, status: int) -> None:
    """Three requests of one client, the limit being two: the third is reported so, and so is an
    address in the same /64."""
    believed = "set_real_ip_from 127.0.0.1;\nreal_ip_header X-From;\nupstream origin_kit"
    generation = edited(
        rendered(load("local-ip"), "backend"),
        "origin_kit_addresses 512;",
        "origin_kit_addresses 2;",
    )
    with (
        running(edited(generation, "upstream origin_kit", believed)) as site,
        contextlib.ExitStack() as stack,
    ):
        put_project(site)
        held_posts(stack, site, 2, f"X-From: {slow}")
        asked = {"Origin": FRONT, "X-From": other}
        end = time.monotonic() + 20
        while (answer := site.ask("GET", "/static/site.css", asked)).status != status:
            assert time.monotonic() < end, answer.status
        assert (answer.allowed, "origin" in answer.vary) == ([FRONT], True)
        assert (
            site.ask("OPTIONS", "/echo/", {**asked, **PREFLIGHT}).status == 204
        )  # a preflight is not counted


@pytest.mark.parametrize("target", ["/", "/cart?x=1&y=%20", "//evil.example/", "/config.json"])
def test_www_leads_to_the_one_origin(target: str) -> None:
    """Each path of the other name, to the same path of the origin; any other name is the page."""
    with running(rendered(load("apex-proxy"), "frontend")) as found:
        away = found.ask("GET", target, {"Host": "www.shop.test"})
        assert (away.status, away.headers["Location"]) == (301, f"http://shop.test{target}")
        assert away.headers["Cache-Control"] == "no-cache" and away.headers[ALLOW] is None
        for name in ("shop.test", "10.213.8.10", "www.shop.test.evil.example"):
            assert found.ask("GET", "/config.json", {"Host": name}).status == 200


FORWARDED = "X-Forwarded-For"


@pytest.mark.parametrize(
    ("header", "seen"),
    [
        ({}, "127.0.0.1"),
        ({FORWARDED: "198.51.100.9"}, "198.51.100.9"),
        ({FORWARDED: "2001:db8::9"}, "2001:db8::9"),
        # What the visitor wrote stands before what the proxy wrote.
        ({FORWARDED: "10.9.9.9, 198.51.100.9"}, "198.51.100.9"),
        # Two proxies, both of the networks.
        ({FORWARDED: "198.51.100.9, 127.0.0.7"}, "198.51.100.9"),
        ({FORWARDED: "nonsense"}, "127.0.0.1"),
        ({"X-Real-IP": "198.51.100.9", "Forwarded": "for=198.51.100.9"}, "127.0.0.1"),
        ({"CF-Connecting-IP": "198.51.100.9", "True-Client-IP": "198.51.100.9"}, "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_the_proxy_in_front_names_the_client(
    inside: bool, header: dict[str, str], seen: str
) -> None:
    """From its networks X-Forwarded-For counts, and no other header; from outside of them none."""
    networks = ("127.0.0.0/8",) if inside else ("203.0.113.0/24",)
    contract = dataclasses.replace(load("local-ip"), behind=networks)
    with backend(contract) as site:
        answer = site.ask("GET", "/echo/", {"Origin": FRONT, **header}).json()
    expected = seen if inside else "127.0.0.1"
    assert answer["meta"]["HTTP_X_REAL_IP"] == expected
    assert answer["meta"]["HTTP_X_FORWARDED_FOR"] == expected


@pytest.mark.parametrize(
    ("networks", "status"), [(("127.0.0.0/8",), 200), (("203.0.113.0/24",), 429)]
)
def test_limits_count_visitors_behind_a_proxy(networks: tuple[str, ...], status: int) -> None:
    """Two visitors behind one proxy are two addresses; whoever only claims to be a proxy is one."""
    contract = dataclasses.replace(load("local-ip"), behind=networks)
    generation = edited(
        rendered(contract, "backend"), "origin_kit_addresses 512;", "origin_kit_addresses 2;"
    )
    with running(generation) as site, contextlib.ExitStack() as stack:
        put_project(site)
        held_posts(stack, site, 2, f"{FORWARDED}: 198.51.100.9")
        first = {"Origin": FRONT, FORWARDED: "198.51.100.9"}
        end = time.monotonic() + 20
        while site.ask("GET", "/static/site.css", first).status != 429:
            assert time.monotonic() < end
        other = site.ask("GET", "/static/site.css", {**first, FORWARDED: "198.51.100.8"})
    assert other.status == status


# path → status: what lies next to the files is not for browsers.
HIDDEN = {
    "/static/.env": 404,
    "/static/%2eenv": 404,
    "/static/deep/.git/config": 404,
    "/media/.htpasswd": 404,
    "/media/deep/%2E%2e/.htpasswd": 404,
    "/static../secret_key": 404,
    "/static/link.txt": 403,
    "/media/link.txt": 403,
    "/media/folder/passwd": 404,
    "/media/a.b": 200,
}


@pytest.mark.parametrize("path", HIDDEN)
def test_hidden(site: Site, path: str) -> None:
    """Dot files, links and what is next to the folder: refused readably, an ordinary file next to
    them is served."""
    static, media = site.folder / "opt/shop/current/static", site.folder / "var/lib/shop/media"
    for folder in (static, media):
        (folder / "deep/.git").mkdir(parents=True, exist_ok=True)
        for name in (".env", ".htpasswd", "deep/.git/config", "a.b"):
            (folder / name).write_text("hidden")
        for name, target in (("link.txt", "/etc/passwd"), ("folder", "/etc")):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(target)
    answer = site.ask("GET", path, {"Origin": FRONT})
    assert (answer.status, answer.allowed) == (HIDDEN[path], [FRONT])


def answer_upgrade(listening: socket.socket) -> None:
    """Play an application that speaks a protocol of its own after 101."""
    listening.settimeout(20)
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(20)
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        lines = request.lower().split(b"\r\n")
        wanted = b"upgrade: websocket" in lines and b"connection: upgrade" in lines
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        connection.sendall(connection.recv(4096)[::-1] if wanted else b"no upgrade")


def test_websocket() -> None:
    """An upgrade passes through, both ways."""
    with (
        running(rendered(load("local-ip"), "backend")) as site,
        listener(socket.AF_UNIX, str(site.folder / "run/shop.sock")) as upstream,
    ):
        thread = threading.Thread(target=answer_upgrade, args=(upstream,))
        thread.start()
        with socket.create_connection(("127.0.0.1", site.port), timeout=20) as connection:
            stream = connection.makefile("rwb")
            stream.write(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            )
            stream.flush()
            assert stream.readline().startswith(b"HTTP/1.1 101 ")
            while stream.readline() != b"\r\n":
                pass
            stream.write(b"abc")
            stream.flush()
            assert stream.read(3) == b"cba"
            stream.close()
        thread.join(timeout=20)


# contract, origin → what is allowed, whether with credentials
POLICIES = {
    "credentials": (cors(load("local-ip"), allow_credentials=True), FRONT, [FRONT], ["true"]),
    "credentials, unlisted origin": (
        cors(load("local-ip"), allow_credentials=True),
        UNLISTED,
        [],
        [],
    ),
    "everyone": (load("allow-all"), UNLISTED, ["*"], []),
    "everyone, and one who is listed as well": (load("allow-all"), FRONT, ["*"], []),
    "everyone with credentials": (
        cors(load("allow-all"), allow_credentials=True),
        UNLISTED,
        [UNLISTED],
        ["true"],
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_policies(name: str) -> None:
    """Credentials go to allowed origins only; to allow everyone is `*`, or the origin itself where
    `*` would not do."""
    contract, origin, allowed, credentials = POLICIES[name]
    with backend(contract) as site:
        for method, path, headers in (
            ("GET", "/echo/", {}),
            ("GET", "/static/site.css", {}),
            ("OPTIONS", "/echo/", PREFLIGHT),
            ("GET", "/echo/", {"Cookie": "c" * 40_000}),  # answered by the maps alone
        ):
            answer = site.ask(method, path, {"Origin": origin, **headers})
            assert answer.allowed == allowed
            assert answer.headers.get_all("Access-Control-Allow-Credentials", []) == credentials


PATTERNS = {
    "https://pr-12.preview.example.com": True,
    "https://a.preview.example.com": True,
    "http://localhost:5173": True,
    "http://localhost": True,
    "http://[2001:db8::10]:3000": True,
    "https://app.example.com": True,
    "https://a.b.preview.example.com": False,
    "https://preview.example.com": False,
    "https://-a.preview.example.com": False,
    "https://a.preview.example.com.evil.test": False,
    "https://a.preview.example.com:8443": False,
    "http://a.preview.example.com": False,
    "https://A.preview.example.com": False,
    "https://a-preview.example.com": False,
    "https://evil.test/.preview.example.com": False,
    "http://localhost:80": False,
    "http://localhost:99999": False,
    "http://localhost.evil.test:80": False,
    "http://[2001:db8::10]": False,
}


def test_patterns() -> None:
    """A pattern admits what it says, Django agreeing, and a preview's origin is given back as it
    came."""
    contract = load("patterns-ipv6")
    host = {"Host": "[2001:db8::74]"}
    with backend(contract) as site:
        for origin, allowed in PATTERNS.items():
            answer = site.ask("GET", "/echo/", {"Origin": origin, **host})
            assert (answer.status, answer.allowed) == (200, [origin] if allowed else []), origin
        assert site.ask("GET", "/assets/v1/site.css", host).status == 200
        assert site.ask("GET", "/files/cat.txt", host).status == 200


POLICY = "connect-src 'self' http://10.213.7.74 ws://10.213.7.74; frame-ancestors 'self'"


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/", 200, b"this is index.html"),
        ("/index.html", 200, b"this is index.html"),
        ("/a/view/of/the/page", 404, None),
        ("/api/plants/", 404, None),
        ("/app.js", 200, b"this is app.js"),
        ("/docs/", 200, b"this is docs/index.html"),
        ("/.well-known/x.txt", 200, b"this is .well-known/x.txt"),
        ("/missing.js", 404, None),
        ("/docs/missing.css", 404, None),
        ("/.git/config", 404, None),
        ("/.env", 404, None),
    ],
)
def test_page(page: Site, path: str, status: int, body: bytes | None) -> None:
    """The page's files, its own views, and nothing that only lay next to them; each with the
    policy."""
    answer = page.ask("GET", path)
    assert answer.status == status
    assert body is None or answer.body == body
    assert answer.headers.get_all("Content-Security-Policy") == [POLICY]
    assert answer.headers.get_all("Referrer-Policy") == ["strict-origin-when-cross-origin"]
    assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.get_all("Cache-Control") == ["no-cache"]


# How browsers ask for a page, and how its script asks for data, an image for its file.
NAVIGATION = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
OF_ITS_PARTS = ("*/*", "application/json", "image/avif,image/webp,*/*;q=0.8", "text/css,*/*;q=0.1")


@pytest.mark.parametrize("path", ["/a/view/of/the/page", "/@john.doe", "/plants/", "/v1.2/notes"])
def test_a_view_of_the_page_is_for_who_asks_for_html(page: Site, path: str) -> None:
    """A person who opens it, dots and all; a script that asks its own host for what the backend
    serves reads a 404, never the page."""
    answer = page.ask("GET", path, {"Accept": NAVIGATION})
    assert (answer.status, answer.body) == (200, b"this is index.html")
    assert answer.headers["Content-Type"] == "text/html"
    for accept in OF_ITS_PARTS:
        refused = page.ask("GET", path, {"Accept": accept})
        assert refused.status == 404, accept
        assert refused.headers.get_all("Vary") == ["Accept"]


def test_what_is_hidden_is_missing_for_a_person_too(page: Site) -> None:
    for path in ("/.env", "/.git/config", "/.git/", "/docs/.none"):
        assert page.ask("GET", path, {"Accept": NAVIGATION}).status == 404


def test_page_is_cached(page: Site) -> None:
    """What has not changed is not sent again."""
    tag = page.ask("GET", "/app.js").headers["ETag"]
    assert page.ask("GET", "/app.js", {"If-None-Match": tag}).status == 304


def test_page_configuration(page: Site) -> None:
    """The page learns the backend's origin, fresh every time."""
    answer = page.ask("GET", "/config.json")
    assert answer.json() == {"backend": "http://10.213.7.74", "credentials": False}
    assert answer.headers.get_all("Cache-Control") == ["no-cache"]
    assert answer.headers.get_all("Content-Security-Policy") == [POLICY]
    assert answer.headers.get_all("Referrer-Policy") == ["strict-origin-when-cross-origin"]
    assert answer.headers["Content-Type"] == "application/json"


def filled(start: str, length: int) -> str:
    """A text of this length that begins with `start`."""
    return start + "a" * (length - len(start))


# Every character that a word of the key csp may have, those that nginx knows included.
TAKEN = "".join(char for char in map(chr, range(33, 127)) if char not in "\"\\$,;'")


def test_the_longest_policy_is_served_whole() -> None:
    """As long as the keys take it and with every character that they take, next to a backend with
    the longest name."""
    contract = load("names-credentials")
    name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 56, "test"])
    label = "x" * 60
    sources = tuple(f"https://{label}.{number}.test" for number in range(10, 25))
    framing = tuple(f"https://{label}.{number}.test" for number in range(10, 16))
    longest = dataclasses.replace(
        contract,
        backend=dataclasses.replace(contract.backend, origin=f"http://{name}:65535"),
        page=Page(
            connect_src=sources,
            frame_ancestors=framing,
            csp=filled(f"img-src 'self' https://i.test/{TAKEN}", csp.LONGEST_CSP),
        ),
    )
    with running(rendered(longest, "frontend")) as site:
        answer = site.ask("GET", "/nothing.js")
    assert answer.headers.get_all("Content-Security-Policy") == [policy(longest)]
    assert len(policy(longest)) > 3500


def test_page_redirect_keeps_the_address(page: Site) -> None:
    """A folder without its slash redirects to a path, whatever name or port the page was opened
    by."""
    answer = page.ask("GET", "/docs", {"Host": "elsewhere:8080"})
    assert (answer.status, answer.headers["Location"]) == (301, "/docs/")


def test_page_loaded(page: Site) -> None:
    """A frontend reports what it has loaded as well."""
    assert page.loaded() == page.generation.fingerprints["nginx"] + "\n"


# One careless edit each → what the tests above would see of it.
MUTATIONS = {
    "no always": ("$origin_kit_allowed     always", "$origin_kit_allowed"),
    "no hiding": ("        proxy_hide_header Access-Control-Allow-Origin;\n", ""),
    "416 twice": ("error_page 416 @origin_kit_beyond;", ""),
    "the application's 416 taken as its own": (
        "proxy_redirect off;",
        "proxy_redirect off; proxy_intercept_errors on;",
    ),
    "unescaped": (r"10\.213\.7\.10", "10.213.7.10"),
    "unanchored": (r"7\.10$", r"7\.10"),
    "no map for what comes early": (r'"~^http://10\.213\.7\.10$"', r'"~^http://10\.213\.7\.99$"'),
    "no preflights": ("if ($origin_kit_preflight)", 'if ($origin_kit_preflight = "never")'),
}
LIES = "http://10x213.7.10", "http://10.213.7.10.evil.test", UNLISTED


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutations_are_seen(name: str) -> None:
    """Each careless edit of the rendered text changes an answer that the tests look at."""
    before, after = MUTATIONS[name]
    generation = rendered(load("local-ip"), "backend")
    with running(edited(generation, before, after)) as site, django(site):
        right = [
            site.ask("GET", "/nowhere/", {"Origin": FRONT}).allowed == [FRONT],
            site.ask("GET", "/static/none.css", {"Origin": FRONT}).allowed == [FRONT],
            site.ask("GET", "/opinionated/", {"Origin": FRONT}).allowed == [FRONT],
            site.ask("GET", "/static/site.css", {"Origin": FRONT, "Range": "bytes=900-"}).allowed
            == [FRONT],
            site.ask("GET", "/beyond/", {"Origin": FRONT}).allowed == [FRONT],
            site.ask("GET", "/echo/", {"Origin": FRONT, "Cookie": "c" * 40_000}).allowed == [FRONT],
            site.ask("OPTIONS", "/echo/", {"Origin": UNLISTED, **PREFLIGHT}).status == 204,
            not any(site.ask("GET", "/echo/", {"Origin": lie}).allowed for lie in LIES),
        ]
    assert not all(right)


def test_listeners_are_all_moved(site: Site) -> None:
    """These tests stay on loopback: no listener of the rendered text was left where it was."""
    listens = re.findall(
        r"listen (\S+)", site.moved(text(site.generation, "nginx/origin-kit.conf"))
    )
    assert len(listens) == len(site.sockets)
    assert all(re.match(r"127\.0\.0\.|\[::1\]|unix:/tmp/", address) for address in listens), listens
