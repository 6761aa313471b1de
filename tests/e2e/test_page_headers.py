"""What a browser lets the page do under the headers that it is served with, on real machines."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Error, Page

from rollout.doctor.failed_requests import FailedRequests
from tests.e2e.conftest import Environment, chromium, page_of
from tests.e2e.test_browser import call, log_in
from tests.e2e.test_config_edit import preview
from tests.support.clients import authority_of
from tests.support.kit import Stack, unwrapped
from tests.support.servers import Quiet, answering

pytestmark = [pytest.mark.machines, pytest.mark.browser, pytest.mark.either_scheme]

FOUR_MIB = 4 << 20

# Calls a server: the status that the page reads, or what denied the call.
FETCH = """url => new Promise((resolve) => {
  addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
  const failed = () => setTimeout(() => resolve("failed"), 2000);
  fetch(url).then((answer) => resolve(answer.status), failed);
})"""
# Shows a picture of a server: whether it is there, or what denied it.
PICTURE = """url => new Promise((resolve) => {
  addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
  const picture = new Image();
  picture.onload = () => resolve("shown");
  picture.onerror = () => setTimeout(() => resolve("failed"), 2000);
  picture.src = url;
})"""
# Opens a WebSocket: what denied it, or that it was closed, which gunicorn does with each.
SOCKET = """url => new Promise((resolve) => {
  addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
  new WebSocket(url).onclose = () => setTimeout(() => resolve("closed"), 500);
})"""
# Shows the page in a frame of its own.
FRAME = """() => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.onload = () => resolve(frame.contentDocument?.title ?? "nothing");
  frame.src = "/";
  document.body.append(frame);
})"""


@dataclass
class Elsewhere:
    """A server of somebody else's: everybody may read it, and it frames any page."""

    origin: str
    referrers: dict[str, str | None] = field(default_factory=dict)  # by path


@contextmanager
def somebody_else(address: str, tls: ssl.SSLContext | None = None) -> Iterator[Elsewhere]:
    class Handler(Quiet):
        def do_GET(self) -> None:
            path, _, framed = self.path.partition("?")
            found.referrers[path] = self.headers["Referer"]
            kind, text = "image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>"
            if framed:
                kind, text = "text/html", f"<iframe src='{framed}'></iframe>"
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

    with answering(Handler, address, tls=tls) as port:
        found = Elsewhere(f"{'https' if tls else 'http'}://{address}:{port}")
        yield found


@pytest.fixture(scope="module")
def up(stack: Stack) -> Environment:
    """The shared pair, with a user who may log in."""
    made = Environment.of(stack)
    made.add_user()
    return made


@pytest.fixture(scope="module")
def here(up: Environment) -> str:
    """This host's address in the machines' network, so that no other rule of browsers counts."""
    return up.contract.frontend.hosts[0].address.rpartition(".")[0] + ".1"


@pytest.fixture(scope="module")
def elsewhere(
    up: Environment, here: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Elsewhere]:
    """By the scheme of the page."""
    tls = None
    if up.contract.speaks_https:
        tls = authority_of(up.kit).issue(here).context(tmp_path_factory.mktemp("elsewhere"))
    with somebody_else(here, tls) as found:
        yield found


@pytest.fixture
def as_before(stack: Stack) -> Iterator[None]:
    """The next module finds config and hosts as they were."""
    yield
    stack.write()
    stack.fab("deploy")


def framed(page: Page, elsewhere: Elsewhere, url: str) -> str:
    """What somebody else's frame shows of the page: its title, or `refused`."""
    frames: list[str] = []
    page.on("console", lambda message: frames.append(message.text))
    page.goto(f"{elsewhere.origin}/frame?{url}")
    inner = page.frames[1]
    inner.wait_for_load_state()
    if any("frame-ancestors" in text for text in frames):
        return "refused"
    return inner.title()


def test_the_page_calls_its_backend_and_nobody_else(up: Environment, elsewhere: Elsewhere) -> None:
    """By default: no other server, no frame but its own; others learn its origin and no path."""
    socket = up.contract.backend.origin.replace("http", "ws", 1) + "/of-the-page"
    with page_of(up, up.page_url + "?token=secret") as page:
        assert page.evaluate(FETCH, f"{elsewhere.origin}/called") == "connect-src"
        assert page.evaluate(FETCH, f"{up.contract.backend.origin}/api/health/") == 200
        assert page.evaluate(SOCKET, elsewhere.origin.replace("http", "ws", 1)) == "connect-src"
        assert page.evaluate(SOCKET, socket) == "closed"
        assert page.evaluate(PICTURE, f"{elsewhere.origin}/picture") == "shown"
        assert page.evaluate(FRAME) == "Shop"
    assert "/called" not in elsewhere.referrers
    assert elsewhere.referrers["/picture"] == up.page_url
    assert "GET /of-the-page" in up.backend("cat /var/log/nginx/access.log")
    with chromium(up) as browser:
        assert framed(browser.new_page(), elsewhere, up.page_url) == "refused"


@pytest.mark.usefixtures("as_before")
def test_the_config_lets_it_call_and_be_framed(
    stack: Stack, up: Environment, elsewhere: Elsewhere
) -> None:
    """Four keys, one deploy, only the frontend's nginx restarts; `fab up` has nothing to do."""
    stack.write(
        connect_src=[elsewhere.origin.upper(), elsewhere.origin.replace("http", "ws", 1)],
        frame_ancestors=["self", elsewhere.origin],
        csp="default-src 'self'; img-src 'self'",
        referrer_policy="no-referrer",
    )
    deployed = stack.fab("deploy").stdout
    assert deployed.count("restarted") == 1 and "restarted nginx" in deployed
    assert "nothing to change" in preview(stack)
    assert "all as intended" in stack.fab("doctor", "--browser").stdout
    with page_of(up) as page:
        assert page.evaluate(FETCH, f"{elsewhere.origin}/called") == 200
        assert page.evaluate(SOCKET, elsewhere.origin.replace("http", "ws", 1)) == "closed"
        assert page.evaluate(FETCH, f"{up.contract.backend.origin}/api/health/") == 200
        assert page.evaluate(PICTURE, f"{elsewhere.origin}/refused") == "img-src"
    assert elsewhere.referrers["/called"] is None
    with chromium(up) as browser:
        assert framed(browser.new_page(), elsewhere, up.page_url) == "Shop"


@pytest.mark.https
@pytest.mark.usefixtures("as_before")
def test_mixed_content_is_blocked_and_the_doctor_says_so(
    stack: Stack, up: Environment, here: str
) -> None:
    """The config allows a server of plain http, and the browser does not: no call reaches it. (By a
    name: an address of this network would be the browser's other rule.)"""
    with somebody_else(here) as plain:
        port = plain.origin.rpartition(":")[2]
        called, socket = f"http://maps.test:{port}", f"ws://maps.test:{port}"
        stack.write(connect_src=[called, socket])
        stack.fab("deploy")
        with chromium(up, rules=[f"MAP maps.test {here}"]) as browser:
            page, failed = browser.new_page(), FailedRequests()
            page.goto(up.page_url)
            failed.listen(page.context.new_cdp_session(page))
            assert page.evaluate(FETCH, f"{called}/called") == "failed"
            with pytest.raises(Error, match="insecure WebSocket connection may not be initiated"):
                page.evaluate(SOCKET, socket)
        assert failed.reasons[f"{called}/called"] == "mixed-content"
        assert plain.referrers == {}
    said = unwrapped(stack.fab("doctor").stdout)
    assert f"connect_src lists {called}, {socket}: the page is https, so browsers block" in said


def test_a_json_body_of_4_mb_arrives(up: Environment) -> None:
    """Above Django's own limit, below max_body_mb."""
    body = {"name": "Kettle", "price": "19.90", "stock": 1, "note": "x" * FOUR_MIB}
    with page_of(up) as page:
        log_in(page)
        made = call(page, "POST", "/api/products/", body=body)
        assert (made["kind"], made["status"]) == ("ok", 201)
        assert call(page, "DELETE", f"/api/products/{made['body']['id']}/")["status"] == 204
