"""Can this page log in and write? Rows that say what a setting does; the browsers themselves are
asked by tests/e2e/test_login_chromium.py and test_login_firefox.py."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rollout.verdict.login import (
    BROWSERS,
    CHROMIUM,
    CHROMIUM_BLOCKING,
    FIREFOX,
    SAFARI,
    Api,
    Browser,
    Cause,
    Cookie,
    Csrf,
    Handing,
    Hurdle,
    Page,
    log_in,
)
from tests.support.kit import ROOT
from tests.test_readme import anchors

PAGE, SIBLING = "https://app.example.com", "https://api.example.com"
OTHER_SITE = "https://api.example.net"
ADDRESSES = "https://203.0.113.7", "https://203.0.113.8"


def django(name: str, attributes: str = "; SameSite=Lax; Secure") -> Cookie:
    return Cookie.parse(f"{name}=x; Path=/{attributes}")


def api(origin: str = SIBLING, attributes: str = "; SameSite=Lax; Secure") -> Api:
    """A Django that trusts the page and hands its token out in a body."""
    return Api(
        origin,
        django("sessionid", f"{attributes}; HttpOnly"),
        django("csrftoken", attributes),
        Csrf((PAGE,)),
        handing=Handing.BODY,
    )


NONE = "; SameSite=None; Secure"


@pytest.mark.parametrize("browser", BROWSERS, ids=lambda browser: browser.name)
def test_under_one_domain_a_page_logs_in_and_writes_in_every_browser(browser: Browser) -> None:
    """What the kit's stacks with names are."""
    assert log_in(Page(PAGE), api(), browser).works


@pytest.mark.parametrize(
    ("browser", "attributes", "cause"),
    [
        (CHROMIUM, NONE, None),
        (CHROMIUM_BLOCKING, NONE, Cause.THIRD_PARTY),
        (CHROMIUM_BLOCKING, f"{NONE}; Partitioned", None),
        (FIREFOX, NONE, None),
        (FIREFOX, "; Secure", None),
        (CHROMIUM, "; Secure", Cause.SAME_SITE),
        (FIREFOX, "; Secure; SameSite=Lax", Cause.SAME_SITE),
        (SAFARI, NONE, Cause.THIRD_PARTY),
        (SAFARI, f"{NONE}; Partitioned", None),
    ],
)
@pytest.mark.parametrize("pair", [(PAGE, OTHER_SITE), ADDRESSES])
def test_between_two_sites_browsers_differ(
    pair: tuple[str, str], browser: Browser, attributes: str, cause: Cause | None
) -> None:
    """Two domains and two addresses alike."""
    page, other = pair
    login = log_in(Page(page), replace(api(other, attributes), csrf=Csrf((page,))), browser)
    assert (login.session and login.session.cause, login.works) == (cause, cause is None)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({}, Cause.HOST_ONLY),
        ({"token": django("csrftoken", "; Secure; Domain=example.com")}, None),
        ({"token": django("csrftoken", "; Secure; Domain=example.com; HttpOnly")}, Cause.HTTP_ONLY),
        ({"token": None}, Cause.TOKEN_IN_SESSION),
        ({"handing": Handing.BODY}, None),
        ({"handing": Handing.HEADER}, Cause.HEADER_NOT_EXPOSED),
        ({"handing": Handing.HEADER, "expose_headers": ("x-csrftoken",)}, None),
        ({"handing": Handing.HEADER, "expose_headers": ("*",)}, Cause.HEADER_NOT_EXPOSED),
        ({"allow_credentials": False}, Cause.HOST_ONLY),
    ],
)
def test_a_sibling_gets_the_token_where_the_api_gives_it(
    changes: dict[str, object], cause: Cause | None
) -> None:
    """Django's own cookie belongs to the API's host alone."""
    asked = replace(api(), **{"handing": Handing.COOKIE, **changes})  # type: ignore[arg-type]
    token = log_in(Page(PAGE), asked, CHROMIUM).token
    assert (token and token.cause) == cause


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"allow_headers": ("content-type",)}, Cause.HEADER_NOT_ALLOWED),
        ({"csrf": Csrf()}, Cause.ORIGIN_NOT_TRUSTED),
        ({"csrf": Csrf(("https://*.example.com",))}, None),
        ({"csrf": Csrf(), "checks_csrf": False}, None),
        ({"listed": False}, Cause.ORIGIN_NOT_LISTED),
        ({"session": django("sessionid", "; Domain=example.net")}, Cause.FOREIGN_DOMAIN),
        ({"session": replace(django("sessionid"), path="/admin/")}, Cause.OTHER_PATH),
        ({"token": replace(django("csrftoken"), path="/admin/")}, Cause.OTHER_PATH),
    ],
)
def test_a_write_needs_more_than_a_session(changes: dict[str, object], cause: Cause | None) -> None:
    """What stops it is named, and the first thing is."""
    write = log_in(Page(PAGE), replace(api(), **changes), CHROMIUM).write  # type: ignore[arg-type]
    assert (write and write.cause) == cause


def test_the_token_in_a_cookie_is_hidden_by_its_path() -> None:
    """document.cookie of /app has no cookie for /api/."""
    asked = replace(
        api(),
        token=replace(django("csrftoken", "; Secure; Domain=example.com"), path="/api/"),
        handing=Handing.COOKIE,
        path="/api/write/",
    )
    found = [log_in(Page(PAGE, path), asked, CHROMIUM).token for path in ("/app", "/api/x")]
    assert [hurdle and hurdle.cause for hurdle in found] == [Cause.HIDDEN_BY_PATH, None]


def test_the_token_in_a_secure_cookie_is_hidden_from_an_http_page() -> None:
    """Although a browser sends it along to the https sibling."""
    token = django("csrftoken", f"{NONE}; Domain=example.com")
    asked = replace(api(), token=token, handing=Handing.COOKIE)
    found = log_in(Page("http://app.example.com"), asked, CHROMIUM).token
    assert found and found.cause is Cause.HIDDEN_FROM_HTTP


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_its_words_and_its_place(cause: Cause) -> None:
    """A source, a sentence and a cure that can follow a colon, and a heading in the docs."""
    hurdle = Hurdle(cause, "what", "detail")
    assert re.fullmatch(r"https://\S+", hurdle.source)
    for text in (hurdle.sentence, hurdle.cure):
        assert text and "{" not in text and not text.endswith(".") and "\n" not in text
    assert str(cause) in anchors(ROOT / "docs" / "login.md")


@pytest.mark.parametrize(
    ("line", "cookie"),
    [
        ("a=b", Cookie("a")),
        ("a=b; Domain=.Example.com; Path=/x", Cookie("a", "example.com", "/x")),
        ("a=b;secure;HTTPONLY;samesite=STRICT", Cookie("a", "", "", True, True, "strict")),
        ("a=b; SameSite=Odd; Path=x", Cookie("a")),
        ("a=b; SameSite=None; SameSite=Lax", Cookie("a", same_site="lax")),
        ("a=b; Partitioned; Secure", Cookie("a", secure=True, partitioned=True)),
    ],
)
def test_a_set_cookie_line_is_read_as_browsers_do(line: str, cookie: Cookie) -> None:
    """RFC 6265bis, 5.6."""
    assert Cookie.parse(line) == cookie
