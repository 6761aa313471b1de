"""The same questions, asked by a page in a real Chromium. Optional: it needs `playwright` and a
Chromium here."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from infra.core import exits
from infra.core.errors import KitError
from infra.core.origins import DEFAULT_PORTS
from rollout.doctor.observations import Observations, distinct
from rollout.doctor.questions import Question

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
_TRIES = 5
_REASONS_S = 5.0  # Chromium's reason may come after the page has noticed the failure
_NAMES = ("chromium", "google-chrome", "chromium-browser", "chrome")
_BLANK = "<!doctype html><title>doctor</title>"
_ASK = """
async (questions) => Promise.all(questions.map(async (question) => {
    const {url, method, headers, credentials, body} = question;
    const options = {method, headers, credentials, cache: "no-store"};
    if (body) options.body = new Blob([new Uint8Array(body)]);
    try { return (await fetch(url, options)).status; } catch (error) { return 0; }
}))
"""


class BrowserError(KitError):
    """No browser to ask; says how to get one."""

    exit_status = exits.UNREACHABLE


@dataclass(frozen=True)
class Outcome:
    """What a page's script got: whether it could read the answer, and its status or Chromium's
    reason."""

    allowed: bool
    word: str


Outcomes = dict[tuple[str, str], Outcome]  # by origin and the endpoint's title


def browse(observed: Observations) -> Outcomes:
    """Each origin's page asks each endpoint.

    The pages are blank and served by the browser itself; the backend is real. What is not sent (see
    Endpoint.sent) and what no page can ask is left out. Raises BrowserError.
    """
    executable = installed()
    if not executable:
        raise BrowserError("there is no Chromium on this machine", cure="run `make chromium`")
    from playwright.sync_api import sync_playwright  # browser_setup has seen to it

    asked = distinct(cell.question.row.origin for cell in observed.public)
    origins = [origin for origin in asked if can_open(origin)]
    outcomes: Outcomes = {}
    with _blank_pages(observed) as port, sync_playwright() as playwright:
        rules = ", ".join(_rules(observed, origins, port))
        arguments = [*FLAGS, f"--host-resolver-rules={rules}"]
        chromium = playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            for origin in origins:
                outcomes |= _row_of_a_quiet_network(chromium, observed, origin)
        finally:
            chromium.close()
    return outcomes


def can_open(origin: str) -> bool:
    """Whether a page here can have this origin: none has that of an app, or of a sandboxed page."""
    return origin.startswith(("http://", "https://"))


def installed() -> str:
    """The path of a Chromium on this machine; empty where there is none."""
    found = [shutil.which(name) for name in _NAMES]
    return next((path for path in found if path), "")


def _rules(observed: Observations, origins: list[str], port: int) -> Iterator[str]:
    """Every origin's page is served from here; the backend is the real one."""
    for origin in origins:
        parts = urlsplit(origin)
        own_port = parts.port or DEFAULT_PORTS[parts.scheme]
        yield f"MAP {parts.hostname}:{own_port} 127.0.0.1:{port}"
    backend = observed.contract.backend
    yield f"MAP {backend.parsed_origin.hostname} {backend.hosts[0].address}"


class _Pages(ThreadingHTTPServer):
    """Serves the pages that ask. It is normal that a browser opens a connection and closes it
    unused."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def _blank_pages(observed: Observations) -> Iterator[int]:
    """A server for blank pages, the frontend's with the policy that the live one sends; its
    port."""
    frontend = observed.contract.frontend.parsed_origin.authority
    csp = observed.page.csp

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = _BLANK.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            if csp and self.headers["Host"] == frontend:
                self.send_header("Content-Security-Policy", csp)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing: nobody reads it."""

    server = _Pages(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _row_of_a_quiet_network(chromium: Any, observed: Observations, origin: str) -> Outcomes:
    """As `_row`, asked again while the network changes.

    Chromium gives up connections while a network interface of this machine is added or removed (a
    machine that boots is enough), which says nothing of the backend.
    """
    outcomes = _row(chromium, observed, origin)
    for _ in range(_TRIES):
        if not any(outcome.word == NETWORK_CHANGED for outcome in outcomes.values()):
            break
        outcomes = _row(chromium, observed, origin)
    return outcomes


def _row(chromium: Any, observed: Observations, origin: str) -> Outcomes:
    """One origin's page asks all endpoints at once."""
    asked = []
    for cell in observed.public:
        if cell.question.row.origin == origin and cell.question.endpoint.sent:
            asked.append(cell.question)
    context = chromium.new_context()
    try:
        page = context.new_page()
        if origin.startswith("https:"):
            # There is no certificate for it here. Nothing but the page is served this way.
            page.route(f"{origin}/", _fulfill_blank)
        reasons = _reasons(context, page)
        page.goto(f"{origin}/")
        fetches = []
        for number, question in enumerate(asked):
            fetches.append(_fetch(question, number))
        statuses = page.evaluate(_ASK, fetches)
        unread = {str(number) for number, status in enumerate(statuses) if not status}
        deadline = time.monotonic() + _REASONS_S
        while unread - reasons.keys() and time.monotonic() < deadline:
            page.evaluate("0")  # lets DevTools' events arrive
    finally:
        context.close()
    outcomes: Outcomes = {}
    for number, (question, status) in enumerate(zip(asked, statuses, strict=True)):
        outcome = Outcome(True, str(status))
        if not status:
            outcome = Outcome(False, reasons.get(str(number), "blocked"))
        outcomes[origin, question.endpoint.title] = outcome
    return outcomes


def _fulfill_blank(route: Any) -> None:
    route.fulfill(status=200, content_type="text/html", body=_BLANK)


def _fetch(question: Question, number: int) -> dict[str, Any]:
    """What the page's script fetches. The number ends the URL, so that Chromium's reason can be
    matched to the question."""
    url = question.request.url
    separator = "&" if "?" in url else "?"
    return {
        "url": f"{url}{separator}{number}",
        "method": question.endpoint.method,
        "headers": dict(question.endpoint.headers),
        "body": question.endpoint.body,
        "credentials": "include" if question.request.credentials else "omit",
    }


def _reasons(context: Any, page: Any) -> dict[str, str]:
    """Chromium's own reasons as they come, by the number that ends each URL."""
    urls: dict[str, str] = {}
    reasons: dict[str, str] = {}
    session = context.new_cdp_session(page)
    session.send("Network.enable")

    def sent(event: dict[str, Any]) -> None:
        urls[event["requestId"]] = event["request"]["url"]

    def failed(event: dict[str, Any]) -> None:
        number = urls.get(event["requestId"], "").rpartition("?")[2]
        cors_error = event.get("corsErrorStatus", {}).get("corsError")
        reason = cors_error or event.get("blockedReason") or event["errorText"]
        reasons.setdefault(number, reason)

    session.on("Network.requestWillBeSent", sent)
    session.on("Network.loadingFailed", failed)
    return reasons
