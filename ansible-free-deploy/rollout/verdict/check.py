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
_NEED_A_HOST = ("http", "https", "ws", "wss", "ftp")
_LISTS = {
    "Access-Control-Allow-Methods": Reason.InvalidAllowMethodsPreflightResponse,
    "Access-Control-Allow-Headers": Reason.InvalidAllowHeadersPreflightResponse,
}
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
        if credentials:
            return Obstacle(Reason.WildcardOriginNotAllowed)
        return None
    if allowed != origin:
        return Obstacle(_why_not(allowed), allowed)
    value = answer.get("Access-Control-Allow-Credentials")
    if credentials and value != "true":
        return Obstacle(Reason.InvalidAllowCredentials, value or "")
    return None


def _why_not(allowed: str) -> Reason:
    if re.search(r"[ ,]", allowed):
        return Reason.MultipleAllowOriginValues
    if allowed == "null" or _is_url(allowed):
        return Reason.AllowOriginMismatch
    return Reason.InvalidAllowOriginValue


def _is_url(text: str) -> bool:
    """Roughly what Chromium's parser takes for a URL: `localhost:8080` is one, with the scheme
    `localhost`."""
    scheme, colon, rest = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.\-]*", scheme):
        return False
    if scheme.lower() in _NEED_A_HOST:
        return _has_host(rest)
    return True


def _has_host(rest: str) -> bool:
    """https://url.spec.whatwg.org/#concept-host-parser, without its finer points."""
    try:
        parts = urlsplit("//" + rest.replace("\\", "/").lstrip("/"))
        host = parts.hostname or ""
        _ = parts.port  # raises for a port that is not a number
    except ValueError:
        return False
    numeric = ends_in_number(host) and browser_ipv4(host) is None
    return bool(host) and not numeric and not re.search(r"[\x00-\x20#%<>^|\x7f]", host)


def preflight_check(
    origin: str,
    credentials: bool,
    method: str,
    unsafe: tuple[str, ...],
    answer: Response,
) -> Obstacle | None:
    """https://fetch.spec.whatwg.org/#cors-preflight-fetch-0; `unsafe` are the lower-case header
    names asked for."""
    if answer.location is not None:
        return Obstacle(Reason.PreflightDisallowedRedirect, answer.location)
    obstacle = cors_check(origin, credentials, answer)
    if obstacle:
        return Obstacle(Reason("Preflight" + obstacle.reason), obstacle.detail)
    if not 200 <= answer.status <= 299:
        return Obstacle(Reason.PreflightInvalidStatus, str(answer.status))
    return _unreadable(answer) or _not_allowed(credentials, method, unsafe, answer)


def _unreadable(answer: Response) -> Obstacle | None:
    for name, reason in _LISTS.items():
        if tokens(answer.get(name)) is None:
            return Obstacle(reason, answer.get(name) or "")
    return None


def _not_allowed(
    credentials: bool,
    method: str,
    unsafe: tuple[str, ...],
    answer: Response,
) -> Obstacle | None:
    methods = tokens(answer.get("Access-Control-Allow-Methods")) or ()
    every_method = "*" in methods and not credentials
    if method not in (*SAFE_METHODS, *methods) and not every_method:
        return Obstacle(Reason.MethodDisallowedByPreflightResponse, method)
    names = names_in(answer, "Access-Control-Allow-Headers")
    if "*" in names and not credentials:
        return None
    for name in unsafe:
        if name not in names:
            return Obstacle(Reason.HeaderDisallowedByPreflightResponse, name)
    return None


def tokens(value: str | None) -> tuple[str, ...] | None:
    """The words of an Access-Control list; empty where it is absent, None where it can't be parsed.

    https://fetch.spec.whatwg.org/#http-new-header-syntax
    """
    words = []
    for part in (value or "").split(","):
        word = part.strip(" \t")
        if word and not _TOKEN.fullmatch(word):
            return None
        if word:
            words.append(word)
    return tuple(words)


def names_in(answer: Response, header: str) -> set[str]:
    """The words of an Access-Control list in lower case; empty where it can't be parsed."""
    return {word.lower() for word in tokens(answer.get(header)) or ()}


def max_age_s(answer: Response) -> int:
    """How long Chromium keeps a preflight's answer, in seconds. Two lines, blanks or words count as
    absent."""
    value = answer.get("Access-Control-Max-Age") or ""
    if not re.fullmatch(r"[+-]?[0-9]+", value):
        return DEFAULT_MAX_AGE_S
    seconds = int(value)
    if abs(seconds) >= 2**63:
        return DEFAULT_MAX_AGE_S
    return min(max(seconds, 0), CHROMIUM_MAX_AGE_S)


def readable_headers(
    credentials: bool, answer: Response, same_origin: bool = False
) -> tuple[str, ...]:
    """Names that a script may read, lower-case and sorted.

    https://fetch.spec.whatwg.org/#concept-filtered-response-cors
    """
    present = {name.lower() for name, _ in answer.headers} - set(_NEVER_READABLE)
    exposed = names_in(answer, "Access-Control-Expose-Headers")
    everything = same_origin or ("*" in exposed and not credentials)
    if not everything:
        present &= _ALWAYS_READABLE | exposed
    return tuple(sorted(present))


def notes_on(origin: str, answer: Response) -> tuple[str, ...]:
    """What works now and is likely to break later."""
    allowed = answer.get("Access-Control-Allow-Origin")
    if allowed in (None, "*"):
        return ()
    if names_in(answer, "Vary") & {"*", "origin"}:
        return ()
    return (
        f"Vary lacks Origin: a cache may serve this answer, made for {origin}, to a page of"
        " another origin",
    )
