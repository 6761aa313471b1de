"""What stops a request before CORS, or besides it, against what a real Chromium does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page

from infra.core.origins import BAD_PORTS
from rollout.render import frontend
from rollout.verdict import Exchange, Reason, Request, Response, judge
from rollout.verdict.login import CHROMIUM_BLOCKING, Cookie, not_returned
from tests import test_render
from tests.e2e.conftest import chromium
from tests.e2e.test_verdict_chromium import Watch, run
from tests.support.exchanges import Case, Stage, page_answer, servers, tls_context

pytestmark = [pytest.mark.browser]

ANYONE = Response(200, (("Access-Control-Allow-Origin", "*"), ("Content-Length", "0")))
PUBLIC = "203.0.113.7"


@dataclass(frozen=True)
class World:
    """A browser for which names lead to servers here, by http and https; two of them it takes for
    public ones."""

    stage: Stage
    context: BrowserContext
    names: dict[str, str]  # host and scheme to port

    def open(self, url: str) -> tuple[Page, Watch]:
        page, watch = self.context.new_page(), Watch()
        watch.listen(page.context.new_cdp_session(page))
        page.goto(url)
        return page, watch


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    tls = tls_context(tmp_path_factory.mktemp("tls"))
    stage = Stage(pages={"/": page_answer(), "/api": ANYONE})
    with servers(stage, 2, [tls, tls]) as origins:
        http, public_http, https, public_https = (urlsplit(origin).netloc for origin in origins)
        rules = [
            f"MAP public.example.org:80 {public_http}",
            f"MAP public.example.org:443 {public_https}",
            *(f"MAP *.{name}:80 {http}" for name in ("example.com", "example.net", "github.io")),
            *(f"MAP *.{name}:443 {https}" for name in ("example.com", "example.net", "github.io")),
        ]
        flags = [
            f"--host-resolver-rules={', '.join(rules)}",
            "--ignore-certificate-errors",
            f"--ip-address-space-overrides={public_http}=public,{public_https}=public",
        ]
        with chromium(flags=flags) as browser:
            yield World(stage, browser.new_context(), {"http": http, "https": https})


def differences(world: World, page_url: str, requests: list[Request]) -> list[str]:
    """One line for each request of a page that is judged otherwise than by Chromium."""
    page, watch = world.open(page_url)
    cases = [Case(request, (Exchange(ANYONE),), None) for request in requests]
    lines = []
    for case, (got, reason) in zip(cases, run(page, watch, cases), strict=True):
        verdict = judge(case.request, case.exchanges)
        if verdict.allowed != ("problem" not in got) or (
            verdict.reason and verdict.reason != reason
        ):
            lines.append(
                f"Chromium {reason or got}, verdict {verdict.reason or verdict.status}:"
                f" {case.request}"
            )
    page.close()
    return lines


def test_every_blocked_port_is_blocked(world: World) -> None:
    """infra/core/origins.py's list, port by port."""
    requests = [
        Request("http://app.example.com", f"http://127.0.0.1:{port}/") for port in sorted(BAD_PORTS)
    ]
    judged = [judge(request, [Exchange(ANYONE)]) for request in requests]
    assert all(
        verdict.reason is Reason.unsafe_port or "the standard blocks" in verdict.notes[0]
        for verdict in judged
    )
    blocked = [
        request for request, verdict in zip(requests, judged, strict=True) if not verdict.allowed
    ]
    assert len(blocked) > 75 and differences(world, "http://app.example.com/", blocked) == []
    open_ones = [request for request in requests if request not in blocked]
    assert all(
        "verdict 200" in line and "UNSAFE" not in line
        for line in differences(world, "http://app.example.com/", open_ones)
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_mixed_content_is_chromiums(world: World, scheme: str) -> None:
    """https to http is blocked but for this machine; every other pair is not."""
    page = f"{scheme}://app.example.com"
    port = world.names["http"].rpartition(":")[2]
    urls = [
        "http://api.example.com/api",
        "https://api.example.com/api",
        "http://api.example.net/api",
    ]
    urls += [f"http://{host}:{port}/api" for host in ("127.0.0.1", "localhost", "app.localhost")]
    requests = [Request(page, url, page_address="127.0.0.1", address="127.0.0.1") for url in urls]
    assert differences(world, page + "/", requests) == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_local_network_access_is_chromiums(world: World, scheme: str) -> None:
    """From a public page to this machine: refused over http, asked about (here: nobody answers yes)
    over https."""
    page = f"{scheme}://public.example.org"
    port = world.names["http"].rpartition(":")[2]
    urls = ["https://api.example.com/api", f"http://127.0.0.1:{port}/api"]
    requests = [Request(page, url, page_address=PUBLIC, address="127.0.0.1") for url in urls]
    requests.append(Request(page, page + "/api", page_address=PUBLIC, address=PUBLIC))
    assert differences(world, page + "/", requests) == []


POLICIES = [
    "connect-src 'self'",
    "connect-src 'none'",
    "connect-src",
    "connect-src *",
    "connect-src http:",
    "connect-src https:",
    "connect-src api.example.com",
    "connect-src https://api.example.com",
    "connect-src http://api.example.com",
    "connect-src *.example.com",
    "connect-src *.api.example.com",
    "connect-src API.Example.Com",
    "connect-src api.example.com:80",
    "connect-src api.example.com:*",
    "connect-src api.example.com:443",
    "connect-src api.example.com/api",
    "connect-src api.example.com/ap",
    "connect-src api.example.com/api/",
    "connect-src api.example.com/",
    "connect-src api.example.com/%61pi",
    "default-src 'self'",
    "default-src 'none'; connect-src *",
    "script-src 'none'",
    "connect-src 'none'; connect-src *",
    "connect-src *, connect-src 'none'",
    "connect-src 127.0.0.1:*",
    "connect-src http://*",
    "connect-src *:*",
    "connect-src *:80",
    "connect-src wss:",
    "connect-src ws://api.example.com",
]

# What the keys of the stack's config write, for a backend that is (or is not) what the page asks.
BACKENDS = ("http://api.example.com", "https://api.example.com:8443", "http://[2001:db8::3]")
KEYS: list[dict[str, Any]] = [
    {},
    {"connect_src": ("https://*.example.com", "wss:")},
    {"connect_src": ("http://127.0.0.1:*", "blob:", "data:")},
    {
        "connect_src": ("https:",),
        "csp": "default-src 'none'; sandbox allow-same-origin allow-scripts",
    },
    {"csp": "default-src 'self'; script-src 'self'", "frame_ancestors": ("'none'",)},
    {"connect_src": ("https://api.example.com", "ws://*.example.com:81")},
]


def written(backend: str, keys: dict[str, Any]) -> str:
    """The policy that nginx serves the page with."""
    contract = test_render.page(test_render.load("names-credentials"), **keys)
    role = dataclasses.replace(contract.backend, origin=backend)
    return frontend.policy(dataclasses.replace(contract, backend=role))


WRITTEN = [written(backend, keys) for backend in BACKENDS for keys in KEYS]


def policy_differences(world: World, scheme: str, policies: list[str]) -> list[str]:
    """Each policy on a page of its own, each with four URLs."""
    page = f"{scheme}://app.example.com"
    loopback = f"http://127.0.0.1:{world.names['http'].rpartition(':')[2]}/api"
    urls = ["http://api.example.com/api", "https://api.example.com/api", f"{page}/api", loopback]
    found = []
    for policy in policies:
        world.stage.pages["/csp"] = page_answer(("Content-Security-Policy", policy))
        requests = [
            Request(page, url, page_address="127.0.0.1", address="127.0.0.1", csp=policy)
            for url in urls
        ]
        found += differences(world, f"{page}/csp", requests)
    return found


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connect_src_is_chromiums_for_some_policies(world: World, scheme: str) -> None:
    """Every sixth of them, and some that the keys of a stack's config write."""
    assert policy_differences(world, scheme, [*POLICIES[::6], *WRITTEN[::5]]) == []


@pytest.mark.soak
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connect_src_is_chromiums_for_all_policies(world: World, scheme: str) -> None:
    """A page a policy takes its time."""
    assert policy_differences(world, scheme, [*POLICIES, *WRITTEN]) == []


ATTRIBUTES = [
    "",
    "; SameSite=Lax",
    "; SameSite=Strict",
    "; SameSite=None",
    "; SameSite=None; Secure",
    "; Secure",
    "; samesite=NONE;secure",
    "; SameSite=Odd",
    "; SameSite=None; SameSite=Lax; Secure",
]
PAIRS = [
    ("http://app.example.com", "http://api.example.com"),
    ("https://app.example.com", "https://api.example.com"),
    ("http://app.example.com", "https://api.example.com"),
    ("https://app.example.com", "https://api.example.net"),
    ("https://a.github.io", "https://b.github.io"),
    ("http://app.example.com", "http://api.example.net"),
]


@pytest.mark.parametrize(("page_origin", "api"), PAIRS)
def test_cookies_travel_as_in_chromium(world: World, page_origin: str, api: str) -> None:
    """Set by the API, asked for by the page: what comes back is what has no obstacle."""
    allowed = (
        ("Access-Control-Allow-Origin", page_origin),
        ("Access-Control-Allow-Credentials", "true"),
    )
    cookies = [f"cookie{number}=x{attributes}" for number, attributes in enumerate(ATTRIBUTES)]
    lines = (*allowed, ("Content-Length", "0"), *(("Set-Cookie", cookie) for cookie in cookies))
    world.stage.pages |= {
        "/set": Response(200, lines),
        "/get": Response(200, (*allowed, ("Content-Length", "0"))),
    }
    world.context.clear_cookies()
    page, _ = world.open(page_origin + "/")
    page.evaluate(
        "async url => { for (const path of ['/set', '/get']) await fetch(url + path, {credentials:"
        " 'include'}) }",
        api,
    )
    page.close()
    came = {
        pair.partition("=")[0] for pair in world.stage.asked["/get"].get("cookie", "").split("; ")
    }
    # Playwright's profile is off the record, and there Chromium keeps every cookie from other
    # sites.
    wanted = {
        cookie.partition("=")[0]
        for cookie in cookies
        if not_returned(
            Cookie.parse(cookie), page_origin, f"{api}/set", f"{api}/get", CHROMIUM_BLOCKING
        )
        is None
    }
    assert came - {""} == wanted
