"""What comes of http and https next to each other: an http origin in the list of an https page, a
server that it calls by http, port 80 of an https API, and HSTS. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from infra.core import csp
from infra.core.contract import Contract
from infra.core.https import ACME
from infra.core.origins import Origin, parse_origin
from rollout.doctor.ask import Unanswered
from rollout.doctor.checks.places import IN_FRONT
from rollout.doctor.codes import Code
from rollout.doctor.observations import PUBLIC, Observations, responses, view_name
from rollout.doctor.plain_http import Plain, twin_of
from rollout.finding import Finding
from rollout.verdict import Response

_MAX_AGE = re.compile(r'\bmax-age\s*=\s*"?(\d+)', re.IGNORECASE)
_SUBDOMAINS = re.compile(r"\bincludeSubDomains\b", re.IGNORECASE)


def schemes(observed: Observations) -> Iterator[Finding]:
    """Everything that mixes the two schemes."""
    yield from _http_origins(observed.contract)
    yield from _called_by_http(observed.contract)
    yield from _redirected(observed)
    yield from _twin_allowed(observed)
    yield from _challenge(observed)
    yield from _hsts(observed)


# ------------------------------------------------------------------------------------- in the list


def _http_origins(contract: Contract) -> Iterator[Finding]:
    """The page's own name by http, next to https: no such page exists."""
    page = contract.frontend.origin
    twin = twin_of(contract)
    if is_of_no_page(twin, contract) and twin in contract.cors.allowed_origins:
        yield Finding(
            f"{twin} is in the list, and the page is {page}: no page has that origin any more, but"
            " whoever is on a visitor's network can be it and read the API's answers; and as long"
            " as an http origin is listed the API answers plain http",
            cure=f"take {twin} out of extra_origins, then run `fab deploy`",
            code=Code.HTTP_ORIGIN_LISTED,
            anchor=Code.HTTP_ORIGIN_LISTED,
        )


def is_of_no_page(origin: str, contract: Contract) -> bool:
    """Whether this is the http twin of an https page that was never at it, or is no more."""
    twin = twin_of(contract)
    page = contract.frontend
    return origin == twin != page.origin and origin not in page.former


# ------------------------------------------------------------------------------ called by the page


def _called_by_http(contract: Contract) -> Iterator[Finding]:
    """Servers that connect_src lists by plain http, next to an https page."""
    if contract.frontend.parsed_origin.scheme != "https" or csp.UPGRADE in csp.names(
        contract.page.csp
    ):
        return
    blocked = [source for source in contract.page.connect_src if _is_mixed(source)]
    if blocked:
        yield Finding(
            f"connect_src lists {', '.join(blocked)}: the page is https, so browsers block what it"
            " calls by plain http or ws (mixed content)",
            cure="write them with https: or wss:, and have the page call them so; then run"
            " `fab deploy`",
            code=Code.MIXED_CONTENT,
            anchor=Code.MIXED_CONTENT,
            warning=True,
        )


def _is_mixed(source: str) -> bool:
    """Whether an https page may not call this source of connect_src: by http or ws, and not this
    very machine. https://w3c.github.io/webappsec-mixed-content/#should-block-fetch"""
    scheme, _, rest = source.partition(":")
    host = rest.removeprefix("//").removeprefix("*.").removesuffix(":*")
    if scheme not in ("http", "ws"):
        return False
    if not host:
        return True
    return not parse_origin(f"http://{host}", production=False).is_loopback


# ----------------------------------------------------------------------------- port 80 next to 443


def _redirected(observed: Observations) -> Iterator[Finding]:
    """A page's request by http that is redirected: its preflight fails, and on the way to https its
    origin becomes `null`."""
    found = [one for one in observed.plain if _location(one)]
    if not found:
        return
    public_alone = all(one.view == PUBLIC for one in found) and _answered_by_a_host(observed)
    first = found[0]
    place = "something in front of the hosts" if public_alone else view_name(first.view)
    cure = "run `fab deploy --restart`"
    if public_alone:
        cure = (
            "take the redirect out of the proxy, CDN or load balancer in front for the API's name:"
            " the hosts redirect a visitor and answer a page themselves"
        )
    yield Finding(
        f"{place} redirects a page's {first.kind} by http to {_location(first)}: a preflight may"
        " not be redirected, and after the redirect of any other request the browser asks with"
        " `Origin: null`, which no list allows",
        cure=cure,
        code=Code.PLAIN_HTTP_REDIRECTED,
        anchor=Code.PLAIN_HTTP_REDIRECTED,
        warning=not observed.contract.answers_http,
        places=frozenset([IN_FRONT] if public_alone else [one.view for one in found]),
    )


def _location(plain: Plain) -> str:
    if isinstance(plain.answer, Response):
        return plain.answer.location or ""
    return ""


def _answered_by_a_host(observed: Observations) -> bool:
    of_hosts = [plain for plain in observed.plain if plain.view != PUBLIC]
    return any(isinstance(plain.answer, Response) for plain in of_hosts)


def _twin_allowed(observed: Observations) -> Iterator[Finding]:
    """The http twin of an https origin is refused, as it must be; by http as well. What https
    allows too is a finding of `answers`: one list counts on both ports."""
    for one in observed.plain:
        if observed.contract.cors.allows(one.origin) or not isinstance(one.answer, Response):
            continue
        if _is_readable(observed, one):
            continue
        allowed = one.answer.get("Access-Control-Allow-Origin")
        if allowed in (one.origin, "*"):
            yield Finding(
                f"{view_name(one.view)} allows {one.origin} by http: whoever is on a visitor's"
                " network can be that page",
                cure="run `fab deploy`, which writes the list with its schemes",
                code=Code.UNLISTED_ORIGIN_ALLOWED,
                anchor="alloworiginmismatch",
                places=frozenset([one.view]),
            )


def _is_readable(observed: Observations, plain: Plain) -> bool:
    """Whether the same origin may read an answer over https there."""
    for cell in observed.of_view(plain.view):
        if cell.question.row.origin == plain.origin and cell.readable:
            return True
    return False


def _challenge(observed: Observations) -> Iterator[Finding]:
    """Port 80 is closed: the CA asks there, whatever port the API is on."""
    if observed.contract.tls != ACME:
        return
    reach = observed.reach.get("backend")
    public = [one for one in observed.plain if one.view == PUBLIC]
    if not reach or not reach.answered or not public:
        return
    for one in public:
        if isinstance(one.answer, Response) or one.answer.connected:
            return
    first = public[0].answer
    assert isinstance(first, Unanswered)
    yield Finding(
        f"port 80 of the API takes no connection from here ({first.problem}), and 443 does: the CA"
        " asks its challenge there, so the certificate can't be renewed",
        cure="allow tcp port 80 to the hosts, in the network's rules and on the hosts",
        code=Code.CHALLENGE_BLOCKED,
        anchor=Code.CHALLENGE_BLOCKED,
    )


# -------------------------------------------------------------------------------------------- HSTS


def _hsts(observed: Observations) -> Iterator[Finding]:
    """A listed http origin that browsers open by https alone, as somebody has sent HSTS for its
    name: its page has another origin then."""
    contract = observed.contract
    for host, value in _sent(observed):
        for origin in contract.cors.origins:
            https = str(replace(origin, scheme="https"))
            if not _covers(host, value, origin) or contract.cors.allows(https):
                continue
            yield Finding(
                f"{host} sends Strict-Transport-Security ({value}), so browsers that have seen it"
                f" open {origin} by https: that page's origin is {https} then, which is not in the"
                " list",
                cure=f"serve that page by https and list {https} in its place; or leave"
                " includeSubDomains out of `hsts`, and wait until max-age is over",
                code=Code.HSTS_CHANGES_ORIGIN,
                anchor=Code.HSTS_CHANGES_ORIGIN,
            )


def _sent(observed: Observations) -> Iterator[tuple[str, str]]:
    """Host and value of each Strict-Transport-Security that came over https."""
    found: dict[str, str] = {}
    for cell in observed.cells:
        url = urlsplit(cell.question.request.url)
        for answer in responses([cell]):
            value = answer.get("Strict-Transport-Security")
            if value and url.scheme == "https" and url.hostname:
                found.setdefault(url.hostname, value)
    page = observed.contract.frontend.parsed_origin
    if observed.page.hsts and page.scheme == "https":
        found.setdefault(page.hostname, observed.page.hsts)
    yield from found.items()


def _covers(host: str, value: str, origin: Origin) -> bool:
    """Whether browsers open the origin by https for this header. RFC 6797, 8.1 and 8.2."""
    age = _MAX_AGE.search(value)
    if not age or int(age[1]) == 0 or origin.scheme != "http" or origin.is_ip:
        return False
    if origin.hostname == host:
        return True
    return bool(_SUBDOMAINS.search(value)) and origin.hostname.endswith(f".{host}")
