"""From the text of a config key to its value; each raises ValueError with what it expects. Pure."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Network, ip_network
from typing import Any

from infra.core import commands, rules, variables
from infra.core.rules import quote
from infra.core.serials import Serials

_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # PEP 508

# A folder, a file, a URL: no shell reads it, and no line break ends it.
path = rules.text(re.compile(r"[^\0\n]+"), "a folder, relative to the repository's root", 1000)


def boolean(text: Any) -> bool:
    """`true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError(f"{quote(text)} is neither true nor false")
    return bool(text == "true")


def integer(text: Any, low: int, high: int) -> int:
    """A whole number in plain digits, within bounds."""
    digits = re.fullmatch(r"\d{1,9}", str(text), re.ASCII)
    if not digits or not low <= int(text) <= high:
        raise ValueError(f"{quote(text)} is not a whole number from {low} to {high}")
    return int(text)


def strings(text: Any) -> tuple[str, ...]:
    """A list of texts."""
    items = _decode(text, list, "a list; write one value a line, each after a dash")
    for item in items:
        if not isinstance(item, str):
            raise ValueError(f"{quote(item)} is not text; put it in quotes")
    return tuple(items)


def environment(text: Any) -> dict[str, str]:
    """Environment variables by name."""
    items = _decode(text, dict, "a map of NAME: value")
    for name, item in items.items():
        rules.variable_name(name)
        if not isinstance(item, str):
            raise ValueError(f"{name} is {quote(item)}, not text; put it in quotes")
        problem = variables.problem(name, item)
        if problem:
            raise ValueError(f"the value of {name} {problem}")
    return dict(items)


_TIMER = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?", re.ASCII)
# systemd.time(7), "Calendar events"; the host's systemd has the last word.
_CALENDAR = re.compile(r"[A-Za-z0-9*,./:~ _+-]{1,200}", re.ASCII)


def timers(text: Any) -> dict[str, dict[str, str]]:
    """Commands that run at times of their own, by name: what to `run`, and `at` what time."""
    return valid_timers(_decode(text, dict, "a map of NAME: {run: COMMAND, at: TIME}"))


def valid_timers(items: dict[Any, Any]) -> dict[str, dict[str, str]]:
    """The same, from JSON types. Raises ValueError for the first one that is wrong."""
    for name, timer in items.items():
        if not isinstance(name, str) or not _TIMER.fullmatch(name):
            raise ValueError(
                f"{quote(name)} is not a timer's name: up to 30 of a-z, 0-9 and -, a letter first"
            )
        if not isinstance(timer, dict) or set(timer) != {"run", "at"}:
            raise ValueError(f"{name} is {quote(timer)}; write it like {_TIMER_EXAMPLE}")
        try:
            commands.words(timer["run"])
        except ValueError as problem:
            raise ValueError(f"{name}: {problem}") from None
        if not isinstance(timer["at"], str) or not _CALENDAR.fullmatch(timer["at"]):
            raise ValueError(
                f"{name}: {quote(timer['at'])} is not a time; write it like daily, or like"
                " Mon..Fri 03:30 (systemd.time(7), calendar events)"
            )
    return {name: dict(timer) for name, timer in items.items()}


_TIMER_EXAMPLE = "{run: manage.py clearsessions, at: daily}"


def serials(text: Any) -> dict[str, str]:
    """Serials by host; a host that has its first machine is left out."""
    items = _decode(text, dict, "a map of host: serial; `fab replace` writes it")
    by_host = {}
    replaced = 0
    for host, item in items.items():
        serial = str(Serials.parse(str(item)))
        if not serial.isdigit():
            replaced += 1
        if serial != "1":
            by_host[host] = serial
    if replaced > 1:
        raise ValueError(
            "more than one host is being replaced; finish one first: `fab replace NAME`"
        )
    return by_host


def tls(value: Any) -> str:
    """How browsers reach the hosts. YAML 1.1 readers turn a bare `off` into false."""
    if value == "false":
        value = "off"
    return str(rules.tls(value))


_MAX_AGE = re.compile(r"max-age=([0-9]{1,10})", re.ASCII)
_FLAGS = {"includesubdomains": "includeSubDomains", "preload": "preload"}
_YEAR_S = 31_536_000


def hsts(value: Any) -> str:
    """The value of Strict-Transport-Security in one spelling (RFC 6797, section 6.1).

    `preload` is no standard: browsers' lists take a name that says it together with a year and all
    names below (https://hstspreload.org/#submission-requirements).
    """
    first, *rest = (part.strip().lower() for part in str(value).split(";"))
    age = _MAX_AGE.fullmatch(first)
    flags = [_FLAGS.get(part) for part in rest]
    if not age or None in flags or len(set(flags)) < len(flags):
        raise ValueError(
            f"invalid value {quote(value)}: expected max-age=<seconds>, and perhaps"
            " ; includeSubDomains ; preload"
        )
    complete = int(age[1]) >= _YEAR_S and "includeSubDomains" in flags
    if "preload" in flags and not complete:
        raise ValueError(
            f"preload needs max-age={_YEAR_S} or more and includeSubDomains; take it out"
        )
    in_order = [flag for flag in _FLAGS.values() if flag in flags]
    return "; ".join([f"max-age={int(age[1])}", *in_order])


def package(value: str) -> str:
    """The name of a Python package."""
    if not _PACKAGE.fullmatch(value):
        raise ValueError(
            f"{quote(value)} is not a package's name; write it without a version, e.g. django-foo"
        )
    return value


def domain(value: Any) -> str:
    """A DNS name of two labels or more."""
    labels = value.split(".") if isinstance(value, str) else []
    if not labels or not all(rules.LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{quote(value)} is not a domain; write it like shop.example.com")
    if len(labels) == 1:
        raise ValueError(f"{quote(value)} is a single label; write it like shop.example.com")
    return str(value)


def subnet(value: Any) -> str:
    """A private /24, for local machines."""
    try:
        network = IPv4Network(value)
    except ValueError as problem:
        raise ValueError(
            f"{quote(value)} is not a subnet ({problem}); write it like 10.213.7.0/24"
        ) from None
    if network.prefixlen != 24 or not network.is_private:
        raise ValueError(f"{value} is not a private /24; write it like 10.213.7.0/24")
    return str(network)


def cidr(value: str) -> str:
    """An IPv4 or IPv6 network."""
    try:
        return str(ip_network(value))
    except ValueError as problem:
        raise ValueError(
            f"{quote(value)} is no CIDR ({str(problem)[:120]}); write it like 203.0.113.0/24"
        ) from None


def proxy_network(value: str) -> str:
    """The network of a proxy, which may name its clients: never everybody's."""
    network = cidr(value)
    if ip_network(network).prefixlen == 0:
        raise ValueError(
            f"{network} is the whole internet: everybody could claim any address; name the proxy's"
            " own networks"
        )
    return network


def network_cidr(value: Any) -> str:
    """A private network that has room for subnets."""
    try:
        network = IPv4Network(value)
    except ValueError as problem:
        raise ValueError(
            f"{quote(value)} is no network ({problem}); write it like 10.20.0.0/16"
        ) from None
    if not network.is_private or not 16 <= network.prefixlen <= 24:
        raise ValueError(f"{value} is no private network of /16 to /24; write it like 10.20.0.0/16")
    return str(network)


def _decode(text: Any, kind: type, expected: str) -> Any:
    try:
        decoded = json.loads(text)
    except ValueError:
        decoded = text
    if not isinstance(decoded, kind):
        raise ValueError(f"{quote(text)} is not {expected}")
    return decoded
