"""What the contract itself makes impossible or risky. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra.core.contract import Contract
from rollout.doctor.codes import Code
from rollout.finding import Finding
from rollout.move.words import NEXT


def contract_alone(contract: Contract) -> Iterator[Finding]:
    """Findings that need no answer of a host."""
    yield from _move(contract)
    yield from _cookies(contract)
    if contract.production:
        yield from _addresses(contract)


def _move(contract: Contract) -> Iterator[Finding]:
    """`examine` takes the contract of the stage that a move is in."""
    former = [*contract.frontend.former, *contract.backend.former]
    if former:
        yield Finding(
            f"a move to {contract.frontend.origin} is under way: {', '.join(former)} answered as"
            " well",
            cure=NEXT,
            code=Code.MOVE_UNDER_WAY,
            anchor="operating.md#moving-to-other-origins",
            warning=True,
        )


def two_sites_over_http(contract: Contract) -> bool:
    """Whether cookies would have to travel between two sites by plain http. By https SameSite=None
    is possible: `logging_in` says which browsers send such cookies."""
    if not contract.cors.allow_credentials or contract.is_one_site:
        return False
    front = contract.frontend.parsed_origin
    back = contract.backend.parsed_origin
    return "http" in (front.scheme, back.scheme)


def _cookies(contract: Contract) -> Iterator[Finding]:
    if not two_sites_over_http(contract):
        return
    front = contract.frontend.parsed_origin
    back = contract.backend.parsed_origin
    places = "two sites"
    if front.is_ip and back.is_ip:
        places = "two IPs"
    yield Finding(
        f"cookies can't travel between {places} ({front} and {back}) over plain http",
        cure="use a domain with both names under it, or tokens instead of cookies",
        code=Code.COOKIES_BETWEEN_SITES,
        anchor="cookies-between-two-sites",
    )


def _addresses(contract: Contract) -> Iterator[Finding]:
    for origin in contract.cors.origins:
        if origin.is_ip:
            yield Finding(
                f"{origin} is an address: when it is released, its next owner is allowed",
                cure="use a reserved address or a name; run `fab deploy` after every change",
                code=Code.ORIGIN_IS_AN_ADDRESS,
                warning=True,
            )
