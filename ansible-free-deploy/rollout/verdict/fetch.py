"""How the standard and Chromium treat one fetch: from the request to what the page's script gets.
Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from infra.core.origins import Origin
from rollout.verdict.before import CHROMIUM_LOADS, before
from rollout.verdict.check import (
    AUTHORIZATION_NOTE,
    cors_check,
    names_in,
    notes_on,
    preflight_check,
    readable_headers,
)
from rollout.verdict.reasons import Reason
from rollout.verdict.safelist import (
    CHROMIUM_DROPS,
    CHROMIUM_DROPS_ON_REDIRECT,
    FORBIDDEN_METHODS,
    is_forbidden,
    needs_preflight,
    normal_method,
    sent_headers,
    unsafe_headers,
)
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

MOST_REDIRECTS = 20
_BODY_HEADERS = ("content-encoding", "content-language", "content-location", "content-type")
_READABLE_SOURCE = "https://fetch.spec.whatwg.org/#concept-filtered-response-cors"


@dataclass(frozen=True)
class _Hop:
    """Where a request is: `request.url` changes with each redirect.

    `cors` is set once it left the page's origin; `tainted` is set once a redirect between two other
    origins made its origin `null`.
    """

    request: Request
    number: int = 0
    cors: bool = False
    tainted: bool = False

    @property
    def origin(self) -> str:
        """https://fetch.spec.whatwg.org/#serializing-a-request-origin"""
        if self.tainted:
            return "null"
        return self.request.page

    @property
    def shown_url(self) -> str:
        return without_password(self.request.url)

    @property
    def has_preflight(self) -> bool:
        return self.cors and bool(needs_preflight(self.request))

    @property
    def phase(self) -> str:
        """The name of this hop: `request`, or `redirect 1` and so on."""
        if self.number == 0:
            return "request"
        return f"redirect {self.number}"


def judge(request: Request, exchanges: Sequence[Exchange]) -> Verdict:
    """What the page's script gets from these answers, one exchange for each URL on the way.

    Raises ValueError for a URL that is not http or https, and where the exchange of a redirect is
    missing.
    """
    hop = _Hop(request, cors=origin_of(request.url) != request.page_origin)
    obstacle = _refused_by_fetch(request)
    if obstacle:
        return _blocked(hop, "before", obstacle, ())
    notes = _dropped(request)
    for exchange in exchanges:
        phase, obstacle = _judge_hop(hop, exchange)
        notes += _hop_notes(hop, exchange, obstacle)
        if obstacle:
            return _blocked(hop, phase, obstacle, notes)
        answer = exchange.response
        assert answer is not None  # without one there is an obstacle
        if answer.redirects and request.redirect == "manual":
            return _opaque(hop, notes)
        if answer.location is None:
            return _allowed(hop, answer, notes)
        url = urljoin(hop.request.url, answer.location)
        obstacle = _redirect_check(hop, url)
        if obstacle:
            return _blocked(hop, hop.phase, obstacle, notes)
        hop = _next(hop, answer.status, url)
    raise ValueError(f"the answer of {hop.shown_url} is missing")


def _refused_by_fetch(request: Request) -> Obstacle | None:
    """What fetch() itself refuses. https://fetch.spec.whatwg.org/#dom-request"""
    method = request.method.upper()
    if method in FORBIDDEN_METHODS:
        return Obstacle(Reason.forbidden_method, method)
    if _has_password(request.url):
        return Obstacle(Reason.url_with_password, without_password(request.url))
    return None


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.username or parts.password)


def _judge_hop(hop: _Hop, exchange: Exchange) -> tuple[str, Obstacle | None]:
    """One URL: the phase that was reached, and what went wrong there."""
    first = hop.number == 0
    request = hop.request
    obstacle = before(request, request.url, redirected=not first)
    if obstacle:
        return ("before" if first else hop.phase), obstacle
    if hop.has_preflight:
        obstacle = _judge_preflight(hop, exchange.preflight)
        if obstacle:
            return ("preflight" if first else hop.phase), obstacle
    if exchange.response is None:
        return hop.phase, Obstacle(Reason.no_answer)
    if not hop.cors:
        return hop.phase, None
    return hop.phase, cors_check(hop.origin, request.credentials, exchange.response)


def _judge_preflight(hop: _Hop, answer: Response | None) -> Obstacle | None:
    if answer is None:
        return Obstacle(Reason.no_answer)
    request = hop.request
    method = normal_method(request.method)
    unsafe = unsafe_headers(sent_headers(request.headers))
    return preflight_check(hop.origin, request.credentials, method, unsafe, answer)


def _redirect_check(hop: _Hop, url: str) -> Obstacle | None:
    """https://fetch.spec.whatwg.org/#concept-http-redirect-fetch, in Chromium's order."""
    if hop.number == MOST_REDIRECTS:
        return Obstacle(Reason.too_many_redirects)
    scheme, shown = urlsplit(url).scheme, without_password(url)
    if scheme in ("data", "file"):
        return Obstacle(Reason.CorsDisabledScheme, shown)
    web = scheme in ("http", "https")
    if _has_password(url):
        leaves = hop.cors or not web or origin_of(url) != hop.request.page_origin
        if leaves:
            return Obstacle(Reason.RedirectContainsCredentials, shown)
        return Obstacle(Reason.url_with_password, shown)
    if hop.request.redirect == "error":
        return Obstacle(Reason.redirect_refused, shown)
    if not web:
        return Obstacle(Reason.CorsDisabledScheme, shown)
    return None


def _next(hop: _Hop, status: int, url: str) -> _Hop:
    """The hop after a redirect to this URL."""
    page, here, there = hop.request.page_origin, origin_of(hop.request.url), origin_of(url)
    leaves_page = there != page
    between_others = there != here and here != page
    request = _redirected(hop.request, status, url)
    number = hop.number + 1
    cors = hop.cors or leaves_page
    tainted = hop.tainted or between_others
    return _Hop(request, number, cors, tainted)


def _redirected(request: Request, status: int, url: str) -> Request:
    """The request that follows the redirect: its method, and the headers that it still has."""
    page, here, there = request.page_origin, origin_of(request.url), origin_of(url)
    method, headers = normal_method(request.method), request.headers
    if _becomes_get(status, method):
        method, headers = "GET", _without(headers, _BODY_HEADERS)
    if here != there:
        headers = _without(headers, ("authorization",))
    if there != page:
        headers = _without(headers, CHROMIUM_DROPS_ON_REDIRECT)
    address = _known_address(request, here, there)
    return replace(
        request,
        url=url,
        method=method,
        headers=headers,
        address=address,
    )


def _known_address(request: Request, here: Origin, there: Origin) -> str | None:
    """Addresses were looked up for the first URL only."""
    if here.host == there.host:
        return request.address
    return None


def _becomes_get(status: int, method: str) -> bool:
    """https://fetch.spec.whatwg.org/#concept-http-redirect-fetch, step 12"""
    if status in (301, 302):
        return method == "POST"
    return status == 303 and method not in ("GET", "HEAD")


def _without(headers: Headers, names: tuple[str, ...]) -> Headers:
    return tuple((name, value) for name, value in headers if name.lower() not in names)


def _dropped(request: Request) -> tuple[str, ...]:
    """Notes on headers that the script sets and the browser does not send."""
    forbidden, differing = set(), False
    for name, value in request.headers:
        if is_forbidden(name, value):
            forbidden.add(name.lower())
        if name.lower() in CHROMIUM_DROPS:
            differing = True
    notes = []
    for name in sorted(forbidden):
        notes.append(f"the browser drops the header {name}: no script may set it")
    if differing:
        notes.append("Chromium drops the header user-agent; other browsers ask for it and send it")
    return tuple(notes)


def _hop_notes(hop: _Hop, exchange: Exchange, obstacle: Obstacle | None) -> tuple[str, ...]:
    """Where browsers differ, and what is likely to break later."""
    notes: tuple[str, ...] = ()
    if hop.cors and exchange.response:
        notes += notes_on(hop.origin, exchange.response)
    if hop.has_preflight and exchange.preflight and not obstacle:
        allowed = names_in(exchange.preflight, "Access-Control-Allow-Headers")
        sent = sent_headers(hop.request.headers)
        if "authorization" in sent and "authorization" not in allowed:
            notes += (AUTHORIZATION_NOTE,)
    port = origin_of(hop.request.url).port
    if port in CHROMIUM_LOADS:
        notes += (f"the standard blocks port {port}, and other browsers do; Chromium doesn't yet",)
    if hop.tainted:
        notes += ("the redirect made the origin `null`",)
    return notes


def _blocked(
    hop: _Hop,
    phase: str,
    obstacle: Obstacle,
    notes: tuple[str, ...],
) -> Verdict:
    reason, url = obstacle.reason, hop.shown_url
    answer = "answer"
    if reason.startswith("Preflight"):
        answer = "answer to the preflight"
    sentence = reason.template.format(
        origin=hop.origin,
        url=url,
        detail=obstacle.detail,
        answer=answer,
    )
    return Verdict(False, reason, phase, sentence, reason.source, url, notes=notes)


def _allowed(hop: _Hop, answer: Response, notes: tuple[str, ...]) -> Verdict:
    names = readable_headers(hop.request.credentials, answer, same_origin=not hop.cors)
    return _readable(hop, answer.status, names, notes)


def _opaque(hop: _Hop, notes: tuple[str, ...]) -> Verdict:
    """A redirect that the page did not want to follow: the script reads status 0 and no header."""
    return _readable(hop, 0, (), notes)


def _readable(
    hop: _Hop,
    status: int,
    names: tuple[str, ...],
    notes: tuple[str, ...],
) -> Verdict:
    sentence = f"{hop.request.page} may read the answer of {hop.shown_url}: status {status}"
    url = hop.shown_url
    return Verdict(True, None, hop.phase, sentence, _READABLE_SOURCE, url, status, names, notes)
