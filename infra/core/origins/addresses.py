"""Hosts of origins that are IP addresses, as the URL standard reads them. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_network

from infra.core.origins.errors import Refusal

Address = IPv4Address | IPv6Address

OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{OCTET}(?:\.{OCTET}){{3}}")
_IPV4_IN_IPV6 = (ip_network("::ffff:0:0/96"), ip_network("::/96"))
_LISTENING = ip_network("0.0.0.0/8")
_BROADCAST = IPv4Address("255.255.255.255")


def address_of(host: str) -> Address | None:
    """The host of an origin as an IP address; None for a name."""
    if host.startswith("["):
        return IPv6Address(host[1:-1])
    if ends_in_number(host):
        return IPv4Address(host)
    return None


def read_ipv6(text: str) -> IPv6Address | None:
    """The IPv6 address of the text, which has no brackets; None for any other text."""
    try:
        return IPv6Address(text)
    except ValueError:
        return None


def bracketed_host(text: str) -> str:
    """The host `[text]` as browsers serialise it. Raises Refusal."""
    if "%" in text:
        raise Refusal(
            "has an IPv6 zone id ('%...'), which no browser sends; write the address without it"
        )
    address = read_ipv6(text)
    if address is None:
        raise Refusal(
            "has no valid IPv6 address in its brackets; write one like http://[2001:db8::1]:8080"
        )
    holds_ipv4 = any(address in network for network in _IPV4_IN_IPV6)
    if holds_ipv4 and int(address) > 1:  # 0 and 1 are `::` and `::1`
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
        raise Refusal(f"has an IPv4 address inside an IPv6 one; write {inner}")
    _check_unicast(address)
    return f"[{address.compressed}]"


def ends_in_number(host: str) -> bool:
    """URL standard, "ends in a number checker": such a host is an IPv4 address or nothing."""
    last_label = host.rpartition(".")[2]
    return re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last_label) is not None


def ipv4_host(host: str) -> str:
    """A host that ends in a number, as browsers serialise it. Raises Refusal."""
    if not _IPV4.fullmatch(host):
        says = "ends in a number but is no IPv4 address"
        meaning = browser_ipv4(host)
        if meaning:
            says = f"is an odd spelling of {meaning} to a browser"
        raise Refusal(
            f"has a host that {says}; write four decimal numbers without leading zeros, like"
            " 192.0.2.10"
        )
    _check_unicast(IPv4Address(host))
    return host


def browser_ipv4(host: str) -> IPv4Address | None:
    """URL standard, "IPv4 parser": octal, hexadecimal and short spellings."""
    try:
        *front, last = [_ipv4_number(part) for part in host.split(".")]
    except ValueError:
        return None
    bytes_of_last = 4 - len(front)
    if bytes_of_last < 1 or last >= 256**bytes_of_last:
        return None
    if any(number > 255 for number in front):
        return None
    value = last
    for place, number in enumerate(front):
        value += number << (24 - 8 * place)
    return IPv4Address(value)


def _ipv4_number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    if len(text) > 1 and text.startswith("0"):
        return int(text, 8)
    return int(text, 10)


def _check_unicast(address: Address) -> None:
    if address.is_unspecified or address in _LISTENING:
        raise Refusal(
            f"has {address} as host, where servers listen; write the address that the page is"
            " opened by"
        )
    if address.is_multicast or address == _BROADCAST:
        raise Refusal(
            f"has {address} as host, a multicast or broadcast address; write the address of one"
            " machine"
        )
