"""What the doctor asks: every origin × endpoint × method, as requests that a page's script would
make. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra.core import rules
from infra.core.contract import Contract
from infra.core.origins import OriginError, look_alikes, parse_origin, parse_pattern
from rollout.verdict import Headers, Request, needs_preflight, preflight_headers

MISSING = "origin-kit-doctor"  # a path that no project has
STRANGER = "http://evil.example"
_SAFE = ("GET", "HEAD", "OPTIONS")
# Above every limit that a config may hold: a host with a larger one than the contract's would wait
# for such a body.
_TOO_LARGE = (rules.BOUNDS["max_body_mb"][1] + 1) << 20


@dataclass(frozen=True)
class Endpoint:
    """A column: `fetch(path, {method, headers})`. `body` is what a browser sends; here it is only
    announced."""

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
    """An origin, and whether the contract lets it in."""

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
        origin = (("Host", host), ("Origin", self.row.origin))
        if self.row.origin == "null" or needs_preflight(self.request):
            asked = (
                preflight_headers(self.request) if self.row.origin != "null" else _NULL_PREFLIGHT
            )
            yield (
                "OPTIONS",
                self.endpoint.path,
                origin + tuple(pair for pair in asked if pair[0].lower() != "origin"),
            )
        body = () if self.endpoint.body is None else (("Content-Length", str(_TOO_LARGE)),)
        method = self.endpoint.method if self.endpoint.sent else "GET"
        yield method, self.endpoint.path, origin + self.endpoint.headers + body


_NULL_PREFLIGHT = (("Access-Control-Request-Method", "PUT"),)


def rows(contract: Contract) -> tuple[Row, ...]:
    """The contract's origins, an example of each shape, and strangers that resemble the first
    origin."""
    everyone = contract.cors.allowed_shapes == ("*",)
    allowed = [
        Row(origin, True, "allowed by the contract") for origin in contract.cors.allowed_origins
    ]
    for text in () if everyone else contract.cors.allowed_shapes:
        allowed += [
            Row(sample, True, f"of the shape {text}") for sample in _samples(contract, text)[:1]
        ]
    strangers = [Row(text, everyone, "a look-alike") for text in _look_alikes(contract)]
    strangers = [row for row in strangers if not everyone or can_call(row.origin, contract)]
    return (
        *allowed,
        *strangers,
        Row(STRANGER, everyone, "a stranger"),
        Row("null", everyone, "a sandboxed page"),
    )


def can_call(origin: str, contract: Contract) -> bool:
    """Whether no header is in the way: a page by https may not call an http backend, whatever it
    says."""
    return not (origin.startswith("https:") and contract.backend.origin.startswith("http:"))


def _samples(contract: Contract, text: str) -> list[str]:
    """Origins of that shape, made by trying."""
    shape = parse_pattern(text, production=contract.production)
    front = text.partition("{")[0]
    tries = [text.replace(text[len(front) : text.find("}") + 1], "doctor")] if "{" in text else []
    tries += [text.replace("*", number) for number in ("77", "7077")]
    return [one for one in tries if shape.matches(one)]


def _look_alikes(contract: Contract) -> list[str]:
    """Some that a browser could send. Of the first origin: another host around the name, another
    scheme, another port; of each shape what an unescaped dot or a missing end would let in."""
    first = parse_origin(contract.cors.allowed_origins[0], production=False)
    shapes = [s for s in contract.cors.allowed_shapes if s != "*"]
    known = [parse_pattern(text, production=contract.production) for text in shapes]

    def strange(values: Iterable[str]) -> Iterator[str]:
        for value in values:
            listed = value in contract.cors.allowed_origins or any(
                shape.matches(value) for shape in known
            )
            if not listed and value != STRANGER and len(value) < 100 and _sent_by_browsers(value):
                yield value

    near = list(strange(look_alikes(first)))
    kinds = {
        (urlsplit(v).scheme, urlsplit(v).port, _place(str(first.host), v)): v
        for v in reversed(near)
    }
    found = sorted(kinds.values())[:8]
    for text in shapes:
        for sample in _samples(contract, text)[:1]:
            dots = [at for at, letter in enumerate(sample) if letter == "."]
            careless = [
                f"{sample}.evil.example",
                *(f"{sample[:at]}x{sample[at + 1 :]}" for at in reversed(dots)),
            ]
            found += list(strange(careless))[:4]
    return list(dict.fromkeys(found))


def _sent_by_browsers(value: str) -> bool:
    try:
        return str(parse_origin(value, production=False)) == value
    except OriginError:
        return False


def _place(host: str, value: str) -> str:
    other = urlsplit(value).hostname or ""
    return "around" if host in other and host != other else "same" if host == other else "within"


def endpoints(contract: Contract) -> tuple[Endpoint, ...]:
    """What a page meets: data, a change, a page that is missing in Django and in nginx, an upload
    that is too big."""
    return (
        Endpoint("GET /", "/"),
        *_change(contract),
        Endpoint("404 of Django", f"/{MISSING}"),
        Endpoint("404 of nginx", f"{contract.application.static_url}{MISSING}"),
        Endpoint("413 of nginx", "/", "POST", body=(contract.application.max_body_mb + 1) << 20),
    )


def _change(contract: Contract) -> Iterator[Endpoint]:
    """A change with JSON, by a method that the contract lets pages use."""
    typed = any(name.lower() == "content-type" for name in contract.cors.allow_headers)
    for method in ("PUT", "PATCH", "DELETE", "POST"):
        if method in contract.cors.allow_methods:
            headers = (("Content-Type", "application/json"),) if typed else ()
            yield Endpoint(f"{method} / json" if typed else f"{method} /", "/", method, headers)
            return


def questions(
    contract: Contract,
    rows: tuple[Row, ...],
    endpoints: tuple[Endpoint, ...],
    csp: str | None,
    credentials: bool,
) -> tuple[Question, ...]:
    """All cells. `csp` is what the live frontend sends; it counts for its own page only."""

    def request(row: Row, endpoint: Endpoint) -> Request:
        own = row.origin == contract.frontend.origin
        return Request(
            page=STRANGER if row.origin == "null" else row.origin,
            url=contract.backend.origin + endpoint.path,
            method=endpoint.method,
            headers=endpoint.headers,
            credentials=credentials,
            page_address=contract.frontend.hosts[0].address if own else None,
            address=contract.backend.hosts[0].address if own else None,
            csp=csp if own else None,
        )

    return tuple(
        Question(row, endpoint, request(row, endpoint)) for row in rows for endpoint in endpoints
    )
