"""The CORS protocol: what an answer must say. https://fetch.spec.whatwg.org/#http-cors-protocol"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from infra.core.origins import browser_ipv4, ends_in_number
from rollout.verdict.reasons import Reason
from rollout.verdict.safelist import SAFE_METHODS
from rollout.verdict.values import Obstacle, Response

DEFAULT_MAX_AGE_S = 5
CHROMIUM_MAX_AGE_S = 7200  # Firefox: 86400, WebKit: 600

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NEVER_READABLE = ("set-cookie", "set-cookie2")
_ALWAYS_READABLE = frozenset(
    (
        "cache-control",
        "content-language",
        "content-length",
        "content-type",
        "expires",
        "last-modified",
        "pragma",
    )
)
AUTHORIZATION_NOTE = (
    "Chromium takes `*` in Access-Control-Allow-Headers for Authorization, with a warning; the"
    " standard doesn't: list Authorization by name"
)


def cors_check(origin: str, credentials: bool, answer: Response) -> Obstacle | None:
    """https://fetch.spec.whatwg.org/#concept-cors-check, and what Chromium calls each way to fail
    it."""
    allowed = answer.get("Access-Control-Allow-Origin")
    if allowed is None:
        return Obstacle(Reason.MissingAllowOriginHeader)
    if allowed == "*":
        return Obstacle(Reason.WildcardOriginNotAllowed) if credentials else None
    if allowed != origin:
        return Obstacle(_why_not(allowed), allowed)
    said = answer.get("Access-Control-Allow-Credentials")
    return (
        Obstacle(Reason.InvalidAllowCredentials, said or "")
        if credentials and said != "true"
        else None
    )


def _why_not(allowed: str) -> Reason:
    if re.search(r"[ ,]", allowed):
        return Reason.MultipleAllowOriginValues
    if allowed == "null" or _is_url(allowed):
        return Reason.AllowOriginMismatch
    return Reason.InvalidAllowOriginValue


def _is_url(text: str) -> bool:
    """Roughly what Chromium's parser takes for a URL: `localhost:8080` is one, with `localhost` as
    its scheme."""
    scheme, colon, rest = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.\-]*", scheme):
        return False
    return scheme.lower() not in ("http", "https", "ws", "wss", "ftp") or _has_host(rest)


def _has_host(rest: str) -> bool:
    """https://url.spec.whatwg.org/#concept-host-parser, without its finer points."""
    try:
        parts = urlsplit("//" + rest.replace("\\", "/").lstrip("/"))
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    numeric = ends_in_number(host) and browser_ipv4(host) is None
    return bool(host) and not numeric and not re.search(r"[\x00-\x20#%<>^|\x7f]", host)


def preflight_check(
    origin: str, credentials: bool, method: str, unsafe: tuple[str, ...], answer: Response
) -> Obstacle | None:
    """https://fetch.spec.whatwg.org/#cors-preflight-fetch-0; `unsafe` are the lower-case header
    names asked for."""
    if answer.location is not None:
        return Obstacle(Reason.PreflightDisallowedRedirect, answer.location)
    if found := cors_check(origin, credentials, answer):
        return Obstacle(Reason("Preflight" + found.reason), found.detail)
    if not 200 <= answer.status <= 299:
        return Obstacle(Reason.PreflightInvalidStatus, str(answer.status))
    return _unreadable(answer) or _not_allowed(credentials, method, unsafe, answer)


def _unreadable(answer: Response) -> Obstacle | None:
    for name, reason in (
        ("Access-Control-Allow-Methods", Reason.InvalidAllowMethodsPreflightResponse),
        ("Access-Control-Allow-Headers", Reason.InvalidAllowHeadersPreflightResponse),
    ):
        if tokens(answer.get(name)) is None:
            return Obstacle(reason, answer.get(name) or "")
    return None


def _not_allowed(
    credentials: bool, method: str, unsafe: tuple[str, ...], answer: Response
) -> Obstacle | None:
    methods = tokens(answer.get("Access-Control-Allow-Methods")) or ()
    names = {name.lower() for name in tokens(answer.get("Access-Control-Allow-Headers")) or ()}
    if method not in (*SAFE_METHODS, *methods) and (credentials or "*" not in methods):
        return Obstacle(Reason.MethodDisallowedByPreflightResponse, method)
    missing = [name for name in unsafe if name not in names]
    if missing and (credentials or "*" not in names):
        return Obstacle(Reason.HeaderDisallowedByPreflightResponse, missing[0])
    return None


def tokens(value: str | None) -> tuple[str, ...] | None:
    """The words of an Access-Control list; empty where it is absent, None where it can't be parsed.

    https://fetch.spec.whatwg.org/#http-new-header-syntax
    """
    words = [word.strip(" \t") for word in (value or "").split(",")]
    found = tuple(word for word in words if word)
    return found if all(_TOKEN.fullmatch(word) for word in found) else None


def max_age_s(answer: Response) -> int:
    """How long Chromium keeps a preflight's answer, in seconds. Two lines, blanks or words count as
    absent."""
    said = answer.get("Access-Control-Max-Age") or ""
    if not re.fullmatch(r"[+-]?[0-9]+", said) or abs(int(said)) >= 2**63:
        return DEFAULT_MAX_AGE_S
    return min(max(int(said), 0), CHROMIUM_MAX_AGE_S)


def readable_headers(
    credentials: bool, answer: Response, same_origin: bool = False
) -> tuple[str, ...]:
    """Names that a script may read, lower-case and sorted.

    https://fetch.spec.whatwg.org/#concept-filtered-response-cors
    """
    present = {name.lower() for name, _ in answer.headers} - set(_NEVER_READABLE)
    exposed = {name.lower() for name in tokens(answer.get("Access-Control-Expose-Headers")) or ()}
    everything = same_origin or ("*" in exposed and not credentials)
    return tuple(sorted(present if everything else present & (_ALWAYS_READABLE | exposed)))


def notes_on(origin: str, answer: Response) -> tuple[str, ...]:
    """What works today and bites later."""
    allowed, vary = answer.get("Access-Control-Allow-Origin"), tokens(answer.get("Vary")) or ()
    if allowed in (None, "*") or {"*", "origin"} & {word.lower() for word in vary}:
        return ()
    return (
        (
            f"Vary lacks Origin: a cache may hand this answer, made for {origin}, to a page of"
            " another origin"
        ),
    )
