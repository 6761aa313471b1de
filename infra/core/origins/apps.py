"""Origins of apps: what WebViews and browser extensions send as `Origin`, which is no website's.
Pure.

A WebView serves an app's own files under a scheme or a host that every app of its kind has:
`capacitor://localhost` (Capacitor on iOS), `ionic://localhost`, `tauri://localhost` (macOS, Linux),
`https://localhost` (Capacitor and Cordova on Android), `http://tauri.localhost` (Tauri on Windows
and Android). An extension has its id: `chrome-extension://<id>`. The header proves nothing about
which app sends it.
"""

from __future__ import annotations

import re
from typing import Any

from infra.core.origins.errors import OriginError, shown

_WRITE = (
    "write what the app sends as Origin, like capacitor://localhost, https://localhost (Android) or"
    " chrome-extension://<id>"
)

_FORM = re.compile(r"([a-z][a-z0-9+.-]{0,40})://([a-z0-9._-]{1,100})")
_ON_LOCALHOST = re.compile(r"https?://([a-z0-9-]{1,63}\.)?localhost")
_CHROME_ID = re.compile(r"[a-p]{32}")
_KNOWN = re.compile(r"app|capacitor|electron|ionic|tauri|[a-z]+(-web)?-extension|[a-z]+-webview")
# Firefox and Safari give an extension another id in each installation.
_RANDOM_ID = ("moz-extension", "safari-web-extension")
# Schemes whose pages have another kind of origin, or none.
_OTHERS = frozenset(
    ("about", "blob", "data", "file", "ftp", "http", "https", "javascript", "mailto", "ws", "wss")
)


def app_origin(value: Any) -> str:
    """The origin of an app, written as the app sends it. Raises OriginError."""
    if not isinstance(value, str):
        raise OriginError(f"{shown(value)} is not text; {_WRITE}")
    if value.startswith(("http://", "https://")):
        return _on_localhost(value)
    form = _FORM.fullmatch(value)
    if form is None:
        raise OriginError(f"{shown(value)} is not an app's origin; {_suggestion(value)}")
    scheme, host = form.groups()
    if scheme in _OTHERS:
        because = "pages opened from files send `null`, as anyone can"
        if scheme != "file":
            because = f"no app's page has the scheme {scheme!a}"
        raise OriginError(f"{shown(value)} is not an app's origin: {because}; {_WRITE}")
    if scheme in _RANDOM_ID:
        raise OriginError(
            f"{shown(value)} has an id that differs in each installation, so no list can hold it;"
            " name the API in host_permissions of the extension's manifest, which needs no CORS"
        )
    if scheme == "chrome-extension" and not _CHROME_ID.fullmatch(host):
        raise OriginError(
            f"{shown(value)} has no extension's id, which is 32 letters from a to p; copy it from"
            " chrome://extensions"
        )
    return value


def is_app_origin(text: str) -> bool:
    """Whether an app may have this origin."""
    try:
        app_origin(text)
    except OriginError:
        return False
    return True


def is_app_like(scheme: str, host: str) -> bool:
    """Whether somebody who wrote `scheme://host` meant an app's origin, not a website's."""
    if scheme in _OTHERS or scheme.startswith("http"):
        return False
    return host == "localhost" or _KNOWN.fullmatch(scheme) is not None


def is_on_localhost(origin: str) -> bool:
    """Whether an app may have this origin of http or https: Android's WebView, Tauri."""
    return _ON_LOCALHOST.fullmatch(origin) is not None


def _on_localhost(value: str) -> str:
    if is_on_localhost(value):
        return value
    raise OriginError(
        f"{shown(value)} is a website's origin: of http and https apps have localhost alone,"
        " without a port; add it to extra_origins"
    )


def _suggestion(value: str) -> str:
    """`write <origin>` for a spelling that is easily mended."""
    text = value.strip().lower()
    scheme, colon, rest = text.partition("://")
    if colon:
        text = f"{scheme}://{re.split('[/?#:]', rest)[0]}"
    form = _FORM.fullmatch(text)
    if form and form[1] not in _OTHERS:
        return f"write {text}"
    return _WRITE
