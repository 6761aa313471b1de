"""One list, three readers: the contract, nginx and Django decide alike, and nginx refuses what no
browser can send.

nginx and Django are real. Generated contracts are rendered as for a host; a dozen of them at a time
share one nginx, each with its own site and its own names of variables.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import django.conf
import pytest
from corsheaders.middleware import CorsMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from infra.core.contract import Contract
from infra.core.origins import BAD_PORTS, OriginError, look_alikes, parse_origin, parse_pattern
from rollout.render.django import settings_text
from rollout.render.nginx import status_server
from tests.test_render import cors, load, rendered, text
from tests.test_render_nginx import MAIN, program

pytestmark = pytest.mark.nginx

BASE = load("local-ip")
BATCH = 12  # configurations that share an nginx


# -------------------------------------------------------------------------------- what is generated

LABEL = st.sampled_from(["a", "app", "my-app", "x1", "xn--bcher-kva", "0", "evil", "w" * 40])
NAME = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
HOST = st.one_of(
    st.builds(
        "{}.{}".format,
        NAME,
        st.sampled_from(["example.com", "co.uk", "shop.test", "eu-west-1.example.net"]),
    ),
    st.sampled_from(
        ["localhost", "127.0.0.1", "192.168.1.7", "203.0.113.9", "[2001:db8::1]", "[::1]"]
    ),
)
PORT = st.sampled_from(["", "", ":8080", ":3000", ":80", ":443", ":65535", ":1024"])
SCHEME = st.sampled_from(["http", "https"])
PATTERNS = [
    "https://{branch}.preview.example.com",
    "http://pr-{n}.example.com:8080",
    "https://{x}-app.example.com",
    "http://api.{b}.shop.test",
    "http://192.168.1.*:3000",
    "http://10.0.0.*",
    "http://localhost:*",
    "https://127.0.0.1:*",
]
PATTERN = st.sampled_from(PATTERNS)


def canonical(text: str) -> str | None:
    """As a browser writes it, or None where it is no origin."""
    try:
        return str(parse_origin(text, production=False))
    except OriginError:
        return None


ORIGIN = st.builds("{}://{}{}".format, SCHEME, HOST, PORT).map(canonical).filter(bool)


@dataclasses.dataclass(frozen=True)
class Case:
    """A configuration and values of `Origin` to ask it with."""

    contract: Contract
    values: tuple[str, ...]


def blocked(value: str) -> bool:
    """Whether it ends in a port that browsers load nothing from: a pattern over ports spans it, and
    nobody sends it."""
    port = value.rpartition(":")[2]
    return port.isascii() and port.isdigit() and int(port[:6]) in BAD_PORTS


def members(pattern: str) -> list[str]:
    """Some origins of a pattern, and some that only nearly are."""
    fillers = ["a", "x-1", "255", "80", "443", "3001", "03001", "a.b", "-a", "A", "", "x" * 64]
    return [re.sub(r"\{\w+\}|\*", filler, pattern) for filler in fillers]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    origins = draw(st.lists(ORIGIN, min_size=1, max_size=6, unique=True))
    patterns = draw(st.lists(PATTERN, max_size=3, unique=True))
    one_of_them = draw(st.sampled_from(origins))
    assert one_of_them is not None
    similar = look_alikes(parse_origin(one_of_them, production=False))
    values = [
        *origins,
        *draw(st.lists(ORIGIN, max_size=4)),
        *draw(st.lists(st.sampled_from(similar), max_size=8)),
    ]
    values += [
        one
        for pattern in patterns
        for one in draw(st.lists(st.sampled_from(members(pattern)), max_size=4))
    ]
    values += draw(
        st.lists(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")), max_size=2)
    )
    contract = cors(
        BASE,
        allowed_origins=tuple(origins),
        allowed_shapes=tuple(patterns),
        allow_credentials=draw(st.booleans()),
    )
    asked = dict.fromkeys(value.strip(" \t") for value in values if value is not None)
    return Case(contract, tuple(value for value in asked if not blocked(value)))


# ------------------------------------------------------------------------------------- the contract


def listed(contract: Contract, origin: str) -> bool:
    """The contract's own decision, read letter by letter, without any pattern."""
    return origin in contract.cors.allowed_origins or any(
        of(pattern, origin) for pattern in contract.cors.allowed_shapes
    )


def of(pattern: str, origin: str) -> bool:
    front, back = re.split(r"\{\w+\}|\*", pattern)
    scheme = pattern.partition(":")[0]
    if pattern.endswith(":*"):
        port = origin.removeprefix(front)
        bare = origin == front.removesuffix(":")
        default = {"http": 80, "https": 443}[scheme]
        return bare or (
            origin.startswith(front) and plain_number(port, 1, 65535) and int(port) != default
        )
    if len(origin) < len(front) + len(back) or not (
        origin.startswith(front) and origin.endswith(back)
    ):
        return False
    middle = origin[len(front) : len(origin) - len(back)]
    if "*" in pattern:
        return plain_number(middle, 0, 255)
    label = re.split(r"[./]", front)[-1] + middle + re.split(r"[.:]", back)[0]
    letters = middle.isascii() and middle.replace("-", "a").isalnum() and middle == middle.lower()
    return letters and len(label) <= 63 and not middle.startswith("-") and not middle.endswith("-")


def plain_number(text: str, low: int, high: int) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text and low <= int(text) <= high


# ------------------------------------------------------------------------------------------- Django


def django_settings(contract: Contract) -> dict[str, Any]:
    """CORS_* as the rendered module sets them."""
    tree = ast.parse(settings_text(contract, contract.backend.hosts[0]))
    named = [
        (ast.unparse(node.targets[0]), node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
    ]
    found = {name: ast.literal_eval(value) for name, value in named if name.startswith("CORS_")}
    assert {"CORS_ALLOWED_ORIGINS", "CORS_ALLOWED_ORIGIN_REGEXES", "CORS_ALLOW_ALL_ORIGINS"} <= set(
        found
    )
    return found


def answer(_: HttpRequest) -> HttpResponse:
    return HttpResponse()


def of_django(contract: Contract, values: Iterable[str]) -> list[str | None]:
    """What django-cors-headers answers to each."""
    if not django.conf.settings.configured:
        django.conf.settings.configure(ALLOWED_HOSTS=["*"])
    with override_settings(**django_settings(contract)):
        return [allowed_by_django(value) for value in values]


def allowed_by_django(origin: str) -> str | None:
    response = CorsMiddleware(answer)(RequestFactory().get("/", HTTP_ORIGIN=origin))
    assert isinstance(response, HttpResponse)
    allowed: str | None = response.headers.get("Access-Control-Allow-Origin")
    return allowed


# -------------------------------------------------------------------------------------------- nginx


def site(contract: Contract, number: int, folder: Path) -> None:
    """The rendered site with variables, a snippet and a socket of its own."""
    generation = rendered(contract, "backend")
    conf = text(generation, "nginx/origin-kit.conf")
    status = status_server().replace("@fingerprint:nginx@", generation.fingerprints["nginx"])
    assert status in conf
    conf = re.sub(r"^    listen .*$", "", conf.replace(status, ""), flags=re.MULTILINE)
    conf = conf.replace("server {\n", f"server {{\n    listen unix:{folder}/{number}.sock;\n", 1)
    conf = conf.replace("snippets/origin-kit-cors.conf", f"{folder}/cors-{number}")
    conf = conf.replace("/opt/shop/current/static/", f"{folder}/static/")
    snippet = text(generation, "nginx/origin-kit-cors.conf")
    for name, written in ((f"etc/nginx/conf.d/{number}.conf", conf), (f"cors-{number}", snippet)):
        (folder / name).write_text(written.replace("origin_kit_", f"kit{number}_"))


@contextlib.contextmanager
def sites(contracts: list[Contract]) -> Iterator[Path]:
    """One nginx with a site for each; the folder holds their sockets, `0.sock` and so on."""
    with tempfile.TemporaryDirectory(prefix="ok-", dir="/tmp") as name:
        folder = Path(name)
        for place in ("etc/nginx/conf.d", "tmp", "static"):
            (folder / place).mkdir(parents=True)
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user="root"))
        for number, contract in enumerate(contracts):
            site(contract, number, folder)
        with socket.socket(socket.AF_UNIX) as ready:
            process = subprocess.Popen(
                [program(), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE
            )
            try:
                connect(ready, folder / f"{len(contracts) - 1}.sock", process)
                yield folder
            finally:
                process.terminate()
                process.communicate(timeout=20)


def connect(client: socket.socket, path: Path, process: subprocess.Popen[bytes]) -> None:
    """As soon as nginx listens: it does so after it has written its pid."""
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return client.connect(str(path))
    raise AssertionError(process.communicate()[1].decode())


def of_nginx(path: Path, values: Iterable[str], preflight: bool) -> list[str | None]:
    """What nginx answers to each, on a connection of its own."""
    question = (
        "OPTIONS / HTTP/1.0\r\nAccess-Control-Request-Method: PUT"
        if preflight
        else "GET /static/none.css HTTP/1.0"
    )
    return [
        ask(path, f"{question}\r\nHost: 10.213.7.74\r\nOrigin: {value}\r\n\r\n") for value in values
    ]


def ask(path: Path, question: str) -> str | None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(question.encode("latin-1"))
        head = (
            b"".join(iter(lambda: client.recv(65536), b""))
            .partition(b"\r\n\r\n")[0]
            .decode("latin-1")
        )
    found = re.findall(
        r"^access-control-allow-origin: ([^\r]*)", head, re.MULTILINE | re.IGNORECASE
    )
    assert len(found) <= 1
    return found[0] if found else None


# ---------------------------------------------------------------------------------------- all three


MANY = settings(
    deadline=None,
    # Without `shrink`: making a dozen sites simpler, one by one, takes an hour.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
BATCHES = st.lists(cases(), min_size=BATCH, max_size=BATCH)


@settings(MANY, max_examples=80)
@given(BATCHES)
def test_three_readers_of_one_list_decide_alike(batch: list[Case]) -> None:
    """A thousand configurations: what a browser can send is decided by nginx as by Django and by
    the contract; what none can send nginx refuses."""
    decide_alike(batch)


@pytest.mark.soak
@settings(MANY, max_examples=400)
@given(BATCHES)
def test_three_readers_decide_alike_at_length(batch: list[Case]) -> None:
    """Five thousand configurations."""
    decide_alike(batch)


def decide_alike(batch: list[Case]) -> None:
    with sites([case.contract for case in batch]) as folder:
        for number, case in enumerate(batch):
            contract = case.contract
            sent = [value for value in case.values if canonical(value) == value or value == "null"]
            never = [value for value in case.values if value not in sent]
            expected = [value if listed(contract, value) else None for value in sent]
            assert of_django(contract, sent) == expected
            for preflight in (False, True):
                assert of_nginx(folder / f"{number}.sock", sent, preflight) == expected
                assert of_nginx(folder / f"{number}.sock", never, preflight) == [None] * len(never)


@pytest.mark.parametrize("credentials", [False, True])
def test_everyone_is_everyone_to_all_three(credentials: bool) -> None:
    """`allow_all_origins`: a star, or with credentials the origin itself, from nginx and from
    Django."""
    contract = cors(load("allow-all"), allow_credentials=credentials)
    values = ["http://evil.example", "https://app.example.com:8443", "http://[::1]:9000"]
    expected = values if credentials else ["*"] * len(values)
    with sites([contract]) as folder:
        assert of_nginx(folder / "0.sock", values, False) == of_django(contract, values) == expected


# One careless edit of what Django gets → what it does then.
CARELESS: dict[str, dict[str, Any]] = {
    "text for a list": {"CORS_ALLOWED_ORIGIN_REGEXES": r"^https://app\.example\.com$"},
    "an empty pattern": {"CORS_ALLOWED_ORIGIN_REGEXES": [""]},
    "no end": {"CORS_ALLOWED_ORIGIN_REGEXES": [r"^http://10\.213\.7\.1"]},
    "an unescaped dot": {"CORS_ALLOWED_ORIGIN_REGEXES": [r"^http://10.213.7.10\Z"]},
    "allow-all left on": {"CORS_ALLOW_ALL_ORIGINS": True},
    "an old origin": {"CORS_ALLOWED_ORIGINS": ["http://10.213.7.10", "http://10.213.7.11"]},
    "a path by the list": {"CORS_URLS_REGEX": r"^/api/"},
    "a port that no browser writes": {"CORS_ALLOWED_ORIGINS": ["http://10.213.7.10:80"]},
}


@pytest.mark.parametrize("name", CARELESS)
def test_a_careless_edit_of_what_django_gets_is_seen(name: str) -> None:
    """The comparison above is no comparison of a thing with itself: each edit makes Django decide
    otherwise."""
    contract = cors(BASE, allowed_origins=("http://10.213.7.10",), allowed_shapes=())
    values = [
        "http://10.213.7.10",
        "http://10.213.7.11",
        "http://10.213.7.12",
        "http://10x213.7.10",
    ]
    expected = [value if listed(contract, value) else None for value in values]
    assert of_django(contract, values) == expected
    with override_settings(**django_settings(contract) | CARELESS[name]):
        found = [allowed_by_django(value) for value in values]
    assert found != expected


def test_patterns_of_these_tests_are_patterns() -> None:
    """Each is one that the kit takes and keeps as it is written."""
    assert [parse_pattern(pattern, production=False).text for pattern in PATTERNS] == PATTERNS
