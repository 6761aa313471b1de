"""What production denies: hosts that visitors cannot reach over the internet. Pure."""

from __future__ import annotations

from ipaddress import ip_network

from infra.core.origins.addresses import Address
from infra.core.origins.errors import Refusal
from infra.core.origins.origin import Origin

_HELP = "in production write what visitors open"

_LOCAL_NETWORK = "a local network's, not in the DNS"
_NOT_ON_THE_INTERNET = {
    "local": "found by mDNS on one network only",
    "internal": "a cloud's or a company's inner name",
    "localhost": "the visitor's own machine",
    "localdomain": "the visitor's own machine",
    "test": "reserved for tests (RFC 6761)",
    "example": "reserved for documentation (RFC 6761)",
    "invalid": "reserved as never valid (RFC 6761)",
    "onion": "reachable over Tor only (RFC 7686)",
    "alt": "outside the DNS (RFC 9476)",
    "home.arpa": "a home network's (RFC 8375)",
    "lan": _LOCAL_NETWORK,
    "home": _LOCAL_NETWORK,
    "corp": _LOCAL_NETWORK,
    "intranet": _LOCAL_NETWORK,
    "private": _LOCAL_NETWORK,
}

# Special-purpose address registries of IANA: the first match names the range.
_RANGES = {
    "a loopback address": ("127.0.0.0/8", "::1/128"),
    "a private address; did you export private_ip instead of public_ip?": (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fec0::/10",
    ),
    "a link-local address": ("169.254.0.0/16", "fe80::/10"),
    "a shared address (carrier-grade NAT)": ("100.64.0.0/10",),
    "a documentation address (an example from a manual?)": (
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001:db8::/32",
        "3fff::/20",
    ),
    "a benchmarking address": ("198.18.0.0/15", "2001:2::/48"),
    "an IPv4 address inside IPv6 (6to4, Teredo or NAT64); write the IPv4 address itself": (
        "2002::/16",
        "2001::/32",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "192.88.99.0/24",
    ),
    "a reserved address": ("192.0.0.0/24", "240.0.0.0/4", "2001::/23"),
}
_GLOBAL_UNICAST = ip_network("2000::/3")


def check_reachable(origin: Origin) -> None:
    """Raise Refusal for a host that the internet does not know."""
    address = origin.address
    if address is not None:
        _check_global(address)
        return
    if "." not in origin.host:
        raise Refusal(
            f"has the single label {origin.host!a} as host, unknown to the internet; {_HELP}"
        )
    for name, why in _NOT_ON_THE_INTERNET.items():
        if origin.host == name or origin.host.endswith(f".{name}"):
            raise Refusal(f"has a host under .{name}, {why}; {_HELP}")


def is_reachable(origin: Origin) -> bool:
    """Whether the internet may know this host."""
    try:
        check_reachable(origin)
    except Refusal:
        return False
    return True


def _check_global(address: Address) -> None:
    kind = _special_kind(address)
    if kind is not None:
        raise Refusal(f"has {address} as host, {kind}; {_HELP}")


def _special_kind(address: Address) -> str | None:
    """Why the address is not globally reachable; None for one that is."""
    for kind, networks in _RANGES.items():
        if any(address in ip_network(network) for network in networks):
            return kind
    # Python's table grows with its version, so the rows above come first.
    unallocated = address.version == 6 and address not in _GLOBAL_UNICAST
    if unallocated or not address.is_global:
        return "an address that is not globally reachable"
    return None
