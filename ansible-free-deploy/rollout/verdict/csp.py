"""Content-Security-Policy: the URLs that a page may connect to.
https://w3c.github.io/webappsec-csp/#match-url-to-source-list"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from infra.core.origins import Origin
from rollout.verdict.values import origin_of

_DIRECTIVES = ("connect-src", "default-src")
_SCHEME_SOURCE = re.compile(r"[a-z][a-z0-9+.\-]*:", re.IGNORECASE)
_HOST_SOURCE = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.\-]*)://)?"
    r"(?P<host>\*|(?:\*\.)?[a-z0-9\-.]+)"
    r"(?::(?P<port>[0-9]+|\*))?"
    r"(?P<path>/.*)?",
    re.IGNORECASE,
)


def denying_directive(
    policy: str | None,
    page: Origin,
    url: str,
    redirected: bool,
) -> str | None:
    """The directive that doesn't allow `url`; None if all do. `policy` may hold several policies
    with commas between."""
    for text in (policy or "").split(","):
        name, sources = _connect_directive(text)
        if name and not _allows(sources, page, url, redirected):
            return f"{name} {' '.join(sources)}".strip()
    return None


def _allows(
    sources: tuple[str, ...],
    page: Origin,
    url: str,
    redirected: bool,
) -> bool:
    return any(_matches(source, page, url, redirected) for source in sources)


def _connect_directive(policy: str) -> tuple[str, tuple[str, ...]]:
    """Name and sources of the directive that decides about connections; empty if there is none."""
    directives: dict[str, tuple[str, ...]] = {}
    for text in policy.split(";"):
        words = text.split()
        if words:
            directives.setdefault(words[0].lower(), tuple(words[1:]))  # the first of a name counts
    for name in _DIRECTIVES:
        if name in directives:
            return name, directives[name]
    return "", ()


def _matches(source: str, page: Origin, url: str, redirected: bool) -> bool:
    """https://w3c.github.io/webappsec-csp/#match-url-to-source-expression"""
    target = origin_of(url)
    if source == "*":
        return True  # any network scheme
    if source.lower() == "'self'":
        same_place = (page.host, page.port) == (target.host, target.port)
        return same_place and _upgrades(page.scheme, target.scheme)
    if _SCHEME_SOURCE.fullmatch(source):
        return _upgrades(source[:-1].lower(), target.scheme)
    found = _HOST_SOURCE.fullmatch(source)
    if not found:
        return False
    scheme = (found["scheme"] or page.scheme).lower()
    if not _upgrades(scheme, target.scheme):
        return False
    if not _host_matches(found["host"].lower(), target.host):
        return False
    if not _port_matches(found["port"], scheme, target):
        return False
    # After a redirect paths do not count: they would reveal where it led.
    return redirected or _path_matches(found["path"] or "", urlsplit(url).path or "/")


def _upgrades(wanted: str, scheme: str) -> bool:
    return scheme == wanted or (wanted, scheme) == ("http", "https")


def _host_matches(wanted: str, host: str) -> bool:
    if wanted in ("*", host):
        return True
    return wanted.startswith("*.") and host.endswith(wanted[1:])


def _port_matches(wanted: str | None, scheme: str, target: Origin) -> bool:
    if wanted is None:
        return target.port is None
    port = target.port_number
    if wanted in ("*", str(port)):
        return True
    return wanted == "80" and (scheme, port) == ("http", 443)


def _path_matches(wanted: str, path: str) -> bool:
    if wanted in ("", "/"):
        return True
    if wanted.endswith("/"):
        return unquote(path).startswith(unquote(wanted))
    return unquote(path) == unquote(wanted)
