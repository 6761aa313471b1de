"""The three questions, for one page, one API and one browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from rollout.verdict.local_network import mixed_content
from rollout.verdict.login.browsers import Browser
from rollout.verdict.login.causes import Cause, Hurdle
from rollout.verdict.login.cookie import Cookie, not_returned, not_visible
from rollout.verdict.login.csrf import Csrf, CsrfRequest, trusts
from rollout.verdict.values import origin_of


class Handing(StrEnum):
    """Where a page's script takes the CSRF token from."""

    COOKIE = "cookie"  # document.cookie
    BODY = "body"  # an answer's body
    HEADER = "header"  # an answer's header


@dataclass(frozen=True)
class Page:
    """A page, and how its script asks: `credentials` is the mode of its fetch()."""

    origin: str
    path: str = "/"
    credentials: str = "include"


@dataclass(frozen=True)
class Api:
    """An API: what its answers say, and how its Django keeps sessions and checks writes.

    `session` and `token` are its cookies; `token` is None with CSRF_USE_SESSIONS. `listed`: the
    page's origin may read its answers. `sets_at` is the path that sets the cookies, `path` one that
    writes. `handing` is where the script takes the token from, `token_header` the answer's header
    that holds it. `checks_csrf`: the write is checked at all.
    """

    origin: str
    session: Cookie
    token: Cookie | None
    csrf: Csrf = field(default_factory=Csrf)
    listed: bool = True
    allow_credentials: bool = True
    allow_headers: tuple[str, ...] = ("X-CSRFToken",)
    expose_headers: tuple[str, ...] = ()
    sets_at: str = "/"
    path: str = "/"
    handing: Handing = Handing.COOKIE
    token_header: str = "X-CSRFToken"
    checks_csrf: bool = True


@dataclass(frozen=True)
class Login:
    """What a page can do: each part is None where it works, and otherwise what is in the way."""

    session: Hurdle | None
    token: Hurdle | None
    write: Hurdle | None

    @property
    def works(self) -> bool:
        """Whether the page can log in and write."""
        return self.session is None and self.write is None


def log_in(page: Page, api: Api, browser: Browser) -> Login:
    """Whether a page can keep a session, get the token, and write with both."""
    unread = _unreadable(page, api)
    session = unread or _lost(api.session, page, api, browser)
    token = _no_token(page, api, browser, unread)
    hurdles = _before_the_write(page, api, browser, session, token)
    return Login(session, token, next(hurdles, None))


def _unreadable(page: Page, api: Api) -> Hurdle | None:
    """Why nothing is sent, no cookie goes along, or no answer can be read."""
    own, target = origin_of(page.origin), origin_of(api.origin)
    if mixed_content(own, target):
        return Hurdle(Cause.MIXED_CONTENT, api.origin)
    if own == target:
        return _without_cookies(page) if page.credentials == "omit" else None
    if not api.listed:
        return Hurdle(Cause.ORIGIN_NOT_LISTED, page.origin)
    if page.credentials != "include":
        return _without_cookies(page)
    if not api.allow_credentials:
        return Hurdle(Cause.NO_CREDENTIALS_ALLOWED)
    return None


def _without_cookies(page: Page) -> Hurdle:
    return Hurdle(Cause.NO_CREDENTIALS_SENT, detail=page.credentials)


def _lost(
    cookie: Cookie,
    page: Page,
    api: Api,
    browser: Browser,
) -> Hurdle | None:
    """Why a cookie does not come back with the write."""
    set_by, url = api.origin + api.sets_at, api.origin + api.path
    return not_returned(cookie, page.origin, set_by, url, browser)


# -------------------------------------------------------------------------------------------- token


def _no_token(
    page: Page,
    api: Api,
    browser: Browser,
    unread: Hurdle | None,
) -> Hurdle | None:
    """Why the page's script has no token to send."""
    if api.handing is Handing.COOKIE:
        return _not_in_cookie(page, api, browser, unread)
    if unread and unread.cause is not Cause.NO_CREDENTIALS_SENT:
        return unread
    if api.handing is Handing.HEADER and not _is_exposed(page, api):
        return Hurdle(Cause.HEADER_NOT_EXPOSED, api.token_header)
    return None


def _not_in_cookie(
    page: Page,
    api: Api,
    browser: Browser,
    unread: Hurdle | None,
) -> Hurdle | None:
    """Browsers store cookies of an answer that the page may not read, if they were asked to."""
    if unread and unread.cause in (Cause.MIXED_CONTENT, Cause.NO_CREDENTIALS_SENT):
        return unread
    if api.token is None:
        return Hurdle(Cause.TOKEN_IN_SESSION)
    set_by = api.origin + api.sets_at
    return not_visible(api.token, page.origin, page.path, set_by, browser)


def _is_exposed(page: Page, api: Api) -> bool:
    """https://fetch.spec.whatwg.org/#http-access-control-expose-headers: `*` is no wildcard where
    cookies are sent."""
    if origin_of(page.origin) == origin_of(api.origin):
        return True
    names = [name.lower() for name in api.expose_headers]
    everything = "*" in names and page.credentials != "include"
    return everything or api.token_header.lower() in names


# -------------------------------------------------------------------------------------------- write


def _before_the_write(
    page: Page,
    api: Api,
    browser: Browser,
    session: Hurdle | None,
    token: Hurdle | None,
) -> Iterator[Hurdle]:
    """All that is in the way of a write, what comes first at the front."""
    if session:
        yield session
    if not api.checks_csrf:
        return
    if token:
        yield token
    if api.token:
        secret = _lost(api.token, page, api, browser)
        if secret:
            yield secret
    same_origin = origin_of(page.origin) == origin_of(api.origin)
    allowed = [name.lower() for name in api.allow_headers]
    if not same_origin and api.csrf.header.lower() not in allowed:
        yield Hurdle(Cause.HEADER_NOT_ALLOWED, api.csrf.header)
    if not _trusted(page, api):
        yield Hurdle(Cause.ORIGIN_NOT_TRUSTED, page.origin)


def _trusted(page: Page, api: Api) -> bool:
    """Whether Django accepts the write's Origin, which browsers send with every one.
    https://fetch.spec.whatwg.org/#append-a-request-origin-header"""
    target = origin_of(api.origin)
    request = CsrfRequest(
        host=target.authority,
        secure=target.scheme == "https",
        origin=page.origin,
    )
    return trusts(api.csrf, request)
