"""Django's CSRF check as a pure function, against the real middleware."""

from __future__ import annotations

import string

import django.conf
import pytest
from django.http import HttpResponse
from django.middleware import csrf
from django.test import RequestFactory, override_settings
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from rollout.verdict.login import Csrf, CsrfRequest, refusal

SECRET = "s" * 32
HOSTS = (
    "api.example.com",
    "example.com",
    "api.example.com:8443",
    "203.0.113.8",
    "a.b.example.com",
    "evilexample.com",
)
ORIGINS = [f"{scheme}://{host}" for scheme in ("http", "https") for host in HOSTS]
TRUSTED = [*ORIGINS, "https://*.example.com", "http://*.example.com", "https://*.b.example.com"]


def of_django(settings: Csrf, request: CsrfRequest) -> str | None:
    """The reason that the middleware of Django gives; None where it passes the request on."""
    if not django.conf.settings.configured:
        django.conf.settings.configure(ALLOWED_HOSTS=["*"])
    headers = {"Host": request.host}
    if request.origin is not None:
        headers["Origin"] = request.origin
    if request.referer is not None:
        headers["Referer"] = request.referer
    if request.token is not None:
        headers[settings.header] = SECRET if request.token else "w" * 32
    made = RequestFactory().post("/", headers=headers, secure=request.secure)
    made.META["SERVER_PORT"] = made.get_host().partition(":")[2] or "443"
    if request.secret:
        made.COOKIES["csrftoken"] = SECRET
    reasons: list[str] = []

    def failed(request: object, reason: str = "") -> HttpResponse:
        reasons.append(reason)
        return HttpResponse(status=403)

    with (
        override_settings(
            ALLOWED_HOSTS=["*"],
            CSRF_TRUSTED_ORIGINS=list(settings.trusted_origins),
            CSRF_COOKIE_DOMAIN=settings.cookie_domain,
        ),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(csrf, "_get_failure_view", lambda: failed)
        patch.setattr(csrf, "log_response", lambda *_, **__: None)
        csrf.CsrfViewMiddleware(lambda _: HttpResponse()).process_view(made, lambda _: None, (), {})
    return reasons[0] if reasons else None


origins = st.sampled_from([*ORIGINS, "null", "https://", "https://[::1"])
referers = st.sampled_from(
    [*(f"{origin}/page?x=1" for origin in ORIGINS), "", "nonsense", "https:///x", "https://[::1/x"]
)
requests = st.builds(
    CsrfRequest,
    host=st.sampled_from(HOSTS),
    secure=st.booleans(),
    origin=st.none() | origins,
    referer=st.none() | referers,
    secret=st.booleans(),
    token=st.none() | st.booleans(),
)
settings = st.builds(
    Csrf,
    trusted_origins=st.lists(st.sampled_from(TRUSTED), max_size=3).map(tuple),
    cookie_domain=st.none() | st.sampled_from([".example.com", "example.com"]),
)


@profile(deadline=None)
@given(settings, requests)
def test_every_write_is_judged_as_the_middleware_does(settings: Csrf, request: CsrfRequest) -> None:
    """Origin, Referer, cookie and token, with Django's own reason."""
    assert refusal(settings, request) == of_django(settings, request)


@profile(deadline=None)
@given(st.text(string.ascii_lowercase + "./:*@-", max_size=30))
def test_an_origin_of_any_form_is_judged_as_the_middleware_does(text: str) -> None:
    """What a browser never sends as well."""
    settings = Csrf(("https://*.example.com", "https://example.net"))
    request = CsrfRequest("api.example.com", True, text)
    assert refusal(settings, request) == of_django(settings, request)


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("https://app.example.com", True),
        ("https://example.com", True),
        ("https://a.b.example.com", True),
        ("https://evilexample.com", False),
        ("http://app.example.com", False),
    ],
)
def test_a_wildcard_covers_subdomains_and_the_domain_itself(origin: str, passes: bool) -> None:
    """As Django reads `https://*.example.com`: by scheme and host."""
    settings = Csrf(("https://*.example.com",))
    reason = refusal(settings, CsrfRequest("api.example.net", True, origin))
    assert (reason is None) == passes
