"""What nginx gives away, whom it serves while others are slow, and what the services may, on real
machines."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import resource
import socket
import struct
import time
import wave
import zlib
from collections.abc import Callable, Iterator
from shlex import quote
from typing import Any

import pytest
from playwright.sync_api import Page, Request

from infra.core.contract import Host
from on_host.confined import limits
from tests.e2e.conftest import Environment, chromium, page_of
from tests.support import clients
from tests.support.clients import dial
from tests.support.kit import Stack

pytestmark = [pytest.mark.machines, pytest.mark.either_scheme]

MEDIA, STATIC, SITE = (
    "/var/lib/shop/media/hardening",
    "/opt/shop/current/static/hardening",
    "/opt/shop/current/site/hardening",
)
URLS = {MEDIA: "/media/hardening", STATIC: "/static/hardening", SITE: "/hardening"}
SECRET = "root:x:0:0"  # of /etc/passwd, which everyone may read


@pytest.fixture(scope="module")
def up(stack: Stack) -> Environment:
    """The shared environment, its contract read once."""
    return Environment.of(stack)


def backend(up: Environment) -> Host:
    return up.contract.backend.hosts[0]


def role_of(folder: str) -> str:
    return "frontend" if folder == SITE else "backend"


def host_of(up: Environment, folder: str) -> Host:
    host: Host = getattr(up.contract, role_of(folder)).hosts[0]
    return host


def ask(
    up: Environment, path: str, timeout: float = 20, role: str = "backend", **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    """GET as it is written here, on a connection of its own: status, body and headers."""
    return clients.ask(up.kit, getattr(up.contract, role), path, timeout, **headers)


@pytest.fixture(scope="module")
def folders(up: Environment) -> Iterator[Environment]:
    """A folder of these tests' own in media (the application's), in static and in the site
    (root's)."""
    with contextlib.ExitStack() as cleaning:
        for folder in URLS:
            up.kit.ssh(host_of(up, folder), f"mkdir {folder} && echo public > {folder}/file.txt")
            cleaning.callback(up.kit.ssh, host_of(up, folder), f"rm -rf {folder}")
        up.kit.ssh(backend(up), f"chown -R shop: {MEDIA}")
        yield up


# -------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("folder", URLS, ids=["media", "static", "site"])
def test_no_link_is_followed(folders: Environment, folder: str) -> None:
    """A link to a file, to a folder, to something next to it and one through another link: none is
    served; a file is, although the way to the release leads over a link."""
    host, role, url = host_of(folders, folder), role_of(folder), URLS[folder]
    links = {
        "out.txt": "/etc/passwd",
        "folder": "/etc",
        "inside.txt": "file.txt",
        "twice.txt": "out.txt",
    }
    folders.kit.ssh(
        host, "".join(f"ln -sfn {target} {folder}/{name}\n" for name, target in links.items())
    )
    assert ask(folders, f"{url}/file.txt", role=role)[:2] == (200, "public\n")
    for name in (
        "out.txt",
        "folder/passwd",
        "folder/",
        "folder/hostname",
        "inside.txt",
        "twice.txt",
    ):
        status, body, _ = ask(folders, f"{url}/{name}", role=role)
        assert SECRET not in body and body != "public\n", name
        # Or a view of the page itself.
        assert status in (403, 404) or "<!doctype html>" in body.lower(), name


def test_media_that_became_a_link_is_not_followed(folders: Environment) -> None:
    """The application owns the folder that media is in, and can't make nginx read what it can't
    read itself."""
    host = backend(folders)
    with contextlib.ExitStack() as cleaning:
        folders.kit.ssh(
            host, "cd /var/lib/shop && mv media media.kept && sudo -u shop ln -s /var/log media"
        )
        cleaning.callback(
            folders.kit.ssh, host, "cd /var/lib/shop && rm media && mv media.kept media"
        )
        assert "/var/log/nginx" not in ask(folders, "/media/nginx/access.log")[1]
        assert ask(folders, "/media/nginx/access.log")[0] in (403, 404)
    assert ask(folders, "/media/hardening/file.txt")[0] == 200


@pytest.mark.parametrize("folder", URLS, ids=["media", "static", "site"])
def test_no_name_that_begins_with_a_dot_is_served(folders: Environment, folder: str) -> None:
    """Whatever way it is written; only the page has `/.well-known/`."""
    host, url = host_of(folders, folder), URLS[folder]
    names = (".git/config", ".env", ".htpasswd", ".hidden/file.txt", "deep/.env")
    make = "".join(
        f"mkdir -p $(dirname {folder}/{name}) && echo secret > {folder}/{name}\n" for name in names
    )
    folders.kit.ssh(host, make)
    asked = [f"{url}/{name}" for name in names]
    asked += [
        f"{url}/%2eenv",
        f"{url}/%2Egit/config",
        f"{url}//.env",
        f"{url}/x/../.env",
        f"{url}/./.env",
        f"/.{url}/.env",
    ]
    for path in asked:
        status, body, _ = ask(folders, path, role=role_of(folder))
        assert "secret" not in body and status in (403, 404), path


OUTSIDE = (
    "/static../secret_key",
    "/media../secret_key",
    "/media/..%2fsecret_key",
    "/media/%2e%2e/secret_key",
    "/media/hardening/..%2f..%2f..%2fsecret_key",
    "/static/..%2f..%2f..%2f..%2fetc/passwd",
    "/MEDIA/hardening/file.txt",
    "/media/hardening/file.txt%00.png",
    "/media/",
    "/media/hardening/",
    "/static/",
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_there_is_no_way_out_and_no_list(folders: Environment, path: str) -> None:
    """`alias` and its slash, encoded dots and slashes, other case, a NUL, and folders, which nginx
    does not list."""
    folders.kit.ssh(backend(folders), "test -s /var/lib/shop/secret_key")
    status, body, _ = ask(folders, path)
    assert status in (400, 403, 404)
    assert SECRET not in body and "public" not in body and "file.txt" not in body


def test_a_pipe_in_media_holds_up_nobody(folders: Environment) -> None:
    """A FIFO, which nobody writes to, and a socket are answered at once, however often they are
    asked for."""
    host = backend(folders)
    folders.kit.ssh(
        host,
        f"cd {MEDIA} && rm -f pipe.txt socket.txt && sudo -u shop mkfifo pipe.txt && sudo -u shop"
        " python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket.txt\")'",
    )
    for _ in range(8):
        assert ask(folders, "/media/hardening/pipe.txt", timeout=5)[0] == 404
        # A socket can't be opened at all.
        assert ask(folders, "/media/hardening/socket.txt", timeout=5)[0] == 500
    assert ask(folders, "/media/hardening/file.txt", timeout=5)[0] == 200


# ------------------------------------------------------------------------------------------ uploads


def png() -> bytes:
    """A picture of one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
        + chunk(b"IEND", b"")
    )


def sound() -> bytes:
    """A tenth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(bytes(1600))
    return file.getvalue()


RUN = "fetch('/api/health?ran')"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>{RUN}</script></svg>'
HTML = f'<!doctype html><img src=x onerror="{RUN}"><script>{RUN}</script><p>hello'
XHTML = (
    "<html"
    f' xmlns="http://www.w3.org/1999/xhtml"><head><script>{RUN}</script></head><body>hello</body></html>'
)
ACTIVE = {
    "evil.svg": SVG,
    "evil.html": HTML,
    "evil.HTM": HTML,
    "evil.xhtml": XHTML,
    "evil.xml": XHTML,
}


def put(up: Environment, folder: str, files: dict[str, bytes]) -> None:
    lines = []
    for name, data in files.items():
        octal = "".join(f"\\{byte:03o}" for byte in data)
        lines.append(f"printf {quote(octal)} > {folder}/{name} && chmod 644 {folder}/{name}\n")
    up.kit.ssh(backend(up), "".join(lines))


def requests_of(page: Page, url: str) -> list[str]:
    """Open it, and say what it asked for until it was loaded; a script begins to run before
    that."""
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    page.goto(url)
    page.remove_listener("request", note)
    return asked


@pytest.mark.browser
def test_what_users_upload_runs_no_script_on_the_apis_origin(folders: Environment) -> None:
    """HTML, XHTML, SVG and XML, opened as a page or in a frame; the same files among the project's
    own do run there."""
    origin = folders.contract.backend.origin
    for folder in (MEDIA, STATIC):
        put(folders, folder, {name: text.encode() for name, text in ACTIVE.items()})
    with chromium(folders) as browser:
        page = browser.new_page()
        for name in ACTIVE:
            ran = [
                url
                for url in requests_of(page, f"{origin}/static/hardening/{name}")
                if "?ran" in url
            ]
            harmless = [
                url
                for url in requests_of(page, f"{origin}/media/hardening/{name}")
                if "?ran" in url
            ]
            assert (bool(ran), harmless) == (True, []), name


SHOWS = """async ([kind, url]) => {
    const element = document.createElement(kind);
    const shown = new Promise(done => {
        for (const event of ["load", "loadedmetadata", "error"])
            element.addEventListener(event, () => done(event));
    });
    element.src = url;
    document.body.append(element);
    return await shown;
}"""


@pytest.mark.browser
def test_uploads_still_show_on_the_page(folders: Environment) -> None:
    """On the other origin's page: pictures, an SVG as a picture, sound; and a script may read their
    bytes."""
    url = f"{folders.contract.backend.origin}/media/hardening"
    put(folders, MEDIA, {"a.png": png(), "a.wav": sound(), "evil.svg": SVG.encode()})
    with page_of(folders) as page:
        for kind, name, event in (
            ("img", "a.png", "load"),
            ("img", "evil.svg", "load"),
            ("audio", "a.wav", "loadedmetadata"),
            ("img", "none.png", "error"),
        ):
            assert page.evaluate(SHOWS, [kind, f"{url}/{name}"]) == event, name
        read = page.evaluate(
            "async url => (await (await fetch(url)).text()).length", f"{url}/evil.svg"
        )
        assert read == len(SVG)


HARMLESS = ("b.png", "b.JPG", "b.pdf", "b.webm", "b.mp3")
SANDBOXED = ("b.svg", "b.html", "b.shtml", "b.xml", "b.txt", "b.unknown", "b.svgz", "b.png.html")


def test_each_kind_of_upload_has_one_policy(folders: Environment) -> None:
    """What can run nothing has none (a sandbox has no PDF viewer), all else a sandbox; and the page
    can read it. A 304 changes nothing, and an error is no way round it."""
    front = folders.contract.frontend.origin
    put(folders, MEDIA, dict.fromkeys([*HARMLESS, *SANDBOXED], b"x"))
    for name in (*HARMLESS, *SANDBOXED, "none.png", "none.html"):
        status, _, headers = ask(folders, f"/media/hardening/{name}", Origin=front)
        policies = headers.get_all("Content-Security-Policy", [])
        assert (status, len(policies)) == (
            404 if "none" in name else 200,
            0 if name in HARMLESS else 1,
        ), name
        assert all("sandbox" in policy and "allow-" not in policy for policy in policies)
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert headers.get_all("Access-Control-Allow-Origin") == [front]
        if status == 200:
            again = ask(
                folders,
                f"/media/hardening/{name}",
                Origin=front,
                If_None_Match=headers["ETag"],
            )
            assert (again[0], again[2].get_all("Content-Security-Policy", [])) == (304, []), name


# ------------------------------------------------------------------------------------- slow clients


@contextlib.contextmanager
def held(
    count: int, connect: Callable[[], socket.socket], beginning: bytes
) -> Iterator[list[socket.socket]]:
    """That many connections from here, each with the beginning of something that does not go on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + 512
    assert hard == resource.RLIM_INFINITY or hard >= needed, (
        f"this machine allows {hard} open files, {needed} needed"
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        with contextlib.ExitStack() as stack:
            found = []
            for _ in range(count):
                connection = stack.enter_context(connect())
                connection.sendall(beginning)
                found.append(connection)
            yield found
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


HEADER = b"GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: "
# RFC 8446, 4.1.2 and 5.1: a record of the type handshake with 512 bytes, of which two come.
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00"


@pytest.mark.parametrize("role", ["backend", "frontend"])
def test_half_open_connections_stop_nobody(up: Environment, role: str) -> None:
    """2 000 connections from one address that never end their header, over https their ClientHello:
    a new client is answered within 2 s each time."""
    path = "/api/health" if role == "backend" else "/"
    asked = getattr(up.contract, role)
    place = (asked.hosts[0].address, asked.parsed_origin.port_number)
    begun = CLIENT_HELLO if up.contract.speaks_https else HEADER
    with held(2000, lambda: socket.create_connection(place, 20), begun) as connections:
        for _ in range(10):
            assert ask(up, path, timeout=2, role=role)[0] == 200
        # They were held while the others were served.
        assert not any(ended(connection) for connection in connections)


UNFINISHED = (
    "POST /api/products/ HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length:"
    " 99\r\n\r\n{{"
)

# A host asks itself for a file by a scheme; its certificate is for another address than this one.
ITSELF = """
import ssl, sys, urllib.request
anybody = ssl._create_unverified_context()
url = sys.argv[1] + "://127.0.0.1/static/admin/css/base.css"
print(urllib.request.urlopen(url, context=anybody).status)
"""


def until(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within the time"


@pytest.mark.browser
def test_the_limit_of_an_address_is_readable_and_only_its_own(up: Environment) -> None:
    """Far more requests at once than any page makes: the page reads 429, another address is served,
    and when they have ended all is as before."""
    host, origin = backend(up), up.contract.backend.parsed_origin
    get = "Promise.all(Array.from({length: %d}, () => window.shop.call('GET', '/api/products/')))"
    with page_of(up) as page:
        assert {one["kind"] for one in page.evaluate(get % 100)} == {"ok"}
        begun = UNFINISHED.format(host.address).encode()
        with held(600, lambda: dial(up.kit, up.contract.backend), begun):
            until(lambda: ask(up, "/api/health")[0] == 429)
            answer = page.evaluate("window.shop.call('GET', '/api/products/')")
            assert (answer["kind"], answer["status"]) == ("http-error", 429)
            assert up.kit.ssh(host, f"python3 -c {quote(ITSELF)} {origin.scheme}").strip() == "200"
        until(lambda: ask(up, "/api/health")[0] == 200)
        assert page.evaluate("window.shop.call('GET', '/api/products/')")["kind"] == "ok"


# ----------------------------------------------------------------------------- the client's address

SPOOFED = (
    "X-Real-IP",
    "X_Real_IP",
    "X-REAL-IP",
    "X-Forwarded-For",
    "Forwarded",
    "Remote-Addr",
    "REMOTE_ADDR",
    "Client-IP",
)


@pytest.mark.parametrize("header", ["", *SPOOFED])
def test_django_sees_the_clients_address(up: Environment, header: str) -> None:
    """REMOTE_ADDR is what nginx saw of the connection, whatever a client writes in a header, once
    or twice."""
    host = backend(up)
    lines = f"{header}: 203.0.113.66\r\n" * 2 if header else ""
    with dial(up.kit, up.contract.backend) as connection:
        connection.sendall(f"GET /api/me/ HTTP/1.0\r\nHost: {host.address}\r\n{lines}\r\n".encode())
        body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")[2]
        assert json.loads(body)["address"] == connection.getsockname()[0]


# ------------------------------------------------------------------------------------- the services


@pytest.mark.parametrize(
    ("role", "unit", "most"),
    [
        ("backend", "shop.service", 3.0),
        ("backend", "nginx.service", 5.0),
        ("frontend", "nginx.service", 5.0),
    ],
)
def test_exposure(up: Environment, role: str, unit: str, most: float) -> None:
    """What systemd says of the unit as it is on the host, from 0 to 10, 10 being the worst."""
    said = up.kit.ssh(
        getattr(up.contract, role).hosts[0], f"systemd-analyze security --no-pager {unit}"
    )
    found = re.search(rf"Overall exposure level for {unit}: ([0-9.]+)", said)
    assert found and float(found[1]) <= most, said[-80:]


USUAL = """
import asyncio, ctypes, json, mmap, multiprocessing, os, socket, sqlite3
import subprocess, sys, tempfile, threading
data = sys.argv[1]
refused, gone_wrong = [], {}

def works(function):
    try:
        function()
    except Exception as problem:
        gone_wrong[function.__name__] = repr(problem)

def is_refused(function):
    try:
        function()
    except OSError:
        return
    gone_wrong[function.__name__] = "was not refused"

@works
def database():
    with sqlite3.connect(data + "/usual.sqlite3") as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table if not exists t (a)")
        connection.execute("insert into t values (1)")

@works
def upload():
    os.makedirs(data + "/media/usual/deeper", exist_ok=True)
    with open(data + "/media/usual/deeper/a.txt", "w") as file:
        file.write("uploaded")
    os.chmod(file.name, 0o644)
    os.chown(file.name, -1, os.getgid())

@works
def programs():
    line = "cp -p /etc/hostname /tmp/copied && nice -n 5 ls /tmp | sort > /dev/null"
    subprocess.run(line, shell=True, check=True)

@works
def processes():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]

@works
def fresh_processes():
    lock = multiprocessing.get_context("spawn").Lock()
    with lock:
        pass

@works
def callbacks():
    number = ctypes.POINTER(ctypes.c_int)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, number, number)
    numbers = (ctypes.c_int * 3)(3, 1, 2)
    ctypes.CDLL(None).qsort(numbers, 3, 4, kind(lambda a, b: a[0] - b[0]))
    assert list(numbers) == [1, 2, 3]

@works
def code_made_at_run_time():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)

@works
def temporary_files():
    out, into = socket.socketpair()
    with tempfile.NamedTemporaryFile() as file, open(file.name, "rb") as again:
        file.write(b"x" * 100)
        file.flush()
        assert os.sendfile(out.fileno(), again.fileno(), 0, 100) == 100

@works
def the_network():
    socket.create_connection(("127.0.0.1", 22), timeout=5).close()
    socket.socket(socket.AF_INET6).close()
    assert socket.getaddrinfo("localhost", 80)
    assert socket.if_nameindex()

@works
def threads_and_loops():
    thread = threading.Thread(target=lambda: asyncio.run(asyncio.sleep(0)))
    thread.start()
    thread.join()

@works
def what_the_machine_has():
    assert os.cpu_count() and "MemTotal" in open("/proc/meminfo").read()
    assert os.nice(0) + 1 == os.nice(1)

@is_refused
def writing_the_release():
    open(os.path.realpath("/opt/shop/current") + "/app/written.py", "w")

@is_refused
def writing_elsewhere():
    open("/var/tmp/../lib/written", "w")

@is_refused
def homes():
    os.listdir("/home/deploy")

@is_refused
def raw_packets():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)

@is_refused
def a_namespace():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "refused")

@is_refused
def other_processes():
    open("/proc/1/cmdline").read()

print(json.dumps(gone_wrong))
"""


def test_usual_work_goes_on_within_the_units_limits(up: Environment) -> None:
    """Database, uploads, programs, processes, native callbacks, code made at run time, network: all
    work; the release, other people's files, packets, namespaces and processes are out of reach.
    What it uploads nginx can read.
    """
    host = backend(up)
    unit = up.kit.ssh(host, "cat /etc/systemd/system/shop.service")
    properties = " ".join(f"--property={quote(line)}" for line in limits(unit))
    python = f"/opt/shop/current/venv/bin/python -c {quote(USUAL)} /var/lib/shop"
    try:
        said = up.kit.ssh(
            host, f"systemd-run --quiet --collect --wait --pipe {properties} {python}"
        )
        assert json.loads(said) == {}
        assert ask(up, "/media/usual/deeper/a.txt")[:2] == (200, "uploaded")
    finally:
        up.kit.ssh(host, "rm -rf /var/lib/shop/media/usual /var/lib/shop/usual.sqlite3*")


LOGROTATE = (
    "mv /var/log/nginx/access.log /var/log/nginx/access.log.moved && /etc/init.d/nginx rotate"
)


def test_nginx_goes_on_logging_after_rotation_and_reload(up: Environment) -> None:
    """As logrotate moves the file and signals nginx: it makes a new one within its limits, and a
    reload still works."""
    host = backend(up)
    up.kit.ssh(host, f"{LOGROTATE} && systemctl reload nginx.service")
    try:
        until(
            lambda: (
                ask(up, "/api/health?rotated")[0] == 200
                and "?rotated" in up.kit.ssh(host, "cat /var/log/nginx/access.log", check=False)
            )
        )
    finally:
        up.kit.ssh(host, "rm -f /var/log/nginx/access.log.moved")
