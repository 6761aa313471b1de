"""Whether the pages of each origin can log in and write, browser by browser: from the settings that
a backend's Django reports and the cookies that the API really sets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from on_host.answers import CookieSettings, LoginSettings
from rollout.doctor import browser as chromium
from rollout.doctor.observations import Observations, distinct, responses
from rollout.verdict.login import (
    BROWSERS,
    Api,
    Browser,
    Cookie,
    Csrf,
    Handing,
    Login,
    Page,
    log_in,
    not_visible,
)

NO_CREDENTIALS = (
    "`allow_credentials` is off, so pages send no cookies and log in by a token in Authorization"
)
NO_SESSIONS = "the project has no SessionMiddleware"
NOT_KNOWN = "no host says how the project keeps its cookies"


@dataclass(frozen=True)
class Row:
    """What pages of one origin can do in one browser. `handing` is where their script gets the
    token: in its cookie, or else in an answer, if the project's own code puts it there."""

    origin: str
    browser: Browser
    handing: Handing
    login: Login


def settings_of(observed: Observations) -> LoginSettings | None:
    """What the first backend that answers says; None where none does."""
    for host in observed.hosts:
        found = host.state.get("login_settings") if host.state else None
        if found:
            return found
    return None


def why_not_judged(observed: Observations) -> str:
    """A sentence where there is no verdict; empty where there is one."""
    if not observed.contract.cors.allow_credentials:
        return NO_CREDENTIALS
    settings = settings_of(observed)
    if settings is None:
        return NOT_KNOWN
    return "" if settings["keeps_sessions"] else NO_SESSIONS


def rows(observed: Observations) -> tuple[Row, ...]:
    """Every origin of the contract that was asked for and that a page can have, in each browser;
    none where there is no verdict."""
    settings = settings_of(observed)
    if settings is None or why_not_judged(observed):
        return ()
    api = api_of(observed, settings)
    found = []
    for origin in _pages(observed):
        for browser in BROWSERS:
            found.append(_row(origin, browser, api, settings))
    return tuple(found)


def api_of(observed: Observations, settings: LoginSettings) -> Api:
    """The API as the verdict takes it: the contract's lists, the project's settings."""
    cors = observed.contract.cors
    origin = observed.contract.backend.origin
    real = real_cookies(observed)
    token = None if settings["in_session"] else _cookie(settings["csrf"], real)
    domain = settings["session" if settings["in_session"] else "csrf"]["DOMAIN"]
    return Api(
        origin=origin,
        session=_cookie(settings["session"], real),
        token=token,
        csrf=Csrf(tuple(settings["trusted_origins"]), domain, header_name(settings["header"])),
        allow_headers=cors.allow_headers,
        expose_headers=cors.expose_headers,
        checks_csrf=settings["checks_csrf"],
    )


def header_name(wsgi: str) -> str:
    """The request header of CSRF_HEADER_NAME: HTTP_X_CSRFTOKEN is X-CSRFToken."""
    words = wsgi.removeprefix("HTTP_").split("_")
    name = "-".join(word.capitalize() for word in words)
    return "X-CSRFToken" if name == "X-Csrftoken" else name


def _row(
    origin: str,
    browser: Browser,
    api: Api,
    settings: LoginSettings,
) -> Row:
    """The token's cookie counts where the script can read it."""
    readable = api.token is not None and (
        not_visible(api.token, origin, "/", f"{api.origin}/", browser) is None
    )
    handing = Handing.COOKIE
    if settings["returns"] and not readable:
        handing = Handing.BODY
    login = log_in(Page(origin), replace(api, handing=handing), browser)
    return Row(origin, browser, handing, login)


def _pages(observed: Observations) -> list[str]:
    """The contract's origins among those that were asked for, without those of apps."""
    cors = observed.contract.cors
    asked = distinct(cell.question.row.origin for cell in observed.public)
    pages = []
    for origin in asked:
        if chromium.can_open(origin) and cors.lists(origin):
            pages.append(origin)
    return pages


def real_cookies(observed: Observations) -> Mapping[str, Cookie]:
    """Name → cookie as the API's answers set it."""
    found = {}
    for answer in responses(observed.cells):
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                cookie = Cookie.parse(value)
                found[cookie.name] = cookie
    return found


def _cookie(settings: CookieSettings, real: Mapping[str, Cookie]) -> Cookie:
    """The cookie as it was seen, or as Django will set it.
    https://docs.djangoproject.com/en/5.2/ref/settings/#session-cookie-samesite"""
    if settings["NAME"] in real:
        return real[settings["NAME"]]
    return Cookie(
        name=settings["NAME"],
        domain=(settings["DOMAIN"] or "").removeprefix(".").lower(),
        path=settings["PATH"],
        secure=settings["SECURE"],
        http_only=settings["HTTPONLY"],
        same_site=str(settings["SAMESITE"] or "").lower(),
    )


# ----------------------------------------------------------------------------------- as it is shown


@dataclass(frozen=True)
class Group:
    """Origins and browsers with the same three answers."""

    browsers: tuple[str, ...]
    session: str
    token: str
    write: str


def groups(found: tuple[Row, ...]) -> dict[tuple[Group, ...], list[str]]:
    """Groups → the origins that have just these."""
    by_origin: dict[str, list[Row]] = {}
    for row in found:
        of_origin = by_origin.setdefault(row.origin, [])
        of_origin.append(row)
    together: dict[tuple[Group, ...], list[str]] = {}
    for origin, own in by_origin.items():
        own_groups = tuple(_grouped(own))
        with_the_same = together.setdefault(own_groups, [])
        with_the_same.append(origin)
    return together


def _grouped(own: list[Row]) -> Iterator[Group]:
    names: dict[tuple[str, str, str], list[str]] = {}
    for row in own:
        names.setdefault(words(row), []).append(browser_name(row.browser))
    for answer, browsers in names.items():
        if len(names) == 1:
            browsers = ["every browser"]
        yield Group(tuple(browsers), *answer)


def browser_name(browser: Browser) -> str:
    """The browser's name, and whether it was read and not run."""
    return browser.name if browser.run else f"{browser.name} (read, not run)"


def words(row: Row) -> tuple[str, str, str]:
    """The three answers as words: session, token and write."""
    login = row.login
    return (
        "lost" if login.session else "kept",
        "none" if login.token else _TOKEN[row.handing],
        "refused" if login.write else "passes",
    )


_TOKEN = {
    Handing.COOKIE: "cookie",
    Handing.BODY: "answer",
    Handing.HEADER: "answer",
}
