"""A browser's verdict on an answer, as a pure function: the Fetch standard, with Chromium's names
for what goes wrong.

    request = Request("https://app.example.com", "https://api.example.com/", "PUT",
    credentials=True) judge(request, [Exchange(response, preflight)]).sentence

Where Chromium and the standard differ, `allowed` says what Chromium does, and a note says that they
differ. `tests/e2e/test_verdict_chromium.py` holds it equal to a real Chromium.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from rollout.verdict.check import (
    AUTHORIZATION_NOTE,
    cors_check,
    max_age_s,
    notes_on,
    preflight_check,
    readable_headers,
    tokens,
)
from rollout.verdict.reasons import Reason
from rollout.verdict.safelist import (
    CHROMIUM_DROPS,
    CHROMIUM_DROPS_ON_REDIRECT,
    FORBIDDEN_METHODS,
    is_forbidden,
    needs_preflight,
    normal_method,
    preflight_headers,
    sent_headers,
    unsafe_headers,
)
from rollout.verdict.surroundings import CHROMIUM_LOADS, before, cookie_obstacle, same_site
from rollout.verdict.values import (
    Exchange,
    Headers,
    Obstacle,
    Request,
    Response,
    Verdict,
    origin_of,
    without_password,
)

__all__ = [
    "Exchange",
    "Headers",
    "Reason",
    "Request",
    "Response",
    "Verdict",
    "cookie_obstacle",
    "judge",
    "max_age_s",
    "needs_preflight",
    "origin_of",
    "preflight_headers",
    "same_site",
]

MOST_REDIRECTS = 20
_BODY_HEADERS = ("content-encoding", "content-language", "content-location", "content-type")
_READABLE_SOURCE = "https://fetch.spec.whatwg.org/#concept-filtered-response-cors"


@dataclass(frozen=True)
class _Hop:
    """Where a request stands: `request.url` moves along; `cors` is set once it left the page's
    origin."""

    request: Request
    number: int = 0
    cors: bool = False
    tainted: bool = False

    @property
    def origin(self) -> str:
        """https://fetch.spec.whatwg.org/#serializing-a-request-origin"""
        return "null" if self.tainted else self.request.page

    @property
    def shown_url(self) -> str:
        return without_password(self.request.url)

    @property
    def asks_first(self) -> bool:
        return self.cors and bool(needs_preflight(self.request))


def judge(request: Request, exchanges: Sequence[Exchange]) -> Verdict:
    """What the page's script gets from these answers, one exchange for each URL on the way.

    Raises ValueError for a URL that is not http or https, and where the exchange of a redirect is
    missing.
    """
    hop = _start(request)
    if found := _unfit(request):
        return _blocked(hop, "before", found, ())
    notes = _dropped(request)
    for exchange in exchanges:
        phase, found = _judge_hop(hop, exchange)
        notes += _hop_notes(hop, exchange, found)
        if found:
            return _blocked(hop, phase, found, notes)
        assert exchange.response is not None
        answer, location = exchange.response, exchange.response.location
        opaque = answer.redirects and request.redirect == "manual"
        if opaque or location is None:
            return _allowed(hop, phase, answer, notes, opaque)
        if found := _redirect_check(hop, urljoin(hop.request.url, location)):
            return _blocked(hop, phase, found, notes)
        hop = _next(hop, answer.status, urljoin(hop.request.url, location))
    raise ValueError(f"what {hop.shown_url} answers is missing")


def _start(request: Request) -> _Hop:
    return _Hop(request, cors=origin_of(request.url) != origin_of(request.page))


def _unfit(request: Request) -> Obstacle | None:
    """What fetch() itself refuses. https://fetch.spec.whatwg.org/#dom-request"""
    if request.method.upper() in FORBIDDEN_METHODS:
        return Obstacle(Reason.forbidden_method, request.method.upper())
    if _has_password(request.url):
        return Obstacle(Reason.url_with_password, without_password(request.url))
    return None


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.username or parts.password)


def _judge_hop(hop: _Hop, exchange: Exchange) -> tuple[str, Obstacle | None]:
    """One URL: the phase it got to, and what went wrong there."""
    request, asked = hop.request, "preflight" if hop.number == 0 else f"redirect {hop.number}"
    phase = "request" if hop.number == 0 else f"redirect {hop.number}"
    if found := before(request, request.url, redirected=hop.number > 0):
        return "before" if hop.number == 0 else phase, found
    if hop.asks_first and (found := _judge_preflight(hop, exchange.preflight)):
        return asked, found
    if exchange.response is None:
        return phase, Obstacle(Reason.no_answer)
    return phase, (
        cors_check(hop.origin, request.credentials, exchange.response) if hop.cors else None
    )


def _judge_preflight(hop: _Hop, answer: Response | None) -> Obstacle | None:
    if answer is None:
        return Obstacle(Reason.no_answer)
    request = hop.request
    unsafe = unsafe_headers(sent_headers(request.headers))
    return preflight_check(
        hop.origin, request.credentials, normal_method(request.method), unsafe, answer
    )


def _redirect_check(hop: _Hop, url: str) -> Obstacle | None:
    """https://fetch.spec.whatwg.org/#concept-http-redirect-fetch, in Chromium's order."""
    if hop.number == MOST_REDIRECTS:
        return Obstacle(Reason.too_many_redirects)
    scheme, shown = urlsplit(url).scheme, without_password(url)
    if scheme in ("data", "file"):
        return Obstacle(Reason.CorsDisabledScheme, shown)
    web = scheme in ("http", "https")
    if _has_password(url):
        leaves = hop.cors or not web or origin_of(url) != origin_of(hop.request.page)
        return Obstacle(
            Reason.RedirectContainsCredentials if leaves else Reason.url_with_password, shown
        )
    if hop.request.redirect == "error":
        return Obstacle(Reason.redirect_refused, shown)
    return None if web else Obstacle(Reason.CorsDisabledScheme, shown)


def _next(hop: _Hop, status: int, url: str) -> _Hop:
    page, here, there = origin_of(hop.request.page), origin_of(hop.request.url), origin_of(url)
    method, headers = normal_method(hop.request.method), hop.request.headers
    if (status in (301, 302) and method == "POST") or (
        status == 303 and method not in ("GET", "HEAD")
    ):
        method, headers = "GET", _without(headers, _BODY_HEADERS)
    if here != there:
        headers = _without(headers, ("authorization",))
    if there != page:
        headers = _without(headers, CHROMIUM_DROPS_ON_REDIRECT)
    # Addresses were looked up for the first URL only.
    address = hop.request.address if here.host == there.host else None
    return _Hop(
        replace(hop.request, url=url, method=method, headers=headers, address=address),
        hop.number + 1,
        cors=hop.cors or there != page,
        tainted=hop.tainted or (there != here and here != page),
    )


def _without(headers: Headers, names: tuple[str, ...]) -> Headers:
    return tuple((name, value) for name, value in headers if name.lower() not in names)


def _dropped(request: Request) -> tuple[str, ...]:
    names = {name.lower() for name, value in request.headers if is_forbidden(name, value)}
    notes = [f"the browser drops the header {name}: no script may set it" for name in sorted(names)]
    if any(name.lower() in CHROMIUM_DROPS for name, _ in request.headers):
        notes.append("Chromium drops the header user-agent; other browsers ask for it and send it")
    return tuple(notes)


def _hop_notes(hop: _Hop, exchange: Exchange, found: Obstacle | None) -> tuple[str, ...]:
    notes = notes_on(hop.origin, exchange.response) if hop.cors and exchange.response else ()
    if hop.asks_first and exchange.preflight and not found:
        names = {
            name.lower()
            for name in tokens(exchange.preflight.get("Access-Control-Allow-Headers")) or ()
        }
        if "authorization" in sent_headers(hop.request.headers) and "authorization" not in names:
            notes += (AUTHORIZATION_NOTE,)
    port = origin_of(hop.request.url).port
    if port in CHROMIUM_LOADS:
        notes += (f"the standard blocks port {port}, and other browsers do; Chromium doesn't yet",)
    return notes + (("the redirect made the origin `null`",) if hop.tainted else ())


def _blocked(hop: _Hop, phase: str, found: Obstacle, notes: tuple[str, ...]) -> Verdict:
    answer = "answer to the preflight" if found.reason.startswith("Preflight") else "answer"
    sentence = found.reason.template.format(
        origin=hop.origin, url=hop.shown_url, detail=found.detail, answer=answer
    )
    return Verdict(
        False, found.reason, phase, sentence, found.reason.source, hop.shown_url, notes=notes
    )


def _allowed(
    hop: _Hop, phase: str, answer: Response, notes: tuple[str, ...], opaque: bool
) -> Verdict:
    names = (
        ()
        if opaque
        else readable_headers(hop.request.credentials, answer, same_origin=not hop.cors)
    )
    status = 0 if opaque else answer.status
    sentence = f"{hop.request.page} may read the answer of {hop.shown_url}: status {status}"
    return Verdict(
        True, None, phase, sentence, _READABLE_SOURCE, hop.shown_url, status, names, notes
    )
