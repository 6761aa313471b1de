"""Local network access: a page may not call a more private address space than its own.
https://wicg.github.io/local-network-access/"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from infra.core.origins import Address, Origin
from rollout.verdict.reasons import Reason
from rollout.verdict.values import Obstacle, Request

# https://wicg.github.io/local-network-access/#ip-address-space-section, nearest first.
_SPACES = ("loopback", "local", "public")
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


def is_secure(origin: Origin) -> bool:
    """Whether it is https, or this very machine.
    https://w3c.github.io/webappsec-secure-contexts/#is-origin-trustworthy"""
    return origin.scheme == "https" or origin.is_loopback


def mixed_content(page: Origin, target: Origin) -> bool:
    """Whether a page by https asks over plain http.
    https://w3c.github.io/webappsec-mixed-content/"""
    return page.scheme == "https" and not is_secure(target)


def address_space(address: str | Address) -> str:
    """`loopback`, `local` or `public`."""
    parsed: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    if any(parsed in network for network in _LOOPBACK):
        return "loopback"
    if any(parsed in network for network in _LOCAL):
        return "local"
    return "public"


def _space_of(origin: Origin, address: str | None) -> str | None:
    """The space of the origin's address; None where it is not known."""
    if origin.address:
        return address_space(origin.address)
    if address:
        try:
            return address_space(address)
        except ValueError:  # a name
            return None
    if origin.is_loopback:
        return "loopback"
    return None


def is_visibly_local(target: Origin) -> bool:
    """Whether the URL alone shows that it is local: then Chromium's prompt is enough, and https is
    not required."""
    if target.host.endswith(".local"):
        return True
    return target.is_ip and _space_of(target, None) != "public"


def local_network(request: Request, page: Origin, target: Origin) -> Obstacle | None:
    """https://wicg.github.io/local-network-access/#integration-with-fetch; unknown addresses are
    not judged."""
    here = _space_of(page, request.page_address)
    there = _space_of(target, request.address)
    if page == target or here is None or there is None:
        return None
    if _SPACES.index(there) >= _SPACES.index(here):
        return None
    if not is_secure(page):
        return Obstacle(Reason.InsecureLocalNetwork, there)
    if mixed_content(page, target) and not is_visibly_local(target):
        return None  # mixed content comes first
    if request.permitted:
        return None
    return Obstacle(Reason.LocalNetworkAccessPermissionDenied, there)
