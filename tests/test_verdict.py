"""The browser's verdict, rule by rule. tests/e2e/test_verdict_chromium.py compares the same code
with a real one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rollout.verdict import (
    Exchange,
    Headers,
    Reason,
    Request,
    Response,
    judge,
    max_age_s,
    needs_preflight,
    preflight_headers,
    same_site,
)
from rollout.verdict.login import (
    CHROMIUM,
    CHROMIUM_BLOCKING,
    FIREFOX,
    SAFARI,
    Cause,
    Cookie,
    not_returned,
)
from tests.test_readme import anchors

ROOT = Path(__file__).parents[1]
PAGE, API = "https://app.example.com", "https://api.example.com/things/"
GET = Request(PAGE, API)
ALLOWED = (("Access-Control-Allow-Origin", PAGE), ("Vary", "Origin"))
WITH_COOKIES = (*ALLOWED, ("Access-Control-Allow-Credentials", "true"))
ANSWER = Response(200, ALLOWED)


def allow(**lists: str) -> Response:
    """A good answer to a preflight, e.g. methods="PUT", headers="x-cart"."""
    return Response(
        204,
        (
            *ALLOWED,
            *((f"Access-Control-Allow-{name.title()}", value) for name, value in lists.items()),
        ),
    )


def reason(request: Request, *exchanges: Exchange) -> Reason | None:
    return judge(request, exchanges).reason


# ---- the CORS check


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Reason.MissingAllowOriginHeader),
        ([PAGE], None),
        ([f"  {PAGE} "], None),
        (["*"], None),
        ([""], Reason.InvalidAllowOriginValue),
        ([PAGE, PAGE], Reason.MultipleAllowOriginValues),
        (["*", "*"], Reason.MultipleAllowOriginValues),
        ([f"{PAGE}, https://other.example"], Reason.MultipleAllowOriginValues),
        ([f"{PAGE} https://other.example"], Reason.MultipleAllowOriginValues),
        ([f"{PAGE}/"], Reason.AllowOriginMismatch),
        (["HTTPS://app.example.com"], Reason.AllowOriginMismatch),
        (["https://APP.example.com"], Reason.AllowOriginMismatch),
        (["http://app.example.com"], Reason.AllowOriginMismatch),
        ([f"{PAGE}:443"], Reason.AllowOriginMismatch),
        ([f"{PAGE}:8443"], Reason.AllowOriginMismatch),
        (["null"], Reason.AllowOriginMismatch),
        (["app.example.com"], Reason.InvalidAllowOriginValue),
        ([f'"{PAGE}"'], Reason.InvalidAllowOriginValue),
        (["203.0.113.7:8080"], Reason.InvalidAllowOriginValue),
        (["http://"], Reason.InvalidAllowOriginValue),
    ],
)
def test_allow_origin_is_the_origin_to_the_letter_and_alone(
    values: list[str], expected: Reason | None
) -> None:
    """Every way to get it wrong has Chromium's name."""
    lines = tuple(("Access-Control-Allow-Origin", value) for value in values)
    assert reason(GET, Exchange(Response(200, lines))) == expected


@pytest.mark.parametrize(
    ("origin", "credentials", "expected"),
    [
        (PAGE, ["true"], None),
        (PAGE, [], Reason.InvalidAllowCredentials),
        (PAGE, ["True"], Reason.InvalidAllowCredentials),
        (PAGE, ["true", "true"], Reason.InvalidAllowCredentials),
        ("*", ["true"], Reason.WildcardOriginNotAllowed),
    ],
)
def test_cookies_need_allow_credentials_true_and_no_wildcard(
    origin: str, credentials: list[str], expected: Reason | None
) -> None:
    """`true`, in lower case, once."""
    lines = (
        ("Access-Control-Allow-Origin", origin),
        *(("Access-Control-Allow-Credentials", v) for v in credentials),
    )
    assert reason(replace(GET, credentials=True), Exchange(Response(200, lines))) == expected


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 404, 413, 500, 502, 504])
def test_any_status_is_readable_when_the_origin_is_allowed(status: int) -> None:
    """An error is an answer."""
    verdict = judge(GET, [Exchange(Response(status, ALLOWED))])
    assert (verdict.allowed, verdict.status, verdict.phase) == (True, status, "request")


def test_the_page_s_own_origin_needs_no_header() -> None:
    """Same origin, no CORS: everything but Set-Cookie is readable."""
    verdict = judge(
        Request(PAGE, f"{PAGE}/x", "PATCH"),
        [Exchange(Response(200, (("X-A", "1"), ("Set-Cookie", "a=b"))))],
    )
    assert (verdict.allowed, verdict.readable_headers) == (True, ("x-a",))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_no_other_value_is_ever_taken_for_the_origin(value: str) -> None:
    """Only `*` and the origin itself allow anyone."""
    verdict = judge(GET, [Exchange(Response(200, (("Access-Control-Allow-Origin", value),)))])
    assert verdict.allowed == (value in (PAGE, "*"))


# ---- when a browser asks first


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Accept", "application/json"),),
        (("Accept-Language", "de-CH,de;q=0.9"),),
        (("Content-Type", "text/plain;charset=utf-8"),),
        (("Content-Type", "multipart/form-data; boundary=x"),),
        (("Range", "bytes=0-99"),),
        (("Range", "bytes=5-"),),
        (("Accept", "a" * 128),),
        (
            ("Origin", "https://evil.example"),
            ("Cookie", "a=b"),
            ("Sec-Fetch-Mode", "cors"),
            ("Proxy-X", "1"),
        ),
    ],
)
def test_simple_requests_go_without_asking(headers: Headers) -> None:
    """Safelisted headers, and those that a script can't set at all."""
    assert needs_preflight(replace(GET, headers=headers)) == ()


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        (("Content-Type", "application/json"), "header content-type: application/json"),
        (
            ("Content-Type", "text/plain, application/json"),
            "header content-type: text/plain, application/json",
        ),
        (("Content-Type", "text/plain; x=(y)"), "header content-type: text/plain; x=(y)"),
        (("Authorization", "Token secret"), "header authorization"),
        (("X-CSRFToken", "x"), "header x-csrftoken"),
        (("Accept", "a" * 129), "header accept"),
        (("Accept", "text/html:"), "header accept"),
        (("Accept-Language", "de_CH"), "header accept-language"),
        (("Range", "bytes=-5"), "header range"),
        (("Range", "bytes=9-5"), "header range"),
        (("Range", "bytes=0-1,5-6"), "header range"),
    ],
)
def test_other_headers_are_asked_for(header: tuple[str, str], asked: str) -> None:
    """One line says why; a secret value is not in it."""
    assert needs_preflight(replace(GET, headers=(header,))) == (asked,)


@pytest.mark.parametrize(
    "method", ["PUT", "put", "DELETE", "OPTIONS", "PATCH", "patch", "PROPFIND"]
)
def test_other_methods_are_asked_for(method: str) -> None:
    """fetch() writes put in capitals, patch not."""
    sent = "PUT" if method == "put" else method
    assert needs_preflight(replace(GET, method=method)) == (f"method {sent}",)


def test_a_listener_for_upload_progress_asks_first() -> None:
    """XMLHttpRequest.upload with a listener."""
    assert needs_preflight(replace(GET, listens_to_upload=True)) == (
        "a listener for upload progress",
    )


def test_more_than_1024_safelisted_bytes_are_asked_for_together() -> None:
    """Each header is short; it's the sum."""
    letters = ("accept", "accept-language", "content-language", "intervention")
    digits = ("downlink", "dpr", "width", "viewport-width", "device-memory")
    nine = tuple((name, "1" * 128) for name in letters + digits)
    assert needs_preflight(replace(GET, headers=nine[:8])) == ()
    assert len(needs_preflight(replace(GET, headers=nine))) == 9


def test_a_preflight_names_sorted_lower_case_headers() -> None:
    """To the letter what a browser sends, so that a doctor can ask like a browser."""
    request = replace(
        GET, method="put", headers=(("X-B", "1"), ("X-A", "1"), ("Accept", "x"), ("x-b", "2"))
    )
    assert preflight_headers(request) == (
        ("Origin", PAGE),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "x-a,x-b"),
    )
    assert len(preflight_headers(replace(GET, method="PUT"))) == 2


# ---- what a preflight must answer

PUT = replace(GET, method="PUT", headers=(("X-Cart", "7"),))
GOOD = allow(methods="PUT", headers="X-CART")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (GOOD, None),
        (allow(methods="*", headers="*"), None),
        (allow(methods=", PUT,", headers="x-cart ,,x-other"), None),
        (Response(200, GOOD.headers), None),
        (Response(200), Reason.PreflightMissingAllowOriginHeader),
        (Response(200, (*ALLOWED, *ALLOWED)), Reason.PreflightMultipleAllowOriginValues),
        (
            Response(200, (("Access-Control-Allow-Origin", "x"),)),
            Reason.PreflightInvalidAllowOriginValue,
        ),
        (
            Response(200, (("Access-Control-Allow-Origin", "null"),)),
            Reason.PreflightAllowOriginMismatch,
        ),
        (Response(301, (*GOOD.headers, ("Location", "/x"))), Reason.PreflightDisallowedRedirect),
        (Response(301, GOOD.headers), Reason.PreflightInvalidStatus),
        (Response(401, GOOD.headers), Reason.PreflightInvalidStatus),
        (Response(404, GOOD.headers), Reason.PreflightInvalidStatus),
        (Response(500), Reason.PreflightMissingAllowOriginHeader),
        (allow(methods="PUT GET", headers="x-cart"), Reason.InvalidAllowMethodsPreflightResponse),
        (allow(methods="PUT", headers="x-cart; x"), Reason.InvalidAllowHeadersPreflightResponse),
        (allow(headers="x-cart"), Reason.MethodDisallowedByPreflightResponse),
        (allow(methods="put", headers="x-cart"), Reason.MethodDisallowedByPreflightResponse),
        (allow(methods="PUT"), Reason.HeaderDisallowedByPreflightResponse),
        (None, Reason.no_answer),
    ],
)
def test_a_preflight_s_answer_decides_before_the_request(
    answer: Response | None, expected: Reason | None
) -> None:
    """Redirect, then the CORS check, then the status, then methods and headers."""
    verdict = judge(PUT, [Exchange(ANSWER, answer)])
    assert (verdict.reason, verdict.phase) == (expected, "preflight" if expected else "request")


def test_methods_on_the_safelist_need_no_allow_methods() -> None:
    """A POST with JSON asks for its header only."""
    request = replace(GET, method="POST", headers=(("Content-Type", "application/json"),))
    assert reason(request, Exchange(ANSWER, allow(headers="content-type"))) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Response(200, (*GOOD.headers, ("Access-Control-Allow-Credentials", "true"))), None),
        (GOOD, Reason.PreflightInvalidAllowCredentials),
        (
            Response(200, (*WITH_COOKIES, ("Access-Control-Allow-Methods", "*"))),
            Reason.MethodDisallowedByPreflightResponse,
        ),
        (
            Response(
                200,
                (
                    *WITH_COOKIES,
                    ("Access-Control-Allow-Methods", "PUT"),
                    ("access-control-allow-headers", "*"),
                ),
            ),
            Reason.HeaderDisallowedByPreflightResponse,
        ),
        (
            Response(200, (("Access-Control-Allow-Origin", "*"),)),
            Reason.PreflightWildcardOriginNotAllowed,
        ),
    ],
)
def test_with_cookies_a_star_is_only_a_character(answer: Response, expected: Reason | None) -> None:
    """And the preflight needs Allow-Credentials as well."""
    request = replace(PUT, credentials=True)
    assert reason(request, Exchange(Response(200, WITH_COOKIES), answer)) == expected


def test_authorization_under_a_star_passes_with_a_note() -> None:
    """Chromium takes it, the standard doesn't."""
    request = replace(GET, headers=(("Authorization", "Token x"),))
    verdict = judge(request, [Exchange(ANSWER, allow(headers="*"))])
    assert verdict.allowed and "list Authorization by name" in verdict.notes[0]
    assert judge(request, [Exchange(ANSWER, allow(headers="*, authorization"))]).notes == ()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ([], 5),
        (["600"], 600),
        (["0"], 0),
        (["-1"], 0),
        (["86400"], 7200),
        (["ten"], 5),
        (["1.5"], 5),
        (["600", "600"], 5),
        (["9" * 30], 5),
        ([""], 5),
        (["+7"], 7),
    ],
)
def test_max_age_is_what_chromium_makes_of_it(said: list[str], seconds: int) -> None:
    """Unreadable counts as absent, which is five seconds; two hours is the most."""
    assert (
        max_age_s(Response(200, tuple(("Access-Control-Max-Age", value) for value in said)))
        == seconds
    )


# ---- redirects


def redirect(to: str, status: int = 302, headers: Headers = ALLOWED) -> Exchange:
    return Exchange(Response(status, (*headers, ("Location", to))))


def test_a_redirect_inside_the_api_keeps_the_origin() -> None:
    """Relative, same origin."""
    assert reason(GET, redirect("/x"), Exchange(ANSWER)) is None


@pytest.mark.parametrize(
    "to", ["https://www.example.com/", f"{PAGE}/", "https://api.example.com:8443/"]
)
def test_a_redirect_to_another_origin_makes_the_origin_null(to: str) -> None:
    """So the page's origin no longer matches, not even back home."""
    verdict = judge(GET, [redirect(to), Exchange(ANSWER)])
    assert (verdict.reason, verdict.phase) == (Reason.AllowOriginMismatch, "redirect 1")
    assert "the redirect made the origin `null`" in verdict.notes
    assert (
        reason(
            GET, redirect(to), Exchange(Response(200, (("Access-Control-Allow-Origin", "null"),)))
        )
        is None
    )


def test_the_redirect_itself_must_let_the_origin_in() -> None:
    """A bare 301 by a proxy is where it ends."""
    assert reason(GET, redirect("/x", headers=())) is Reason.MissingAllowOriginHeader


def test_a_first_redirect_to_another_origin_keeps_the_origin() -> None:
    """The page's own server may redirect to the API."""
    own = replace(GET, url=f"{PAGE}/api")
    assert reason(own, redirect(API, headers=()), Exchange(ANSWER)) is None
    assert (
        reason(own, redirect(API, headers=()), Exchange(Response(200)))
        is Reason.MissingAllowOriginHeader
    )


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("https://ada:secret@api.example.com/", Reason.RedirectContainsCredentials),
        ("ftp://api.example.com/", Reason.CorsDisabledScheme),
        ("https://api.example.com:6000/", Reason.unsafe_port),
        ("http://api.example.com/", Reason.mixed_content),
    ],
)
def test_where_a_redirect_may_not_lead(to: str, expected: Reason) -> None:
    """And no password is ever repeated."""
    verdict = judge(GET, [redirect(to), Exchange(ANSWER)])
    assert verdict.reason == expected and "secret" not in str(verdict)


def test_a_redirected_post_becomes_a_get_and_a_put_stays() -> None:
    """303 makes a GET of everything; then there is nothing left to ask for."""
    post = replace(GET, method="POST", headers=(("Content-Type", "application/json"),))
    json = allow(headers="content-type")
    moved = replace(redirect("/x"), preflight=json)
    assert reason(post, moved, Exchange(ANSWER)) is None
    assert (
        reason(post, replace(redirect("/x", 307), preflight=json), Exchange(ANSWER))
        is Reason.no_answer
    )
    assert reason(PUT, replace(redirect("/x", 303), preflight=GOOD), Exchange(ANSWER, GOOD)) is None


def test_redirect_modes_of_fetch() -> None:
    """manual gives an opaque answer, error none at all."""
    manual = judge(replace(GET, redirect="manual"), [redirect("/x")])
    assert (manual.allowed, manual.status, manual.readable_headers) == (True, 0, ())
    assert reason(replace(GET, redirect="error"), redirect("/x")) is Reason.redirect_refused
    assert (
        reason(replace(GET, redirect="error"), redirect("ftp://a.example/"))
        is Reason.redirect_refused
    )
    assert reason(replace(GET, redirect="error"), redirect("data:,x")) is Reason.CorsDisabledScheme


def test_twenty_redirects_are_followed_and_no_more() -> None:
    """And a redirect whose target was not asked is an error of the caller."""
    hops = [redirect(f"/{place}") for place in range(21)]
    assert reason(GET, *hops[:20], Exchange(ANSWER)) is None
    assert reason(GET, *hops, Exchange(ANSWER)) is Reason.too_many_redirects
    with pytest.raises(
        ValueError, match=r"the answer of https://api\.example\.com/things/ is missing"
    ):
        judge(GET, [])


# ---- what a script may read


@pytest.mark.parametrize(
    ("expose", "credentials", "readable"),
    [
        ([], False, ("content-type",)),
        (["X-A"], False, ("content-type", "x-a")),
        (["X-A", "x-b"], False, ("content-type", "x-a", "x-b")),
        (["*"], True, ("content-type",)),
        (
            ["*"],
            False,
            (
                "access-control-allow-credentials",
                "access-control-allow-origin",
                "access-control-expose-headers",
                "content-type",
                "vary",
                "x-a",
                "x-b",
            ),
        ),
    ],
)
def test_a_script_reads_the_safelist_and_what_is_exposed(
    expose: list[str], credentials: bool, readable: tuple[str, ...]
) -> None:
    """`*` exposes everything but only without cookies; Set-Cookie never."""
    lines = (
        *WITH_COOKIES,
        ("Content-Type", "x"),
        ("X-A", "1"),
        ("X-B", "1"),
        ("Set-Cookie", "a=b"),
    )
    answer = Response(
        200, (*lines, *(("Access-Control-Expose-Headers", value) for value in expose))
    )
    assert (
        judge(replace(GET, credentials=credentials), [Exchange(answer)]).readable_headers
        == readable
    )


@pytest.mark.parametrize(
    ("vary", "noted"),
    [([], True), (["Accept"], True), (["accept, ORIGIN"], False), (["Accept", "Origin"], False)],
)
def test_an_answer_for_one_origin_wants_vary_origin(vary: list[str], noted: bool) -> None:
    """Else a cache hands it to the next page."""
    lines = (("Access-Control-Allow-Origin", PAGE), *(("Vary", value) for value in vary))
    assert (
        any(
            "Vary lacks Origin" in note
            for note in judge(GET, [Exchange(Response(200, lines))]).notes
        )
        == noted
    )


# ---- what is no CORS at all


def test_a_method_that_no_page_may_use() -> None:
    """TRACE and friends."""
    assert reason(replace(GET, method="trace")) is Reason.forbidden_method


def test_a_url_with_a_password_is_refused_without_repeating_it() -> None:
    """fetch() throws a TypeError."""
    verdict = judge(replace(GET, url="https://ada:secret@api.example.com/"), [])
    assert verdict.reason is Reason.url_with_password and "secret" not in str(verdict)


@pytest.mark.parametrize(
    ("page", "url", "expected"),
    [
        (PAGE, "http://api.example.com/", Reason.mixed_content),
        (PAGE, "http://203.0.113.7/", Reason.mixed_content),
        ("http://app.example.com", "http://api.example.com/", Reason.MissingAllowOriginHeader),
        ("http://app.example.com", "https://api.example.com/", Reason.MissingAllowOriginHeader),
        ("https://localhost", "http://127.0.0.1:8000/", Reason.MissingAllowOriginHeader),
        ("https://localhost", "http://localhost:8000/", Reason.MissingAllowOriginHeader),
    ],
)
def test_an_https_page_may_ask_http_only_on_this_machine(
    page: str, url: str, expected: Reason
) -> None:
    """Blocked before anything is sent."""
    verdict = judge(Request(page, url), [Exchange(Response(200))])
    assert (verdict.reason, verdict.phase) == (
        expected,
        "before" if expected is Reason.mixed_content else "request",
    )


@pytest.mark.parametrize("port", [22, 6000, 10080])
def test_a_blocked_port_is_blocked(port: int) -> None:
    """The list is infra/core/origins.py's."""
    verdict = judge(replace(GET, url=f"https://api.example.com:{port}/"), [Exchange(None)])
    assert (verdict.reason, verdict.phase) == (Reason.unsafe_port, "before")


def test_a_port_that_only_the_standard_blocks_is_noted() -> None:
    """Chromium loads from 4190 and 6679, others don't."""
    verdict = judge(replace(GET, url="https://api.example.com:4190/"), [Exchange(ANSWER)])
    assert verdict.allowed and verdict.notes == (
        "the standard blocks port 4190, and other browsers do; Chromium doesn't yet",
    )


@pytest.mark.parametrize(
    ("page", "there", "here", "expected"),
    [
        ("http://app.example.com", "10.0.0.7", "203.0.113.7", Reason.InsecureLocalNetwork),
        (
            "https://app.example.com",
            "10.0.0.7",
            "203.0.113.7",
            Reason.LocalNetworkAccessPermissionDenied,
        ),
        (
            "https://app.example.com",
            "fd00::7",
            "2600::7",
            Reason.LocalNetworkAccessPermissionDenied,
        ),
        (
            "https://app.example.com",
            "127.0.0.1",
            "10.0.0.7",
            Reason.LocalNetworkAccessPermissionDenied,
        ),
        (
            "https://app.example.com",
            "::ffff:10.0.0.7",
            "203.0.113.7",
            Reason.LocalNetworkAccessPermissionDenied,
        ),
        ("https://app.example.com", "10.0.0.8", "10.0.0.7", Reason.MissingAllowOriginHeader),
        ("https://app.example.com", "203.0.113.8", "10.0.0.7", Reason.MissingAllowOriginHeader),
        ("https://app.example.com", "10.0.0.7", None, Reason.MissingAllowOriginHeader),
    ],
)
def test_a_page_may_not_reach_closer_than_it_came_from(
    page: str, there: str, here: str | None, expected: Reason
) -> None:
    """Public to private, private to this machine: refused for http, asked about for https."""
    request = Request(page, API, page_address=here, address=there)
    assert reason(request, Exchange(Response(200))) is expected
    if expected is Reason.LocalNetworkAccessPermissionDenied:
        assert reason(replace(request, permitted=True), Exchange(ANSWER)) is None


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        (None, True),
        ("script-src 'self'", True),
        ("connect-src *", True),
        ("connect-src https:", True),
        ("connect-src http:", True),
        ("connect-src api.example.com", True),
        ("connect-src *.example.com", True),
        ("connect-src http://api.example.com", True),
        ("connect-src https://api.example.com:*", True),
        ("connect-src https://api.example.com/things/", True),
        ("default-src 'none'; connect-src HTTPS://API.example.com", True),
        ("connect-src 'self'", False),
        ("connect-src 'none'", False),
        ("connect-src", False),
        ("default-src 'self'", False),
        ("connect-src *.api.example.com", False),
        ("connect-src https://api.example.com:8443", False),
        ("connect-src https://api.example.com/other", False),
        ("connect-src https://api.example.com/things", False),
        ("connect-src *, connect-src 'none'", False),
        ("connect-src 'none'; connect-src *", False),
        ("connect-src wss:", False),
    ],
)
def test_the_page_s_own_policy_may_forbid_the_api(policy: str | None, allowed: bool) -> None:
    """connect-src, or default-src in its place; of several policies each must agree."""
    assert reason(replace(GET, csp=policy), Exchange(ANSWER)) is (None if allowed else Reason.csp)


def test_after_a_redirect_a_policy_looks_at_no_path() -> None:
    """So that it can't be used to find out where a redirect leads."""
    request = replace(GET, csp="connect-src https://api.example.com/things/")
    assert reason(request, redirect("/other"), Exchange(ANSWER)) is None


@pytest.mark.parametrize(
    ("page", "url", "same"),
    [
        ("https://app.example.com", "https://api.example.com:8443/", True),
        ("https://app.example.com", "http://api.example.com/", False),
        ("https://a.github.io", "https://b.github.io/", False),
        ("https://app.example.co.uk", "https://api.other.co.uk/", False),
        ("http://203.0.113.7", "http://203.0.113.7:8000/", True),
        ("http://203.0.113.7", "http://203.0.113.8/", False),
        ("http://localhost:3000", "http://127.0.0.1:8000/", False),
        ("http://localhost:3000", "http://localhost:8000/", True),
    ],
)
def test_a_site_is_scheme_and_registrable_domain(page: str, url: str, same: bool) -> None:
    """Ports don't count, public suffixes do, and an address is a site by itself."""
    assert same_site(page, url) == same


@pytest.mark.parametrize(
    ("page", "cookie", "why"),
    [
        (PAGE, "sessionid=x; HttpOnly; SameSite=Lax", None),
        (PAGE, "sessionid=x; SameSite=None", Cause.NONE_WITHOUT_SECURE),
        ("https://app.other.example", "sessionid=x; Path=/", Cause.SAME_SITE),
        ("https://app.other.example", "sessionid=x; SameSite=strict", Cause.SAME_SITE),
        ("https://app.other.example", "sessionid=x; Secure; SameSite=None", None),
    ],
)
def test_a_cookie_between_sites_needs_none_and_secure(
    page: str, cookie: str, why: Cause | None
) -> None:
    """Inside one site the defaults do."""
    hurdle = not_returned(Cookie.parse(cookie), page, API, API, CHROMIUM)
    assert (hurdle and hurdle.cause) == why


def test_between_two_http_addresses_no_cookie_travels() -> None:
    """None needs Secure, Secure needs https: the reason why the kit's plain-IP stacks use tokens.
    Firefox alone sends a cookie without SameSite."""
    page, api = "http://203.0.113.7", "http://203.0.113.8/"
    for attributes in ("", "; SameSite=Lax", "; SameSite=None", "; Secure; SameSite=None"):
        cookie = Cookie.parse(f"sessionid=x{attributes}")
        for browser in (CHROMIUM, CHROMIUM_BLOCKING, SAFARI):
            assert not_returned(cookie, page, api, api, browser)
        sent = not_returned(cookie, page, api, api, FIREFOX) is None
        assert sent == (attributes == "")


# ---- the words


@pytest.mark.parametrize("one", list(Reason))
def test_every_reason_has_a_source_and_a_sentence(one: Reason) -> None:
    """A link to the standard, and a line without a full stop that can follow a colon."""
    said = one.template.format(origin=PAGE, url=API, detail="x", answer="answer")
    assert re.fullmatch(r"https://\S+#\S+", one.source)
    assert "{" not in said and not said.endswith(".") and "\n" not in said


def test_a_verdict_says_it_whole() -> None:
    """Sentence, source and anchor, as a report prints them."""
    verdict = judge(GET, [Exchange(Response(200))])
    assert (
        verdict.sentence
        == "the answer of https://api.example.com/things/ has no Access-Control-Allow-Origin; it"
        " must be https://app.example.com"
    )
    assert verdict.source == "https://fetch.spec.whatwg.org/#concept-cors-check"
    assert verdict.anchor == "missingalloworiginheader"


def headings() -> set[str]:
    text = (ROOT / "docs" / "cors-errors.md").read_text()
    return set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))


@pytest.mark.parametrize("one", list(Reason))
def test_every_reason_has_a_heading_in_the_document(one: Reason) -> None:
    """So that `docs/cors-errors.md#<anchor>` leads somewhere."""
    assert str(one) in headings()


def test_every_key_and_link_that_the_document_names_exists() -> None:
    """Stack keys are Pulumi.yaml's, links are headings."""
    page = ROOT / "docs" / "cors-errors.md"
    text = page.read_text()
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors(page)
    keys = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    named = set(
        re.findall(
            r"`(allow_\w+|expose_headers|extra_origins|max_\w+|timeout_s|domain|frontend_name)\b",
            text,
        )
    )
    assert len(named) > 8 and named <= set(keys)
