"""What users call CORS and is not: it is decided before any header is sent, or beside them."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import unquote, urlsplit

from infra.core.origins import BAD_PORTS, DEFAULT_PORTS, Address, Origin, public_suffixes
from rollout.verdict.reasons import Reason
from rollout.verdict.values import Obstacle, Request, origin_of

CHROMIUM_LOADS = {4190, 6679}  # in the standard's list, not yet in Chromium's
# https://wicg.github.io/local-network-access/#ip-address-space-section, nearest first.
_LOOPBACK = [ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "::1/128", "::/128")]
_LOCAL = [
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
    )
]
_SPACES = ("loopback", "local", "public")


def before(request: Request, url: str, redirected: bool) -> Obstacle | None:
    """What stops a request to `url` before it leaves the browser."""
    page, target = origin_of(request.page), origin_of(url)
    if (allowed := _csp(request.csp, page, url, redirected)) is not None:
        return Obstacle(Reason.csp, allowed)
    if local := _local_network(request, page, target):
        return local
    if mixed_content(page, target) and not (request.permitted and _asked_for(target)):
        return Obstacle(Reason.mixed_content)
    port = target.port or DEFAULT_PORTS[target.scheme]
    return Obstacle(Reason.unsafe_port, str(port)) if port in BAD_PORTS - CHROMIUM_LOADS else None


def is_secure(origin: Origin) -> bool:
    """https, or this very machine.
    https://w3c.github.io/webappsec-secure-contexts/#is-origin-trustworthy"""
    return origin.scheme == "https" or origin.is_loopback


def mixed_content(page: Origin, target: Origin) -> bool:
    """A page by https asks over plain http. https://w3c.github.io/webappsec-mixed-content/"""
    return page.scheme == "https" and not is_secure(target)


# ---- local network access


def address_space(address: str | Address) -> str:
    """`loopback`, `local` or `public`."""
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if any(found in network for network in _LOOPBACK):
        return "loopback"
    return "local" if any(found in network for network in _LOCAL) else "public"


def _space_of(origin: Origin, address: str | None) -> str | None:
    known = origin.address or address or ("127.0.0.1" if origin.is_loopback else None)
    return address_space(known) if known else None


def _asked_for(target: Origin) -> bool:
    """Chromium knows from the URL alone that it is local, so the prompt stands in for https."""
    return target.host.endswith(".local") or (target.is_ip and _space_of(target, None) != "public")


def _local_network(request: Request, page: Origin, target: Origin) -> Obstacle | None:
    """https://wicg.github.io/local-network-access/#integration-with-fetch; unknown addresses are
    not judged."""
    here, there = _space_of(page, request.page_address), _space_of(target, request.address)
    if (
        page == target
        or here is None
        or there is None
        or _SPACES.index(there) >= _SPACES.index(here)
    ):
        return None
    if not is_secure(page):
        return Obstacle(Reason.InsecureLocalNetwork, there)
    if mixed_content(page, target) and not _asked_for(target):
        return None  # mixed content comes first
    return None if request.permitted else Obstacle(Reason.LocalNetworkAccessPermissionDenied, there)


# ---- Content-Security-Policy


def _csp(policy: str | None, page: Origin, url: str, redirected: bool) -> str | None:
    """The directive that doesn't let `url` in; None if all do.
    https://w3c.github.io/webappsec-csp/#match-url-to-source-list"""
    for one in (policy or "").split(","):
        name, sources = _connect_directive(one)
        if name and not any(_matches(source, page, url, redirected) for source in sources):
            return f"{name} {' '.join(sources)}".strip()
    return None


def _connect_directive(policy: str) -> tuple[str, tuple[str, ...]]:
    directives: dict[str, tuple[str, ...]] = {}
    for text in policy.split(";"):
        words = text.split()
        if words:
            directives.setdefault(words[0].lower(), tuple(words[1:]))  # the first of a name counts
    name = next((name for name in ("connect-src", "default-src") if name in directives), "")
    return name, directives.get(name, ())


_HOST_SOURCE = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.\-]*)://)?(?P<host>\*|(?:\*\.)?[a-z0-9\-.]+)(?::(?P<port>[0-9]+|\*))?(?P<path>/.*)?",
    re.IGNORECASE,
)


def _matches(source: str, page: Origin, url: str, redirected: bool) -> bool:
    target = origin_of(url)
    if source == "*":
        # Any network scheme: https://w3c.github.io/webappsec-csp/#match-url-to-source-expression
        return True
    if source.lower() == "'self'":
        return (
            _upgrades(page.scheme, target.scheme)
            and page.host == target.host
            and page.port == target.port
        )
    if re.fullmatch(r"[a-z][a-z0-9+.\-]*:", source, re.IGNORECASE):
        return _upgrades(source[:-1].lower(), target.scheme)
    found = _HOST_SOURCE.fullmatch(source)
    if not found:
        return False
    return (
        _upgrades((found["scheme"] or page.scheme).lower(), target.scheme)
        and _host_matches(found["host"].lower(), target.host)
        and _port_matches(found["port"], (found["scheme"] or page.scheme).lower(), target)
        and (redirected or _path_matches(found["path"] or "", urlsplit(url).path or "/"))
    )


def _upgrades(wanted: str, scheme: str) -> bool:
    return scheme == wanted or (wanted, scheme) == ("http", "https")


def _host_matches(wanted: str, host: str) -> bool:
    return wanted in ("*", host) or (wanted.startswith("*.") and host.endswith(wanted[1:]))


def _port_matches(wanted: str | None, scheme: str, target: Origin) -> bool:
    port = target.port or DEFAULT_PORTS[target.scheme]
    if wanted is None:
        return target.port is None
    return wanted in ("*", str(port)) or (wanted == "80" and (scheme, port) == ("http", 443))


def _path_matches(wanted: str, path: str) -> bool:
    if wanted in ("", "/"):
        return True
    return (
        unquote(path).startswith(unquote(wanted))
        if wanted.endswith("/")
        else unquote(path) == unquote(wanted)
    )


# ---- cookies


def site_of(origin: Origin) -> str:
    """Scheme and registrable domain; for an address, scheme and address.
    https://html.spec.whatwg.org/#obtain-a-site"""
    if origin.is_ip:
        return f"{origin.scheme}://{origin.host}"
    return f"{origin.scheme}://{public_suffixes().privatesuffix(origin.host) or origin.host}"


def same_site(page: str, url: str) -> bool:
    """Cookies of `url` go along with requests of `page` without further ado; ports don't count."""
    return site_of(origin_of(page)) == site_of(origin_of(url))


def cookie_obstacle(page: str, url: str, set_cookie: str) -> str | None:
    """Why a cookie set by `url` does not come back with a fetch() of `page`; None if it does.

    RFC 6265bis, 5.7 and 5.8.3. Third-party cookies that the visitor turned off are not seen from
    here.
    """
    pairs = [part.strip().partition("=")[::2] for part in set_cookie.split(";")[1:]]
    said = {name.strip().lower(): value.strip().lower() for name, value in pairs}
    target, rule = origin_of(url), said.get("samesite", "")
    if "secure" in said and not is_secure(target):
        return f"it is Secure and {target} is plain http"
    if rule == "none":
        return None if "secure" in said else "SameSite=None counts only together with Secure"
    if same_site(page, url):
        return None
    shown = f"SameSite={rule.capitalize()}" if rule in ("lax", "strict") else "no SameSite, so Lax"
    return (
        f"{page} and {target} are two sites, and it has {shown}; it needs SameSite=None; Secure"
        " over https"
    )
