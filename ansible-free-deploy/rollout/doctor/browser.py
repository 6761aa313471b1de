"""The same questions, put by a page in a real Chromium. Optional: it needs `playwright` and a
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
from rollout.doctor.questions import Row
from rollout.doctor.seen import Seen

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
_REASONS_S = 5.0  # Chromium's reason may come after the page has heard of the failure
_NAMES = ("chromium", "google-chrome", "chromium-browser", "chrome")
_ASK = """
async (questions) => Promise.all(questions.map(async (question) => {
    const {url, method, headers, credentials, body} = question;
    const options = {method, headers, credentials, cache: "no-store"};
    if (body) options.body = new Blob([new Uint8Array(body)]);
    try { return (await fetch(url, options)).status; } catch (error) { return 0; }
}))
"""


class BrowserError(KitError):
    """No browser to ask; says what to install."""

    exit_status = exits.UNREACHABLE


@dataclass(frozen=True)
class Outcome:
    """What a page's script got: whether it could read the answer, and its status or Chromium's
    reason."""

    allowed: bool
    word: str


def browse(seen: Seen) -> dict[tuple[str, str], Outcome]:
    """Each origin's page asks each endpoint. The pages are blank and served by the browser itself;
    the backend is real. What is not sent (see Endpoint.sent) and what no page can ask is left out.
    Raises BrowserError.
    """
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        raise BrowserError(
            "there is no Chromium on this machine; install one (chromium), or leave --browser out"
        )
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise BrowserError(
            "--browser drives Chromium by playwright; `pip install playwright` puts it here"
        ) from None
    asked = dict.fromkeys(cell.question.row for cell in seen.cells if cell.view == "public")
    rows = [row for row in asked if row.origin != "null"]
    found: dict[tuple[str, str], Outcome] = {}
    with _blank_pages(seen) as port, sync_playwright() as playwright:
        arguments = [*FLAGS, f"--host-resolver-rules={', '.join(_rules(seen, rows, port))}"]
        chromium = playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            for row in rows:
                found |= _row_of_a_quiet_network(chromium, seen, row.origin)
        finally:
            chromium.close()
    return found


def _rules(seen: Seen, rows: list[Row], port: int) -> Iterator[str]:
    """Every origin's page is served from here; the backend is the real one."""
    for row in rows:
        parts = urlsplit(row.origin)
        yield f"MAP {parts.hostname}:{parts.port or DEFAULT_PORTS[parts.scheme]} 127.0.0.1:{port}"
    yield (
        f"MAP {urlsplit(seen.contract.backend.origin).hostname}"
        f" {seen.contract.backend.hosts[0].address}"
    )


class _Pages(ThreadingHTTPServer):
    """Serves the pages that ask. A browser that opens a connection and closes it unused is a normal
    day."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def _blank_pages(seen: Seen) -> Iterator[int]:
    """A server for blank pages, the frontend's with the policy that the live one sends; its
    port."""
    own = urlsplit(seen.contract.frontend.origin).netloc

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>doctor</title>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            if seen.page.csp and self.headers["Host"] == own:
                self.send_header("Content-Security-Policy", seen.page.csp)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = _Pages(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _row_of_a_quiet_network(
    chromium: Any, seen: Seen, origin: str
) -> dict[tuple[str, str], Outcome]:
    """As `_row`. Chromium gives up connections while a network interface of this machine comes or
    goes (a machine that boots is enough), which says nothing of the backend: such a row is asked
    again."""
    found = _row(chromium, seen, origin)
    for _ in range(_TRIES):
        if not any(outcome.word == NETWORK_CHANGED for outcome in found.values()):
            break
        found = _row(chromium, seen, origin)
    return found


def _row(chromium: Any, seen: Seen, origin: str) -> dict[tuple[str, str], Outcome]:
    cells = [
        c.question for c in seen.cells if c.view == "public" and c.question.row.origin == origin
    ]
    cells = [question for question in cells if question.endpoint.sent]
    context = chromium.new_context()
    try:
        page = context.new_page()
        if origin.startswith(
            "https:"
        ):  # there is no certificate for it here; nothing but the page is served this way
            blank = {
                "status": 200,
                "content_type": "text/html",
                "body": "<!doctype html><title>doctor</title>",
            }
            page.route(f"{origin}/", lambda route: route.fulfill(**blank))
        reasons = _reasons(context, page)
        page.goto(f"{origin}/")
        statuses = page.evaluate(
            _ASK,
            [
                {
                    "url": f"{q.request.url}{'&' if '?' in q.request.url else '?'}{number}",
                    "method": q.endpoint.method,
                    "headers": dict(q.endpoint.headers),
                    "body": q.endpoint.body,
                    "credentials": "include" if q.request.credentials else "omit",
                }
                for number, q in enumerate(cells)
            ],
        )
        unread = {str(number) for number, status in enumerate(statuses) if not status}
        deadline = time.monotonic() + _REASONS_S
        while unread - reasons.keys() and time.monotonic() < deadline:
            page.evaluate("0")  # lets DevTools' events arrive
        return {
            (origin, q.endpoint.title): Outcome(
                status > 0, f"{status}" if status else reasons.get(str(number), "blocked")
            )
            for number, (q, status) in enumerate(zip(cells, statuses, strict=True))
        }
    finally:
        context.close()


def _reasons(context: Any, page: Any) -> dict[str, str]:
    """Chromium's own reasons as they come, by the number that ends each URL."""
    urls: dict[str, str] = {}
    found: dict[str, str] = {}
    session = context.new_cdp_session(page)
    session.send("Network.enable")

    def sent(event: dict[str, Any]) -> None:
        urls[event["requestId"]] = event["request"]["url"]

    def failed(event: dict[str, Any]) -> None:
        number = urls.get(event["requestId"], "").rpartition("?")[2]
        reason = (
            event.get("corsErrorStatus", {}).get("corsError")
            or event.get("blockedReason")
            or event["errorText"]
        )
        found.setdefault(number, reason)

    session.on("Network.requestWillBeSent", sent)
    session.on("Network.loadingFailed", failed)
    return found
