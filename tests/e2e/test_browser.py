"""What a page in a real Chromium can and can't read, on two real machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.e2e.conftest import PASSWORD, Environment, page_of, screenshot
from tests.support.kit import ROOT
from tests.support.sampling import sampled
from tests.support.servers import Quiet, answering

pytestmark = [pytest.mark.machines, pytest.mark.browser]

KETTLE = {"name": "Kettle", "price": "19.90", "stock": 2}


def call(page: Page, method: str, path: str, **options: Any) -> dict[str, Any]:
    """One request by the page's own code: {"kind": ok | http-error | blocked, "status", "body"}."""
    return dict(page.evaluate("([m, p, o]) => window.shop.call(m, p, o)", [method, path, options]))


def written(page: Page) -> list[Any]:
    """The statuses of adding a product, changing it and removing it."""
    made = call(page, "POST", "/api/products/", body=KETTLE)
    if made["status"] != 201:
        return [made["status"]]
    place = f"/api/products/{made['body']['id']}/"
    changed = call(page, "PUT", place, body={**KETTLE, "stock": 3})
    return [made["status"], changed["status"], call(page, "DELETE", place)["status"]]


BY_ADDRESS, BY_NAME = ["local_https", "local"], ["local_names_https", "local_names"]
HTTPS = [BY_ADDRESS[0], BY_NAME[0]]


def asked(request: pytest.FixtureRequest) -> Environment:
    """The environment that a parameter names."""
    found: Environment = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=sampled(BY_ADDRESS + BY_NAME, HTTPS))
def up(request: pytest.FixtureRequest) -> Environment:
    """Each of the environments: known by addresses or by names, over https or http."""
    return asked(request)


@pytest.fixture(params=sampled(BY_ADDRESS + BY_NAME, HTTPS[1:]))
def one(request: pytest.FixtureRequest) -> Environment:
    """Each of them in soak; before a landing the one with names over https, for what has nothing to
    do with names."""
    return asked(request)


@pytest.fixture(params=sampled(BY_ADDRESS, HTTPS[:1]))
def addresses(request: pytest.FixtureRequest) -> Environment:
    """Those known by addresses."""
    return asked(request)


@pytest.fixture(params=sampled(BY_NAME, HTTPS[1:]))
def names(request: pytest.FixtureRequest) -> Environment:
    """Those known by names."""
    return asked(request)


def log_in(page: Page) -> None:
    page.fill("#login-form input[name=username]", "ada")
    page.fill("#login-form input[name=password]", PASSWORD)
    page.click("#login-form button[type=submit]")
    page.wait_for_function("document.querySelector('#whoami').textContent.includes('ada')")


def test_the_page_shows_data_from_the_backend(up: Environment) -> None:
    """The first thing anyone wants: products that came from another origin."""
    with page_of(up) as page:
        page.wait_for_selector("#products li")
        assert page.locator("#products li").count() >= 3
        assert page.inner_text("#origin") == up.contract.frontend.origin
        assert page.inner_text("#backend") == up.contract.backend.origin
        screenshot(page, f"{up.stack}-products")


def test_a_login_and_what_asks_first_work(up: Environment) -> None:
    """Two bare http addresses share no cookies, so a token in Authorization does it; over https and
    under one domain the session's cookie travels, and CSRF holds. POST, PUT with JSON and DELETE
    all need a preflight."""
    with page_of(up) as page:
        log_in(page)
        made = call(
            page, "POST", "/api/products/", body={"name": "Kettle", "price": "19.90", "stock": 2}
        )
        assert (made["kind"], made["status"]) == ("ok", 201)
        place = f"/api/products/{made['body']['id']}/"
        changed = call(page, "PUT", place, body={"name": "Kettle", "price": "21.00", "stock": 1})
        assert (changed["kind"], changed["status"], changed["body"]["price"]) == (
            "ok",
            200,
            "21.00",
        )
        assert call(page, "DELETE", place)["kind"] == "ok"
        hosts = [
            cookie["domain"] for cookie in page.context.cookies() if cookie["name"] == "sessionid"
        ]
        backend, cookies = up.contract.backend.parsed_origin, up.contract.cors.allow_credentials
        assert hosts == ([backend.hostname] if cookies else [])
        screenshot(page, f"{up.stack}-login")


def test_unknown_names_come_as_lines_for_etc_hosts(
    names: Environment,
) -> None:
    """A person's browser has no resolver rules of its own."""
    said = names.kit.fab("up", "--stack", names.stack).stdout
    for role in (names.contract.frontend, names.contract.backend):
        assert f"\n{role.hosts[0].address}  {role.parsed_origin.hostname}" in said


def test_a_post_without_the_csrf_token_is_refused_readably(names: Environment) -> None:
    """CSRF stays on: the refusal is an answer that the page can read."""
    with page_of(names) as page:
        log_in(page)
        refused = call(
            page,
            "POST",
            "/api/products/",
            body={"name": "x", "price": "1.00", "stock": 1},
            headers={"X-CSRFToken": "wrong"},
        )
        assert (refused["kind"], refused["status"]) == ("http-error", 403)


@contextmanager
def the_same_page_elsewhere(up: Environment, port: int) -> Iterator[str]:
    """The example's files and the environment's own config.json, served from another port of this
    host."""
    config = up.kit.ssh(
        up.contract.frontend.hosts[0], "cat /etc/origin-kit/current/frontend/config.json"
    )

    class Handler(Quiet, SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(ROOT / "examples" / "frontend"))

        def do_GET(self) -> None:
            if self.path != "/config.json":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(config.encode())

    with answering(Handler, port=port) as found:
        yield f"http://127.0.0.1:{found}/"


def test_the_page_from_another_origin_is_blocked(addresses: Environment) -> None:
    """The same bytes from another port are another origin: the browser lets nothing through, and
    the page says so."""
    with the_same_page_elsewhere(addresses, 0) as url, page_of(addresses, url) as page:
        assert call(page, "GET", "/api/products/")["kind"] == "blocked"
        assert call(page, "PUT", "/api/products/1/", body={"name": "x"})["kind"] == "blocked"
        page.wait_for_selector("#log [data-kind=blocked]")
        screenshot(page, f"{addresses.stack}-blocked")


@pytest.mark.soak
def test_an_extra_origin_of_the_stack_is_allowed(local: Environment) -> None:
    """http://127.0.0.1:8080 stands in the stack's extra_origins."""
    with the_same_page_elsewhere(local, 8080) as url, page_of(local, url) as page:
        assert call(page, "GET", "/api/products/")["kind"] == "ok"


def test_errors_are_readable_as_errors(one: Environment) -> None:
    """A 500 by Django, a 404, a 413 by nginx: the page reads the status, the browser blames nobody
    else."""
    with page_of(one) as page:
        assert call(page, "GET", "/api/error")["status"] == 500
        assert call(page, "GET", "/api/nothing-here/")["status"] == 404
        large = page.evaluate(
            "() => window.shop.call('POST', '/api/products/', {body: {name: 'x'.repeat(11 * 1024 *"
            " 1024)}})"
        )
        assert (large["kind"], large["status"]) == ("http-error", 413)
        screenshot(page, f"{one.stack}-errors")


def test_a_backend_that_is_down_is_a_502_that_the_page_can_read(one: Environment) -> None:
    """gunicorn gone: nginx answers, and the answer carries the header."""
    app = one.contract.application.name
    with page_of(one) as page:
        one.backend(f"systemctl stop {app}.service {app}.socket")
        try:
            answer = call(page, "GET", "/api/products/")
            preflighted = call(page, "PUT", "/api/products/1/", body={"name": "x"})
        finally:
            one.backend(f"systemctl start {app}.socket {app}.service")
        assert (answer["kind"], answer["status"]) == ("http-error", 502)
        assert (preflighted["kind"], preflighted["status"]) == ("http-error", 502)
        screenshot(page, f"{one.stack}-502")


def test_a_custom_header_is_sent_and_its_answer_read(one: Environment) -> None:
    """X-Cart is in allow_headers, X-Cart-Seen in expose_headers, both from the stack's config."""
    with page_of(one) as page:
        answer = call(page, "GET", "/api/products/", headers={"X-Cart": "7"})
        assert (answer["kind"], answer["headers"]["x-cart-seen"]) == ("ok", "7")
        assert call(page, "GET", "/api/products/", headers={"X-Other": "7"})["kind"] == "blocked"


def test_a_slow_answer_is_waited_for_and_read(one: Environment) -> None:
    """Longer than a keep-alive is idle, shorter than the slowest request that is allowed."""
    with page_of(one) as page:
        answer = call(page, "GET", "/api/slow?seconds=3")
        assert (answer["kind"], answer["body"]) == ("ok", {"seconds": 3})


def test_screenshots_are_kept(addresses: Environment, tmp_path: Path) -> None:
    """A picture of the page is among the artefacts and is no empty file."""
    with page_of(addresses) as page:
        page.wait_for_selector("#products li")
        assert screenshot(page, f"{addresses.stack}-page").stat().st_size > 10_000
