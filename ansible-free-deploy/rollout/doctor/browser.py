"""The same questions, asked by a page in a real Chromium. Optional: it needs `playwright` and a
Chromium here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra.core import exits
from infra.core.errors import KitError
from infra.core.origins import DEFAULT_PORTS
from rollout.doctor import blank_pages
from rollout.doctor.blank_pages import Pages
from rollout.doctor.failed_requests import FailedRequests
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
_ASK = """
async (questions) => Promise.all(questions.map(async (question) => {
    const {url, method, headers, credentials, body} = question;
    const options = {method, headers, credentials, cache: "no-store"};
    if (body) options.body = new Blob([new Uint8Array(body)]);
    const asked = new URL(url);
    asked.hash = "";
    try { return [asked.href, (await fetch(url, options)).status]; }
    catch (error) { return [asked.href, 0]; }
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

    The pages are blank and served from here; the backend is real. What is not sent (see
    Endpoint.sent) and what no page can ask is left out. Raises BrowserError.
    """
    executable = installed()
    if not executable:
        raise BrowserError("there is no Chromium on this machine", cure="run `make chromium`")
    from playwright.sync_api import sync_playwright  # browser_setup has seen to it

    asked = distinct(cell.question.row.origin for cell in observed.public)
    origins = [origin for origin in asked if can_open(origin)]
    outcomes: Outcomes = {}
    with blank_pages.serving(observed) as pages, sync_playwright() as playwright:
        rules = ", ".join(_rules(observed, origins, pages))
        keys = ",".join([pages.key, *_keys_of_own_ca(observed)])
        arguments = [
            *FLAGS,
            f"--host-resolver-rules={rules}",
            f"--ignore-certificate-errors-spki-list={keys}",
        ]
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


def _rules(
    observed: Observations,
    origins: list[str],
    pages: Pages,
) -> Iterator[str]:
    """Every origin's page is served from here; the backend is the real one."""
    for origin in origins:
        parts = urlsplit(origin)
        own_port = parts.port or DEFAULT_PORTS[parts.scheme]
        yield f"MAP {parts.hostname}:{own_port} 127.0.0.1:{pages.ports[parts.scheme]}"
    backend = observed.contract.backend
    yield f"MAP {backend.parsed_origin.hostname} {backend.address}"


def _keys_of_own_ca(observed: Observations) -> Iterator[str]:
    """The key of an API's certificate that the user's own CA has issued: the kit trusts it, whether
    Chromium knows that CA or not (the finding local-ca-unknown says so)."""
    found = observed.handshake_of("backend")
    if found and found.by_local_ca and found.leaf:
        yield blank_pages.spki_of(found.leaf)


def _row_of_a_quiet_network(
    chromium: Any,
    observed: Observations,
    origin: str,
) -> Outcomes:
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
        failed = FailedRequests()
        failed.listen(context.new_cdp_session(page))
        page.goto(f"{origin}/")
        fetches = [_fetch(question, number) for number, question in enumerate(asked)]
        answers = page.evaluate(_ASK, fetches)
        unread = {url for url, status in answers if not status}
        deadline = time.monotonic() + _REASONS_S
        while unread - failed.reasons.keys() and time.monotonic() < deadline:
            page.evaluate("0")  # lets DevTools' events arrive
    finally:
        context.close()
    outcomes: Outcomes = {}
    for question, (url, status) in zip(asked, answers, strict=True):
        outcome = Outcome(True, str(status))
        if not status:
            outcome = Outcome(False, failed.reasons.get(url, "blocked"))
        outcomes[origin, question.endpoint.title] = outcome
    return outcomes


def _fetch(question: Question, number: int) -> dict[str, Any]:
    """What the page's script fetches. The number at its end makes each URL another one, so that
    Chromium's reason can be matched to the question."""
    url = question.request.url
    separator = "&" if "?" in url else "?"
    return {
        "url": f"{url}{separator}{number}",
        "method": question.endpoint.method,
        "headers": dict(question.endpoint.headers),
        "body": question.endpoint.body,
        "credentials": "include" if question.request.credentials else "omit",
    }
