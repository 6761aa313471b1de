"""What the doctor asks: every origin × endpoint × method, as requests that a page's script would
make. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from infra.core.contract import Contract
from infra.core.keys import LARGEST_BODY_MB
from rollout.verdict import Headers, Request, needs_preflight, preflight_headers

MISSING = "origin-kit-doctor"  # a path that no project has
UNLISTED = "http://evil.example"
NULL = "null"  # the origin of a sandboxed page
_SAFE = ("GET", "HEAD", "OPTIONS")
_JSON = (("Content-Type", "application/json"),)
_NULL_PREFLIGHT = (("Access-Control-Request-Method", "PUT"),)
# Above every limit that a config may hold: a host with a larger one than the contract's would wait
# for such a body.
_TOO_LARGE = (LARGEST_BODY_MB + 1) << 20


@dataclass(frozen=True)
class Endpoint:
    """A column: `fetch(path, {method, headers})`. `body` is the size in bytes of what a browser
    sends; here it is only announced."""

    title: str
    path: str
    method: str = "GET"
    headers: Headers = ()
    body: int | None = None

    @property
    def sent(self) -> bool:
        """Whether the request itself is sent: what could change data only gets its preflight."""
        return self.method.upper() in _SAFE or self.body is not None


@dataclass(frozen=True)
class Row:
    """An origin, whether the contract allows it, and why."""

    origin: str
    allowed: bool
    why: str


@dataclass(frozen=True)
class Question:
    """One cell: who asks what."""

    row: Row
    endpoint: Endpoint
    request: Request

    def lines(self, host: str) -> Iterator[tuple[str, str, Headers]]:
        """Method, target and header lines of the preflight, if a browser makes one, and of the
        request."""
        path = self.endpoint.path
        origin = (("Host", host), ("Origin", self.row.origin))
        asked = self._preflight_headers()
        if asked:
            yield "OPTIONS", path, origin + asked
        method = self.endpoint.method if self.endpoint.sent else "GET"
        headers = origin + self.endpoint.headers
        if self.endpoint.body is not None:
            headers += (("Content-Length", str(_TOO_LARGE)),)
        yield method, path, headers

    def _preflight_headers(self) -> Headers:
        """What the preflight asks for, without its Origin; empty if there is no preflight."""
        if self.row.origin == NULL:
            return _NULL_PREFLIGHT
        if not needs_preflight(self.request):
            return ()
        headers = preflight_headers(self.request)
        return tuple(pair for pair in headers if pair[0].lower() != "origin")


def endpoints(contract: Contract) -> tuple[Endpoint, ...]:
    """What a page meets: data, a change, a page that is missing in Django and in nginx, an upload
    that is too big."""
    application = contract.application
    return (
        Endpoint("GET /", "/"),
        *_change(contract),
        Endpoint("404 of Django", f"/{MISSING}"),
        Endpoint("404 of nginx", f"{application.static_url}{MISSING}"),
        Endpoint(
            "413 of nginx",
            "/",
            "POST",
            body=(application.max_body_mb + 1) << 20,
        ),
    )


def _change(contract: Contract) -> Iterator[Endpoint]:
    """A change with JSON, by the first method that the contract allows pages to use."""
    typed = any(name.lower() == "content-type" for name in contract.cors.allow_headers)
    for method in ("PUT", "PATCH", "DELETE", "POST"):
        if method not in contract.cors.allow_methods:
            continue
        if typed:
            yield Endpoint(f"{method} / json", "/", method, _JSON)
        else:
            yield Endpoint(f"{method} /", "/", method)
        return


def questions(
    contract: Contract,
    rows: tuple[Row, ...],
    endpoints: tuple[Endpoint, ...],
    csp: str | None,
    credentials: bool,
) -> tuple[Question, ...]:
    """All cells. `csp` is what the live frontend sends; it counts for its own page only."""
    found = []
    for row in rows:
        for endpoint in endpoints:
            request = _request(contract, row, endpoint, csp, credentials)
            found.append(Question(row, endpoint, request))
    return tuple(found)


def _request(
    contract: Contract,
    row: Row,
    endpoint: Endpoint,
    csp: str | None,
    credentials: bool,
) -> Request:
    """The request that a page of that origin makes."""
    # A sandboxed page has an origin of its own, but its browser sends `null`.
    page = UNLISTED if row.origin == NULL else row.origin
    request = Request(
        page=page,
        url=contract.backend.origin + endpoint.path,
        method=endpoint.method,
        headers=endpoint.headers,
        credentials=credentials,
    )
    if row.origin != contract.frontend.origin:
        return request
    return replace(
        request,
        page_address=contract.frontend.address,
        address=contract.backend.address,
        csp=csp,
    )
