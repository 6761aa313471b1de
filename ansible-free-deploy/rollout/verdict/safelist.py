"""What a page may send without a preflight.
https://fetch.spec.whatwg.org/#cors-safelisted-request-header"""

from __future__ import annotations

import re

from rollout.verdict.values import Headers, Request

SAFE_METHODS = ("GET", "HEAD", "POST")
# `patch` is not among them: it stays lower case.
NORMALISED = (*SAFE_METHODS, "DELETE", "OPTIONS", "PUT")
FORBIDDEN_METHODS = ("CONNECT", "TRACE", "TRACK")
MOST_BYTES, MOST_BYTES_TOGETHER = 128, 1024
MOST_DIGITS = 18  # Chromium counts in 64 bits

_UNSAFE_BYTE = re.compile(r'[\x00-\x08\x0a-\x1f"():<>?@\[\\\]{}\x7f]')
_LANGUAGE = re.compile(r"[0-9A-Za-z *,\-.;=]*")
_SIMPLE_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]*)")
_FORM = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
_OVERRIDES = ("x-http-method", "x-http-method-override", "x-method-override")
_FORBIDDEN = frozenset(
    (
        "accept-charset",
        "accept-encoding",
        "access-control-request-headers",
        "access-control-request-method",
        "connection",
        "content-length",
        "cookie",
        "cookie2",
        "date",
        "dnt",
        "expect",
        "host",
        "keep-alive",
        "origin",
        "referer",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    )
)
# The standard lets scripts set it, and Firefox does; Chromium drops it (https://crbug.com/571722).
CHROMIUM_DROPS = ("user-agent",)
# Not in the standard, in Chromium (services/network/public/cpp/cors/cors.cc): client hints.
_NUMBER, _WHOLE = re.compile(r"[0-9]+(\.[0-9]+)?"), re.compile(r"[0-9]+")
_HINTS = {
    **dict.fromkeys(("device-memory", "downlink", "dpr"), _NUMBER),
    **dict.fromkeys(("rtt", "width", "viewport-width"), _WHOLE),
    "ect": re.compile(r"slow-2g|2g|3g|4g"),
    "intervention": re.compile(r".*"),
    "save-data": re.compile(r"on", re.IGNORECASE),
}
CHROMIUM_DROPS_ON_REDIRECT = tuple(set(_HINTS) - {"intervention", "save-data"})


def normal_method(method: str) -> str:
    """As fetch() sends it. https://fetch.spec.whatwg.org/#concept-method-normalize"""
    upper = method.upper()
    if upper in NORMALISED:
        return upper
    return method


def is_forbidden(name: str, value: str) -> bool:
    """Whether scripts can't set it: browsers drop it without a message.
    https://fetch.spec.whatwg.org/#forbidden-request-header"""
    name = name.lower()
    if name in _OVERRIDES:
        methods = {word.strip(" \t").upper() for word in value.split(",")}
        return not methods.isdisjoint(FORBIDDEN_METHODS)
    return name in _FORBIDDEN or name.startswith(("proxy-", "sec-"))


def sent_headers(headers: Headers) -> dict[str, str]:
    """What is left of a script's headers: lower-case name to value, repeated ones joined, forbidden
    ones dropped."""
    sent: dict[str, str] = {}
    for name, value in headers:
        key, text = name.lower(), value.strip(" \t\r\n")
        if is_forbidden(name, value) or key in CHROMIUM_DROPS:
            continue
        if key in sent:
            text = f"{sent[key]}, {text}"
        sent[key] = text
    return sent


def is_safelisted(name: str, value: str) -> bool:
    """Whether a header (lower-case name) needs no preflight."""
    if len(value.encode()) > MOST_BYTES:
        return False
    match name:
        case "accept":
            return not _UNSAFE_BYTE.search(value)
        case "accept-language" | "content-language":
            return _LANGUAGE.fullmatch(value) is not None
        case "content-type":
            return not _UNSAFE_BYTE.search(value) and _essence(value) in _FORM
        case "range":
            return _is_simple_range(value)
    return name in _HINTS and _HINTS[name].fullmatch(value) is not None


def _essence(value: str) -> str:
    return value.partition(";")[0].strip(" \t").lower()


def _is_simple_range(value: str) -> bool:
    """https://fetch.spec.whatwg.org/#simple-range-header-value"""
    found = _SIMPLE_RANGE.fullmatch(value)
    if not found:
        return False
    first, last = found.groups()
    if max(len(first), len(last)) > MOST_DIGITS:
        return False
    return not last or int(first) <= int(last)


def unsafe_headers(sent: dict[str, str]) -> tuple[str, ...]:
    """Names that a preflight must ask for, sorted.
    https://fetch.spec.whatwg.org/#cors-unsafe-request-header-names"""
    unsafe = []
    safe_bytes = 0
    for name, value in sent.items():
        if is_safelisted(name, value):
            safe_bytes += len(value.encode())
        else:
            unsafe.append(name)
    if safe_bytes > MOST_BYTES_TOGETHER:
        unsafe = list(sent)
    return tuple(sorted(unsafe))


def needs_preflight(request: Request) -> tuple[str, ...]:
    """Why a browser sends a preflight, one reason an item; empty if it doesn't."""
    reasons = []
    method = normal_method(request.method)
    if method not in SAFE_METHODS:
        reasons.append(f"method {method}")
    sent = sent_headers(request.headers)
    for name in unsafe_headers(sent):
        reasons.append(f"header {_shown(name, sent[name])}")
    if request.listens_to_upload:
        reasons.append("a listener for upload progress")
    return tuple(reasons)


def _shown(name: str, value: str) -> str:
    if name == "content-type":
        return f"{name}: {value}"
    return name  # values of other headers may be secret


def preflight_headers(request: Request, origin: str | None = None) -> Headers:
    """The CORS headers of a browser's OPTIONS, exactly; `origin` is `null` after a tainting
    redirect.

    https://fetch.spec.whatwg.org/#cors-preflight-fetch-0
    """
    headers = [
        ("Origin", origin or request.page),
        ("Access-Control-Request-Method", normal_method(request.method)),
    ]
    names = unsafe_headers(sent_headers(request.headers))
    if names:
        headers.append(("Access-Control-Request-Headers", ",".join(names)))
    return tuple(headers)
