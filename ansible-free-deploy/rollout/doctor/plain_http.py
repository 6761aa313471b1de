"""What port 80 of an https API is asked: a page's requests, which must never be redirected there,
and those of the page's http twin, which no page may read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from infra.core.contract import Contract
from infra.core.origins import Origin
from rollout.doctor.ask import Answer
from rollout.verdict import Headers

PREFLIGHT = "preflight"
Line = tuple[str, str, Headers]


@dataclass(frozen=True)
class Plain:
    """One request over plain http: who answered it (`public` or a host's name), its kind (a method,
    or `preflight`), its origin, and the answer."""

    view: str
    kind: str
    origin: str
    answer: Answer


def origin_of(contract: Contract) -> Origin:
    """The API's origin over plain http."""
    return replace(
        contract.backend.parsed_origin,
        scheme="http",
        port=None,
    )


def twin_of(contract: Contract) -> str:
    """The page's origin with http in place of https."""
    return str(replace(contract.frontend.parsed_origin, scheme="http"))


def lines(contract: Contract) -> list[Line]:
    """The requests; none where the API has no https."""
    if contract.backend.parsed_origin.scheme != "https":
        return []
    host = ("Host", origin_of(contract).authority)
    page = ("Origin", contract.frontend.origin)
    twin = ("Origin", twin_of(contract))
    asks = ("Access-Control-Request-Method", "PUT")
    return [
        ("OPTIONS", "/", (host, page, asks)),
        ("GET", "/", (host, page)),
        ("GET", "/", (host, twin)),
    ]


def answered(
    view: str,
    contract: Contract,
    answers: Sequence[Answer],
) -> list[Plain]:
    """The same with their answers."""
    found = []
    for (method, _, headers), answer in zip(lines(contract), answers, strict=True):
        kind = PREFLIGHT if method == "OPTIONS" else method
        found.append(Plain(view, kind, dict(headers)["Origin"], answer))
    return found
