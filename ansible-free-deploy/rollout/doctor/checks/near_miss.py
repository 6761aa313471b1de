"""Why an origin that somebody expected to work does not. Pure."""

from __future__ import annotations

from dataclasses import replace

from infra.core.contract import Contract
from infra.core.origins import Origin, OriginError, is_app_origin, parse_origin
from rollout.doctor.codes import Code
from rollout.finding import Finding

_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


def near_miss(text: str, contract: Contract) -> Finding | None:
    """The allowed origin that it resembles, if there is one; None if it is allowed itself."""
    if contract.cors.allows(text):
        return None
    is_an_apps = is_app_origin(text)
    may_be_a_websites = text.startswith("http") and not contract.production
    if is_an_apps and not may_be_a_websites:
        return _of_an_app(text, may_be_a_websites)
    try:
        origin = parse_origin(text, production=False)
    except OriginError as problem:
        return Finding(
            str(problem),
            cure="write it as a browser sends it",
            code=Code.ORIGIN_INVALID,
            anchor="invalidalloworiginvalue",
        )
    if contract.cors.allows(str(origin)):
        return None
    for listed in contract.cors.origins:
        difference = _difference(origin, listed)
        if difference:
            return _of_a_similar_one(origin, listed, difference)
    if is_an_apps:
        return _of_an_app(text, may_be_a_websites)
    if str(origin) == contract.backend.origin:
        return Finding(
            f"{origin} is the backend; the list holds the pages that call it",
            cure="ask with the page's origin",
            code=Code.ORIGIN_UNLISTED,
        )
    return Finding(
        f"{origin} is not in the contract: its pages may not read the backend",
        cure="add it to extra_origins and run `fab deploy`, if it is yours",
        code=Code.ORIGIN_UNLISTED,
        anchor="missingalloworiginheader",
    )


def _of_a_similar_one(origin: Origin, listed: Origin, difference: str) -> Finding:
    """Its http twin is never added to the list; any other one may be."""
    what = f"{origin} and {listed} are different origins: {difference}"
    cure = f"open the page as {listed}"
    if _is_http_twin(origin, listed):
        what += "; and the first one is refused, as it must be, since whoever is on a visitor's"
        what += " network can be it"
    else:
        cure += f", or add {origin} to extra_origins and run `fab deploy`"
    return Finding(what, cure=cure, code=Code.ORIGIN_UNLISTED, anchor="alloworiginmismatch")


def _is_http_twin(origin: Origin, listed: Origin) -> bool:
    return origin.scheme == "http" and replace(origin, scheme="https") == listed


def _of_an_app(origin: str, may_be_a_websites: bool) -> Finding:
    """An app's origin that is not listed. Android's may be meant, or a page on this machine."""
    cure = f"if it is your app's, add {origin} to app_origins and run `fab deploy`; every app that"
    cure += " sends the same can read answers then"
    if may_be_a_websites:
        cure = f"if it is your app's, add {origin} to app_origins, or if it is a website's, to"
        cure += " extra_origins, and run `fab deploy`"
    return Finding(
        f"{origin} is not in the contract: it is what an app sends, and no website",
        cure=cure,
        code=Code.APP_ORIGIN_UNLISTED,
        anchor="app-origins",
    )


def _difference(origin: Origin, listed: Origin) -> str:
    """What distinguishes two similar origins; empty if they are not similar."""
    same_host = origin.host == listed.host
    if same_host and origin.scheme != listed.scheme:
        return f"one is {origin.scheme}, the other {listed.scheme}"
    if same_host and origin.port != listed.port:
        return f"the port counts ({_port(origin)} and {_port(listed)})"
    if {origin.host, listed.host} <= _LOOPBACK:
        return f"`{origin.host}` and `{listed.host}` are two names to a browser"
    if origin.host.removeprefix("www.") == listed.host.removeprefix("www."):
        return "www. counts"
    return ""


def _port(origin: Origin) -> str:
    if origin.port is None:
        return "none written"
    return str(origin.port)
