"""Origins of apps and browser extensions: which ones a config may hold, and how nginx, Django and
the doctor treat them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from corsheaders.checks import check_settings
from django.conf import settings
from django.test import override_settings

from infra.core.contract import Contract, ContractError
from infra.core.origins import OriginError, app_origin, parse_origin
from infra.core.settings import Settings, SettingsError
from rollout.deploy import UsageError, probes
from rollout.doctor import diagnose
from rollout.doctor.checks.near_miss import near_miss
from rollout.doctor.examination import single_cell
from rollout.doctor.rows import rows
from tests.test_doctor import observed
from tests.test_equivalence import django_settings, of_django, of_nginx, sites
from tests.test_render import cors, load, rendered
from tests.test_settings import GOOD, KEY, REMOTE

EXTENSION = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
APPS = (
    "capacitor://localhost",
    "ionic://localhost",
    "tauri://localhost",
    "https://localhost",
    "https://tauri.localhost",
    "app://-",
    EXTENSION,
)
IP = load("local-ip")
WITH_APPS = cors(IP, app_origins=APPS)

# What was written → words of the error.
REFUSED = {
    "": "is not an app's origin; write what the app sends",
    "capacitor://localhost/": "write capacitor://localhost",
    "Capacitor://localhost": "write capacitor://localhost",
    "capacitor://localhost:8080": "write capacitor://localhost",
    "capacitor://localhost/index.html": "write capacitor://localhost",
    "capacitor://": "is not an app's origin",
    "capacitor:localhost": "is not an app's origin",
    'capacitor://local"host': "is not an app's origin",
    "capacitor://local host": "is not an app's origin",
    "capacitor://$host": "is not an app's origin",
    "null": "is not an app's origin",
    "*": "is not an app's origin",
    "file://localhost": "pages opened from files send `null`",
    "data://localhost": "no app's page has the scheme 'data'",
    "ws://localhost": "no app's page has the scheme 'ws'",
    "https://app.example.com": "add it to extra_origins",
    "http://localhost:3000": "add it to extra_origins",
    "chrome-extension://my-extension": "32 letters from a to p",
    "moz-extension://0f4ecf0d-4bc9-4b6f-9c4a-ea94dd6c5a5f": "host_permissions",
    "safari-web-extension://0f4ecf0d-4bc9-4b6f-9c4a-ea94dd6c5a5f": "host_permissions",
}


@pytest.mark.parametrize("text", APPS)
def test_what_apps_send_is_an_apps_origin(text: str) -> None:
    """WebViews' schemes, an extension's id, and localhost as Android's WebView has it."""
    assert app_origin(text) == text


@pytest.mark.parametrize(("text", "words"), REFUSED.items())
def test_what_no_app_sends_is_refused_with_a_cure(text: str, words: str) -> None:
    """The error says what to write, or where a website's origin belongs."""
    with pytest.raises(OriginError) as caught:
        app_origin(text)
    assert words in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("text", "production"),
    [(text, production) for text in APPS if "http" not in text for production in (False, True)]
    + [("https://localhost", True), ("https://tauri.localhost", True)],
)
def test_an_apps_origin_among_websites_names_its_key(text: str, production: bool) -> None:
    """Where a website's origin belongs, the cure is the key that takes it, and it takes it."""
    with pytest.raises(OriginError) as caught:
        parse_origin(text, production=production)
    assert f"add {text} to app_origins" in str(caught.value)
    assert app_origin(text) == text


def test_a_misspelt_scheme_is_not_called_an_app() -> None:
    """`htps` is a website's scheme with a letter missing."""
    with pytest.raises(OriginError) as caught:
        parse_origin("htps://app.example.com", production=False)
    assert "app_origins" not in str(caught.value)


def config(**keys: Any) -> dict[str, str]:
    """A production stack's config with these keys."""
    base = {
        "production": True,
        "tls": "acme",
        "ssh_keys": [KEY.strip()],
        "ssh_from": ["203.0.113.7/32"],
    }
    texts = {key: json.dumps(value) for key, value in {**base, **keys}.items()}
    return {**GOOD, **REMOTE["aws"], **texts, "tls": "acme"}


def test_production_takes_app_origins() -> None:
    """The config of a production stack may list each of them."""
    found = Settings.read(config(app_origins=APPS), "aws-prod")
    assert found.app_origins == APPS


def test_plain_http_of_an_app_needs_no_credentials() -> None:
    """As for websites: in production cookies never go with an origin of plain http."""
    keys = config(app_origins=["http://localhost"], allow_credentials=True)
    with pytest.raises(SettingsError) as caught:
        Settings.read(keys, "aws-prod")
    assert "allow_credentials" in str(caught.value) and "http://localhost" in str(caught.value)


def test_a_contract_without_apps_is_read_as_before() -> None:
    """A contract of the commit before has no such field: then no app is allowed."""
    data = IP.to_json()
    del data["cors"]["app_origins"]
    assert Contract.from_json(data) == IP
    data["cors"]["app_origins"] = ["https://evil.example"]
    with pytest.raises(ContractError, match=r"contract\.cors\.app_origins\[0\]"):
        Contract.from_json(data)


# What must not pass for an app's origin that is listed.
NEARLY = (
    "capacitor://localhost.evil.example",
    "capacitor://localhost:80",
    "xcapacitor://localhost",
    "http://localhost",
    "https://localhost:8443",
    "https://xlocalhost",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnoo",
    "app://",
    "null",
)
NEVER_SENT = ("CAPACITOR://localhost", "capacitor://LOCALHOST", "capacitor://localhost/")


@pytest.mark.nginx
@pytest.mark.parametrize("credentials", [False, True])
def test_nginx_and_django_agree_on_apps(credentials: bool) -> None:
    """Each listed app is allowed by both, with its own origin; whatever resembles it by neither."""
    contract = cors(WITH_APPS, allow_credentials=credentials)
    values = [*APPS, *NEARLY]
    expected = [*APPS, *([None] * len(NEARLY))]
    assert of_django(contract, values) == expected
    with sites([contract]) as folder:
        for preflight in (False, True):
            assert of_nginx(folder / "0.sock", values, preflight) == expected
            assert of_nginx(folder / "0.sock", NEVER_SENT, preflight) == [None] * len(NEVER_SENT)


def test_django_finds_nothing_wrong_with_apps() -> None:
    """django-cors-headers' own checks (E013: scheme and netloc, E014: no path) pass."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"])
    with override_settings(**django_settings(WITH_APPS)):
        assert check_settings(app_configs=None) == []


def test_apps_may_send_forms_as_well() -> None:
    """Django's CSRF check has the same list."""
    text = next(
        file.text
        for file in rendered(WITH_APPS, "backend").files
        if file.path.endswith("origin_kit_settings.py")
    )
    trusted = text.partition("CSRF_TRUSTED_ORIGINS")[2].partition("]")[0]
    for origin in APPS:
        assert repr(origin) in trusted


def test_a_deploy_probes_apps_too() -> None:
    """What is allowed is asked for on the host."""
    wanted = probes(WITH_APPS, "backend", rendered(WITH_APPS, "backend"))
    assert set(APPS) <= set(wanted["allowed"])
    assert not set(APPS) & set(wanted["refused"])


def test_the_doctor_asks_for_apps() -> None:
    """Each is a row, and a healthy environment with apps has no finding."""
    asked = {row.origin for row in rows(WITH_APPS) if row.allowed}
    assert set(APPS) <= asked
    apps = tuple(text for text in APPS if not text.startswith("https:"))
    assert diagnose(observed(cors(IP, app_origins=apps))).findings == ()


def test_android_over_https_calls_no_plain_http() -> None:
    """Android's WebView has a secure page: mixed content is the browser's reason, and is named."""
    whole = observed(cors(IP, app_origins=("https://localhost",)))
    (found,) = diagnose(whole).findings
    assert "serve the API by https" in found.cure


@pytest.mark.parametrize("text", ["capacitor://localhost", EXTENSION, "https://localhost"])
def test_an_app_that_is_not_listed_has_a_cure_that_works(text: str) -> None:
    """The doctor names app_origins and what it costs; with the cure carried out it is content."""
    contract = dataclasses.replace(IP, production=True)
    found = near_miss(text, contract)
    assert found and found.code == "app-origin-unlisted"
    assert f"add {text} to app_origins" in found.cure and "every app" in found.cure
    assert near_miss(text, cors(contract, app_origins=(text,))) is None


def test_one_question_may_come_from_an_app() -> None:
    """`--origin capacitor://localhost` is a question like any other; no origin at all is none."""
    matrix = single_cell(WITH_APPS, "capacitor://localhost", "/", "GET", (), False)
    assert matrix.rows[0].allowed
    with pytest.raises(UsageError, match="to app_origins"):
        single_cell(WITH_APPS, "capacitor://localhost:1", "/", "GET", (), False)
