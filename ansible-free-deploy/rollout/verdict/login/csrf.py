"""Django's CSRF check: which writes it refuses, and the reason that it gives.

https://docs.djangoproject.com/en/5.2/ref/csrf/#how-it-works, as django/middleware/csrf.py does it.
`tests/test_verdict_csrf.py` compares it with the real middleware.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

BAD_ORIGIN = "Origin checking failed - %s does not match any trusted origins."
NO_REFERER = "Referer checking failed - no Referer."
BAD_REFERER = "Referer checking failed - %s does not match any trusted origins."
MALFORMED_REFERER = "Referer checking failed - Referer is malformed."
INSECURE_REFERER = "Referer checking failed - Referer is insecure while host is secure."
NO_COOKIE = "CSRF cookie not set."
NO_TOKEN = "CSRF token missing."
WRONG_TOKEN = "CSRF token from the %r HTTP header incorrect."


@dataclass(frozen=True)
class Csrf:
    """The settings that the check goes by.

    `cookie_domain` is CSRF_COOKIE_DOMAIN, or SESSION_COOKIE_DOMAIN with CSRF_USE_SESSIONS; None
    where the setting is. `header` is the name of the request header that carries the token.
    """

    trusted_origins: tuple[str, ...] = ()
    cookie_domain: str | None = None
    header: str = "X-CSRFToken"


@dataclass(frozen=True)
class CsrfRequest:
    """A write as the check sees it.

    `host` is its Host header, `secure` whether Django takes it for https. `secret`: the CSRF cookie
    came along, or the session that holds it. `token` is whether the right token was in the header;
    None without one.
    """

    host: str
    secure: bool
    origin: str | None
    referer: str | None = None
    secret: bool = True
    token: bool | None = True


def refusal(settings: Csrf, request: CsrfRequest) -> str | None:
    """Why Django answers 403, as it says itself; None where the check passes."""
    if request.origin is not None:
        if not trusts(settings, request):
            return BAD_ORIGIN % request.origin
    elif request.secure:
        reason = _referer_refusal(settings, request)
        if reason:
            return reason
    if not request.secret:
        return NO_COOKIE
    if request.token is None:
        return NO_TOKEN
    if not request.token:
        return WRONG_TOKEN % _as_written(settings.header)
    return None


def trusts(settings: Csrf, request: CsrfRequest) -> bool:
    """Whether the check accepts the request's Origin: the API's own, one of CSRF_TRUSTED_ORIGINS,
    or one that its `https://*.example.com` covers, which covers https://example.com too."""
    own = f"{'https' if request.secure else 'http'}://{request.host}"
    if request.origin == own or request.origin in settings.trusted_origins:
        return True
    try:
        asked = urlsplit(request.origin or "")
    except ValueError:
        return False
    for text in settings.trusted_origins:
        if "*" not in text:
            continue
        trusted = urlsplit(text)
        same_scheme = trusted.scheme == asked.scheme
        if same_scheme and _is_same_domain(asked.netloc, trusted.netloc.lstrip("*")):
            return True
    return False


def _referer_refusal(settings: Csrf, request: CsrfRequest) -> str | None:
    """Over https a request without Origin has to come from a page of https."""
    if request.referer is None:
        return NO_REFERER
    try:
        referer = urlsplit(request.referer)
    except ValueError:
        return MALFORMED_REFERER
    if not referer.scheme or not referer.netloc:
        return MALFORMED_REFERER
    if referer.scheme != "https":
        return INSECURE_REFERER
    trusted = [urlsplit(text).netloc.lstrip("*") for text in settings.trusted_origins]
    trusted.append(_own_referer(settings, request))
    if any(_is_same_domain(referer.netloc, host) for host in trusted):
        return None
    return BAD_REFERER % referer.geturl()


def _own_referer(settings: Csrf, request: CsrfRequest) -> str:
    if settings.cookie_domain is None:
        return request.host
    port = urlsplit(f"//{request.host}").port
    if port in (None, 80, 443):
        return settings.cookie_domain
    return f"{settings.cookie_domain}:{port}"


def _is_same_domain(host: str, pattern: str) -> bool:
    """django.utils.http.is_same_domain."""
    if not pattern:
        return False
    pattern = pattern.lower()
    if pattern.startswith("."):
        return host.endswith(pattern) or host == pattern[1:]
    return host == pattern


def _as_written(header: str) -> str:
    """A header's name as Django writes it: X-Csrftoken."""
    return "-".join(word.capitalize() for word in header.split("-"))
