"""Event streams next to ordinary requests, and the names of a pair: the domain itself, www, further
names of the backend, and a proxy in front. One pair of machines, looked at by Chromium."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page

from rollout.doctor.failed_requests import FailedRequests
from tests.e2e.conftest import PASSWORD, Environment, chromium, screenshot
from tests.support.clients import ask
from tests.support.kit import Kit, Stack, manage

pytestmark = [pytest.mark.machines, pytest.mark.browser, pytest.mark.either_scheme]

APEX, WWW, API, API2 = "shop.test", "www.shop.test", "api.shop.test", "api2.shop.test"
USUAL: dict[str, object] = {
    "domain": APEX,
    "frontend_name": "@",
    "www_redirect": True,
    "backend_aliases": [API2],
    "allow_credentials": True,
    "timeout_s": 6,
}
STREAMS = 5  # one connection of Chromium's six to a host is left


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.of(Kit(tmp_path_factory.mktemp("streams") / "home")) as made:
        made.usual = USUAL | {"tls": "local-ca"}
        made.write()
        made.fab("up")
        yield made


@pytest.fixture
def stack(pair: Stack, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The pair with its usual config, whatever the test before has edited. A parameter is more
    of it."""
    usual = USUAL | request.param
    if pair.usual != usual:
        pair.usual = usual
        pair.write()
        pair.fab("deploy")
    yield pair
    pair.write()
    pair.fab("deploy")


def origin(stack: Stack, name: str) -> str:
    """A name of the pair as an origin."""
    return f"{'http' if stack.usual['tls'] == 'off' else 'https'}://{name}"


@contextmanager
def shop(stack: Stack, url: str = "") -> Iterator[Page]:
    """A page of Chromium, which finds every name of the pair, at the domain itself or elsewhere."""
    up = Environment.of(stack)
    frontend, backend = up.contract.frontend, up.contract.backend
    names = {APEX: frontend, WWW: frontend, API2: backend}
    rules = [f"MAP {name} {role.hosts[0].address}" for name, role in names.items()]
    with chromium(up, rules=rules) as browser:
        page = browser.new_page()
        page.goto(url or origin(stack, APEX) + "/")
        yield page


OPEN = """([url, count]) => {
    window.streams = [];
    for (let number = 0; number < count; number++) {
        const seen = {pieces: [], opened: 0};
        const source = new EventSource(url);
        source.onopen = () => { seen.opened += 1; };
        source.onmessage = (event) => { seen.pieces.push(performance.now()); };
        window.streams.push(seen);
    }
}"""
FLOWING = "(more) => window.streams.every((seen) => seen.pieces.length >= more)"
FETCH = """async ([url, limit_ms]) => {
    try {
        const answer = await fetch(url, {signal: AbortSignal.timeout(limit_ms)});
        await answer.text();
        return {status: answer.status};
    } catch (problem) {
        return {status: 0, problem: String(problem)};
    }
}"""


def open_streams(stack: Stack, page: Page, count: int, pieces: int) -> None:
    page.evaluate(OPEN, [f"{origin(stack, API)}/api/events", count])
    page.wait_for_function(FLOWING, arg=pieces, timeout=20_000)


def fetched(page: Page, url: str, limit_s: int = 60) -> dict[str, Any]:
    """The API's answer to the page, or why there was none within the limit."""
    found: dict[str, Any] = page.evaluate(FETCH, [url, limit_s * 1000])
    return found


def test_streams_flow_next_to_other_requests(stack: Stack) -> None:
    """Five streams are open, piece by piece as they are made (nginx holds none back: its buffer has
    room for 700), and the page reads ten other answers before one of them has ended."""
    with shop(stack) as page:
        open_streams(stack, page, STREAMS, 4)
        products = f"{origin(stack, API)}/api/products/"
        answers = [fetched(page, products) for _ in range(10)]
        assert [answer["status"] for answer in answers] == [200] * 10, answers
        streams = page.evaluate("() => window.streams")
        assert [seen["opened"] for seen in streams] == [1] * STREAMS
        assert max(len(seen["pieces"]) for seen in streams) < 700
        screenshot(page, "event-streams")


@pytest.mark.soak
def test_without_threads_two_streams_block_the_api(stack: Stack) -> None:
    """Why `threads` is not 1: each stream has one of the two workers, and nothing else is answered.
    The edit is a config-only deploy, as the other way round is."""
    stack.write(threads=1)
    assert "restarted gunicorn, nginx" in stack.fab("deploy").stdout
    with shop(stack) as page:
        open_streams(stack, page, 2, 1)
        answer = fetched(page, f"{origin(stack, API)}/api/products/", 4)
        assert answer["status"] == 0 and "Timeout" in answer["problem"]


def test_a_deploy_waits_for_no_stream(stack: Stack) -> None:
    """Streams end with their worker, browsers connect again by themselves, and requests meanwhile
    are all answered."""
    failed = FailedRequests()
    with shop(stack) as page:
        failed.listen(page.context.new_cdp_session(page))
        open_streams(stack, page, STREAMS, 2)
        page.evaluate(
            """(url) => {
                window.asked = [];
                const next = async () => {
                    const asked = `${url}?${window.asked.length}`;
                    const answer = await fetch(asked).catch((problem) => ({status: `${problem}`}));
                    window.asked.push([asked, answer.status]);
                    if (!window.enough) setTimeout(next, 20);
                };
                next();
            }""",
            f"{origin(stack, API)}/api/health",
        )
        stack.write(workers=3)
        started = time.monotonic()
        assert "restarted gunicorn" in stack.fab("deploy").stdout
        spent = time.monotonic() - started
        page.evaluate("() => { for (const seen of window.streams) seen.pieces = []; }")
        page.wait_for_function(FLOWING, arg=3, timeout=20_000)
        page.evaluate("() => { window.enough = true; }")
        asked = page.evaluate("() => window.asked")
        opened = page.evaluate("() => window.streams.map((seen) => seen.opened)")
    print(f"\n{spent:.1f} s for a deploy, {len(asked)} requests")
    words = {failed.reasons.get(url, status) for url, status in asked}
    assert words == {200} and len(asked) > 20
    assert min(opened) >= 2


def workers_of(stack: Stack) -> set[str]:
    text = stack.kit.ssh(stack.contract.backend.hosts[0], "ls /run/shop/workers")
    return set(text.split())


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_request_that_hangs_costs_no_thread(stack: Stack) -> None:
    """After timeout_s the page reads a 504; the worker answers what else it has and is replaced by
    another one. Nobody else notices."""
    before = workers_of(stack)
    with shop(stack) as page:
        page.evaluate(
            """(url) => {
                window.late = fetch(url).then((answer) => answer.status);
            }""",
            f"{origin(stack, API)}/api/slow?seconds=40",
        )
        statuses = []

        def replaced() -> bool:
            statuses.append(fetched(page, f"{origin(stack, API)}/api/health")["status"])
            return len(workers_of(stack) & before) == 1

        eventually(replaced)
        assert page.evaluate("() => window.late") == 504
    assert set(statuses) == {200}
    eventually(lambda: len(workers_of(stack)) == 2)
    log = stack.kit.ssh(
        stack.contract.backend.hosts[0], "journalctl -u shop.service -n 50 --no-pager -o cat"
    )
    assert "no answer for 6 s, this worker is replaced: GET '/api/slow'" in log
    stack.fab("doctor")


def test_www_leads_to_the_domain_itself(stack: Stack) -> None:
    """Whoever opens www lands on the one origin, on the same path, and reads the API from there."""
    contract = stack.contract
    apex, www = origin(stack, APEX), origin(stack, WWW)
    assert contract.frontend.origin == contract.cors.allowed_origins[0] == apex
    with shop(stack, f"{www}/?from=www") as page:
        for opened in (f"{www}/?from=www", f"http://{WWW}/?from=www"):
            page.goto(opened)
            page.wait_for_selector("#products li")
            assert page.url == f"{apex}/?from=www"
            assert page.evaluate("() => window.origin") == apex
        screenshot(page, "apex")
    _, _, refused = ask(stack.kit, contract.backend, "/api/products/", Origin=www)
    assert refused["Access-Control-Allow-Origin"] is None
    said = stack.fab("up").stdout
    for role, name in ((contract.frontend, APEX), (contract.frontend, WWW)):
        assert f"\n{role.hosts[0].address}  {name}" in said
    assert f"\n{contract.backend.hosts[0].address}  {API2}" in said


def test_the_other_way_round_is_one_deploy(stack: Stack) -> None:
    """The page moves to www: the domain itself leads there, in the browser that was here before
    as well, because it asks again."""
    apex, www = origin(stack, APEX), origin(stack, WWW)
    with shop(stack, f"{www}/") as page:
        assert page.url == f"{apex}/"
        stack.write(frontend_name="www")
        stack.fab("deploy")
        page.goto(f"{apex}/")
        page.wait_for_selector("#products li")
        assert page.evaluate("() => window.origin") == www


def test_further_names_of_the_backend_answer(stack: Stack) -> None:
    """The page reads the API by either name, and somebody logs in to the admin by the other name: a
    form that is posted to where it came from."""
    up = Environment.of(stack)
    up.add_user()
    staff = "from django.contrib.auth.models import User; User.objects.update(is_staff=True)"
    up.backend(manage(up.contract.application.name, f'shell -c "{staff}"'))
    with shop(stack) as page:
        for name in (API, API2):
            assert fetched(page, f"{origin(stack, name)}/api/products/")["status"] == 200
        page.goto(f"{origin(stack, API2)}/admin/login/?next=/admin/")
        page.fill("input[name=username]", "ada")
        page.fill("input[name=password]", PASSWORD)
        page.click("input[type=submit]")
        page.wait_for_selector("#user-tools")
        assert page.url == f"{origin(stack, API2)}/admin/"
    assert ask(stack.kit, up.contract.backend, "/api/health", Host="api3.shop.test")[0] == 400


# The address that the API sees of a machine which claims another one.
OUTSIDE = """
import http.client, socket, ssl
scheme, _, name = "{origin}".partition("://")
connection = http.client.HTTPConnection(name)
connection.sock = socket.create_connection(("{address}", 80 if scheme == "http" else 443))
if scheme == "https":
    anybody = ssl._create_unverified_context()
    connection.sock = anybody.wrap_socket(connection.sock, server_hostname=name)
connection.request("GET", "/api/me/", headers={headers})
print(connection.getresponse().read().decode())
"""


def test_only_the_proxy_in_front_names_clients(stack: Stack) -> None:
    """Before, from outside of its networks, and with another header: the address is the
    connection's. From its networks X-Forwarded-For has it, in the log as well."""
    contract = stack.contract
    backend, frontend = contract.backend.hosts[0], contract.frontend.hosts[0]
    claimed = {"X-Forwarded-For": "198.51.100.77, 203.0.113.9", "X-Real-IP": "198.51.100.78"}

    def seen() -> str:
        body = ask(stack.kit, contract.backend, "/api/me/", 20, **claimed)[1]
        return str(json.loads(body)["address"])

    here = seen()
    assert here not in claimed.values()
    stack.write(behind=[f"{here}/32"])
    stack.fab("deploy")
    assert seen() == "203.0.113.9"
    log = stack.kit.ssh(backend, "tail -n 5 /var/log/nginx/access.log")
    assert "203.0.113.9 - - [" in log
    script = OUTSIDE.format(origin=origin(stack, API), address=backend.address, headers=claimed)
    outside = stack.kit.ssh(frontend, f"python3 -c {shlex.quote(script)}")
    assert json.loads(outside)["address"] == frontend.address
    stack.fab("doctor")
