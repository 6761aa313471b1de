"""The doctor on logging in and writing: what the project says of itself, findings, and how the
report shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Contract
from on_host import as_user, login_settings, project
from rollout.doctor import Observations, as_json, as_text, diagnose
from rollout.doctor.codes import Code
from rollout.doctor.findings import findings
from rollout.doctor.observations import HostReport
from rollout.doctor.page import html
from rollout.doctor.questions import Question
from rollout.finding import Finding
from rollout.verdict import Response
from tests.test_doctor import HEALTHY, IP, NAMES, observed, right

COOKIE: dict[str, Any] = {
    "DOMAIN": None,
    "PATH": "/",
    "SECURE": False,
    "HTTPONLY": False,
    "SAMESITE": "Lax",
}
# What a project of `startproject` answers, on a host of the stack NAMES.
PLAIN: dict[str, Any] = {
    "session": {**COOKIE, "NAME": "sessionid", "HTTPONLY": True},
    "csrf": {**COOKIE, "NAME": "csrftoken"},
    "in_session": False,
    "header": "HTTP_X_CSRFTOKEN",
    "trusted_origins": list(NAMES.cors.allowed_origins),
    "keeps_sessions": True,
    "checks_csrf": True,
    "returns": "catalog/views.py, line 73",
    "sets_cookie": "",
}


def over_https(contract: Contract, page: str, api: str) -> Contract:
    """The same contract with these origins."""
    return replace(
        contract,
        tls="acme",
        frontend=replace(contract.frontend, origin=page),
        backend=replace(contract.backend, origin=api),
        cors=replace(
            contract.cors,
            allowed_origins=(page,),
            allowed_shapes=(),
            app_origins=(),
            allow_credentials=True,
        ),
    )


def plain(origin: str) -> str:
    """The same with http."""
    return origin.replace("https:", "http:")


def over_http(contract: Contract) -> Contract:
    """The same contract before it had https."""
    page, api = plain(contract.frontend.origin), plain(contract.backend.origin)
    made = over_https(contract, page, api)
    return replace(made, tls="off")


SIBLINGS = over_https(NAMES, "https://app.example.com", "https://api.example.com")
TWO_SITES = over_https(NAMES, "https://app.example.com", "https://api.example.net")
ADDRESSES = over_https(NAMES, "https://203.0.113.7", "https://203.0.113.8")
SECURE = {"SECURE": True}
NONE = {"SECURE": True, "SAMESITE": "None"}


def with_settings(
    contract: Contract, both: dict[str, Any] | None = None, **changes: Any
) -> Observations:
    """All is well, and the project answers PLAIN with these changes; `both` are of both cookies."""
    settings = {**PLAIN, "trusted_origins": list(contract.cors.allowed_origins), **changes}
    for cookie in ("session", "csrf"):
        settings[cookie] = {**settings[cookie], **(both or {})}
    state: Any = {**HEALTHY, "login_settings": settings}
    host = HostReport("backend-1", "10.0.0.2", state)
    return observed(contract, hosts=[host])


def found(whole: Observations) -> list[Finding]:
    """What the check of this module's subject finds."""
    codes = {
        Code.SESSION_LOST,
        Code.SESSION_LOST_IN_SOME,
        Code.TOKEN_OUT_OF_REACH,
        Code.WRITE_REFUSED,
        Code.COOKIES_BETWEEN_SITES,
        Code.COOKIE_NEEDS_HTTPS,
    }
    return [finding for finding in findings(whole) if finding.code in codes]


# ----------------------------------------------------------------------------------------- findings


PLAIN_TWO_SITES, PLAIN_ADDRESSES = over_http(TWO_SITES), over_http(ADDRESSES)


@pytest.mark.parametrize("rule", ["None", False])
@pytest.mark.parametrize("contract", [PLAIN_TWO_SITES, PLAIN_ADDRESSES])
def test_two_sites_over_http_are_said_once(contract: Contract, rule: str | bool) -> None:
    """That some browsers block third-party cookies, too, has the same cure."""
    lost = found(with_settings(contract, {"SAMESITE": rule}))
    assert Code.COOKIES_BETWEEN_SITES in [finding.code for finding in lost]
    assert "login.md#third-party" not in [finding.anchor for finding in lost]


@pytest.mark.parametrize("contract", [SIBLINGS, TWO_SITES, ADDRESSES])
def test_the_http_twin_of_the_page_has_no_pages_that_log_in(contract: Contract) -> None:
    """Its finding says that no page has that origin."""
    twin = plain(contract.frontend.origin)
    listed = replace(contract.cors, allowed_origins=(contract.frontend.origin, twin))
    whole = with_settings(replace(contract, cors=listed), NONE)
    assert Code.HTTP_ORIGIN_LISTED in [finding.code for finding in findings(whole)]
    assert not any(twin in finding.text for finding in found(whole))


NO_TOKEN = {"returns": ""}
# Contract, settings of both cookies, other settings → code, whether it is a warning, a part of it.
CASES: list[tuple[Contract, dict[str, Any], dict[str, Any], str, bool, str]] = [
    (SIBLINGS, SECURE, NO_TOKEN, Code.TOKEN_OUT_OF_REACH, True, "api.example.com alone"),
    (
        SIBLINGS,
        SECURE,
        {**NO_TOKEN, "sets_cookie": "shop/views.py, line 4"},
        Code.TOKEN_OUT_OF_REACH,
        False,
        "shop/views.py, line 4",
    ),
    (TWO_SITES, NONE, NO_TOKEN, Code.TOKEN_OUT_OF_REACH, True, "another site"),
    (SIBLINGS, SECURE, {"in_session": True, **NO_TOKEN}, Code.TOKEN_OUT_OF_REACH, True, "SESSIONS"),
    (TWO_SITES, SECURE, {}, Code.SESSION_LOST, False, "SameSite=Lax"),
    (ADDRESSES, SECURE, {}, Code.SESSION_LOST, False, "SameSite=Lax"),
    (TWO_SITES, NONE, {}, Code.SESSION_LOST_IN_SOME, True, "Safari"),
    (ADDRESSES, NONE, {}, Code.SESSION_LOST_IN_SOME, True, "Safari"),
    (SIBLINGS, {"DOMAIN": "example.net"}, {}, Code.SESSION_LOST, False, "Domain=example.net"),
    (SIBLINGS, SECURE, {"trusted_origins": []}, Code.WRITE_REFUSED, False, "does not trust"),
    (SIBLINGS, SECURE, {"header": "HTTP_X_XSRF_TOKEN"}, Code.WRITE_REFUSED, False, "X-Xsrf-Token"),
]


@pytest.mark.parametrize(("contract", "both", "more", "code", "warning", "part"), CASES)
def test_what_is_in_the_way_is_named_with_its_cure(
    contract: Contract,
    both: dict[str, Any],
    more: dict[str, Any],
    code: str,
    warning: bool,
    part: str,
) -> None:
    """One finding, with the place in the docs; only what is certain changes the exit status."""
    whole = with_settings(contract, both, **more)
    one = next(finding for finding in found(whole) if finding.code == code)
    assert (one.warning, part in one.text) == (warning, True), one.text
    assert one.link.startswith("docs/login.md#") and one.cure
    assert diagnose(whole).status == (0 if warning else 1)


@pytest.mark.parametrize(
    ("contract", "both", "more"),
    [
        (SIBLINGS, SECURE, {}),
        (SIBLINGS, {**SECURE, "DOMAIN": ".example.com"}, NO_TOKEN),
        (NAMES, {}, {}),
        (SIBLINGS, SECURE, {"checks_csrf": False, **NO_TOKEN}),
        (SIBLINGS, SECURE, {"keeps_sessions": False, **NO_TOKEN}),
        (replace(IP, cors=replace(IP.cors, allow_credentials=False)), {}, NO_TOKEN),
    ],
)
def test_where_it_works_nothing_is_found(
    contract: Contract, both: dict[str, Any], more: dict[str, Any]
) -> None:
    """And where no cookie is sent, or nothing is checked, nothing is missing."""
    whole = with_settings(contract, both, **more)
    tokens = [finding for finding in found(whole) if finding.code != Code.TOKEN_OUT_OF_REACH]
    assert tokens == []
    checks = more.get("checks_csrf", True) and more.get("keeps_sessions", True)
    if checks and contract.cors.allow_credentials:
        assert found(whole) == []


def test_another_site_s_page_that_keeps_no_session_is_a_warning() -> None:
    """It may have no need to log in."""
    other = "http://localhost:3000"
    cors = replace(NAMES.cors, allowed_origins=(*NAMES.cors.allowed_origins, other))
    (one,) = found(with_settings(replace(NAMES, cors=cors)))
    assert (one.code, one.warning, other in one.text) == (Code.SESSION_LOST, True, True)


def setting(line: str) -> Callable[[Question], tuple[Response, ...]]:
    """The right answers, each with this Set-Cookie line."""

    def answers(question: Question) -> tuple[Response, ...]:
        own = [one for one in right(SIBLINGS)(question) if isinstance(one, Response)]
        return tuple(Response(one.status, (*one.headers, ("Set-Cookie", line))) for one in own)

    return answers


def test_the_cookie_that_the_api_really_sets_counts_before_the_settings() -> None:
    """A middleware of the project may change it."""
    line = "csrftoken=x; Path=/; Domain=example.com; Secure; SameSite=Lax"
    state = with_settings(SIBLINGS, SECURE, **NO_TOKEN).hosts
    whole = observed(SIBLINGS, setting(line), hosts=state)
    assert found(whole) == []


# ------------------------------------------------------------------------------------- how it shows


def test_the_text_has_a_line_for_browsers_with_the_same_answers() -> None:
    """Between two sites they differ; Safari's line says that it was not run."""
    text = as_text(diagnose(with_settings(TWO_SITES, NONE)))
    section = text[text.index("logging in and writing:") :].split("\n\n")[0]
    assert section == (
        "logging in and writing:                   session  token    write\n"
        "  https://app.example.com\n"
        "    Chromium,\n"
        "    Firefox                               kept     answer   passes\n"
        "    Chromium without third-party cookies,\n"
        "    Safari (read, not run)                lost     answer   refused"
    )


def test_where_all_browsers_agree_there_is_one_line() -> None:
    """As under one domain."""
    text = as_text(diagnose(with_settings(SIBLINGS, SECURE)))
    assert "    every browser                         kept     answer   passes\n" in text


@pytest.mark.parametrize(
    ("whole", "why"),
    [
        (with_settings(replace(IP, cors=replace(IP.cors, allow_credentials=False))), "is off"),
        (observed(NAMES), "no host says"),
        (with_settings(NAMES, keeps_sessions=False), "no SessionMiddleware"),
    ],
)
def test_without_a_verdict_the_report_says_why(whole: Observations, why: str) -> None:
    """In all its forms; and nobody is accused."""
    result = diagnose(whole)
    document = json.loads(as_json(result))
    assert (document["logins"], why in document["logins_not_judged"]) == ([], True)
    assert why in " ".join(as_text(result).split()) and why in html(result)
    assert found(whole) == []


def test_the_json_has_each_answer_with_cause_cure_and_source() -> None:
    """For each origin and browser."""
    document = json.loads(as_json(diagnose(with_settings(TWO_SITES, NONE))))
    chromium, _, _, safari = document["logins"]
    assert (chromium["session"], chromium["run"], chromium["token_from"]) == (None, True, "body")
    assert (safari["browser"], safari["run"]) == ("Safari", False)
    assert safari["session"]["cause"] == "third-party" and "domain" in safari["session"]["cure"]
    assert safari["write"]["source"].startswith("https://")


def test_the_page_shows_each_browser_with_the_reason() -> None:
    """In words, not by colour alone."""
    text = html(diagnose(with_settings(TWO_SITES, NONE)))
    assert "Logging in and writing" in text and "Safari (read, not run)" in text
    assert 'data-endpoint="session">lost<small>' in text


# --------------------------------------------------------------------------- what the project says


def answer(folder: Path, settings: str, **files: str) -> dict[str, Any]:
    """What a project with these settings and modules says, by a Python of its own."""
    (folder / "origin_kit_settings.py").write_text(f"SECRET_KEY = 'x'\n{settings}")
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", as_user.text("login_settings")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["login_settings"]
    return found


def checked(said: Any) -> Any:
    """The answer as the host passes it on."""
    return project.checked(said, login_settings.bounded)


def test_a_project_says_how_it_keeps_its_cookies(tmp_path: Path) -> None:
    """Its settings, Django's defaults where it has none; the form that the host lets through."""
    middleware = (
        "MIDDLEWARE = ['django.contrib.sessions.middleware.SessionMiddleware',"
        " 'django.middleware.csrf.CsrfViewMiddleware']\n"
        "SESSION_COOKIE_SAMESITE = 'None'\nCSRF_COOKIE_SAMESITE = False\n"
        "CSRF_TRUSTED_ORIGINS = ['https://app.example.com']\n"
    )
    said = answer(tmp_path, middleware)
    assert dict(checked(said) or {}) == said
    assert said["session"] == {**COOKIE, "NAME": "sessionid", "HTTPONLY": True, "SAMESITE": "None"}
    assert said["csrf"] == {**COOKIE, "NAME": "csrftoken", "SAMESITE": False}
    assert said["trusted_origins"] == ["https://app.example.com"]
    assert (said["keeps_sessions"], said["checks_csrf"], said["in_session"]) == (True, True, False)
    assert (said["header"], said["returns"], said["sets_cookie"]) == ("HTTP_X_CSRFTOKEN", "", "")


def test_a_project_says_where_it_hands_the_token_out(tmp_path: Path) -> None:
    """The first call, not the import and not a test's."""
    said = answer(
        tmp_path,
        "",
        shop__tests="from django.middleware.csrf import get_token\nget_token(1)\n",
        shop__views="from django.middleware import csrf\n\ntoken = csrf.get_token\n",
        shop__urls="from x import ensure_csrf_cookie\n\n@ensure_csrf_cookie\ndef a(): pass\n",
        shop__broken="get_token(\n",
    )
    assert said["returns"] == "shop/views.py, line 3"
    assert said["sets_cookie"] == "shop/urls.py, line 3"
    assert (said["keeps_sessions"], said["checks_csrf"]) == (False, True)


@pytest.mark.parametrize("said", [None, [], "x", {"session": 1}, {**PLAIN, "csrf": {"NAME": "x"}}])
def test_another_answer_of_the_application_is_none(said: object) -> None:
    """It may print anything."""
    assert checked(said) is None


def test_a_long_answer_of_the_application_is_cut() -> None:
    """Root reads no text without a bound."""
    said = checked({**PLAIN, "header": "x" * 9999, "trusted_origins": ["y" * 9999] * 9999})
    assert said is not None
    assert len(said["header"]) == 300 and len(json.dumps(said)) < 200_000
