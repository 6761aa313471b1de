"""Networks on this host: a bridge for each stack, with a /24 of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from infra.core.home import LocalCloudError, home, identity, locked
from infra.local.processes import wait_until

RANGE = IPv4Network("10.213.0.0/16")
_FIRST_HOST = 10  # .1 is this host; the rest below is left for people
_SPARE = {"arriving": 250, "leaving": 251}  # of a host that is being replaced, one at a time
_SIGNATURE = "origin-kit "
_NETWORK_LOCK = Path("/run/origin-kit-network.lock")  # where only root may write


@dataclass(frozen=True)
class Network:
    """A bridge on this host and its /24; the host itself is `.1` in it."""

    bridge: str
    subnet: str

    @property
    def host_address(self) -> str:
        """This host's address in the subnet."""
        return str(IPv4Network(self.subnet)[1])

    def address(self, number: int) -> str:
        """The address of the machine with this number, from 0."""
        return str(IPv4Network(self.subnet)[_FIRST_HOST + number])

    def spare(self, standing: str) -> str:
        """The address of a machine that stands next to the one that serves: it is `arriving` or
        `leaving`."""
        return str(IPv4Network(self.subnet)[_SPARE[standing]])


def taken() -> list[IPv4Network]:
    """Every IPv4 network that this host has an address in or a route to, the default route left
    out."""
    networks: list[IPv4Network] = []
    for link in _ip_json("-4", "addr"):
        for address in link.get("addr_info", ()):
            if "local" in address:
                networks.append(_network_of(address))
    for route in _ip_json("-4", "route", "show", "table", "all"):
        if route["dst"] != "default":
            networks.append(IPv4Network(route["dst"], strict=False))
    return networks


def _network_of(address: dict[str, Any]) -> IPv4Network:
    return IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False)


def free_subnet(identity: str, occupied: Iterable[IPv4Network]) -> str:
    """A /24 of the range that overlaps nothing in `occupied`; the same one for the same identity
    where it can be.

    Raises LocalCloudError where all are taken.
    """
    subnets = list(RANGE.subnets(new_prefix=24))
    start = int(sha256(identity.encode()).hexdigest(), 16) % len(subnets)
    others = list(occupied)
    for subnet in subnets[start:] + subnets[:start]:
        if not _overlaps(subnet, others):
            return str(subnet)
    raise LocalCloudError(
        f"every /24 of {RANGE} overlaps a network of this host",
        cure="set `subnet` in the stack's config",
    )


def _overlaps(subnet: IPv4Network, others: Iterable[IPv4Network]) -> bool:
    return any(subnet.overlaps(other) for other in others)


def create_network(bridge: str, wanted: str) -> Network:
    """The bridge, up, with its address; one that exists already keeps its subnet. `wanted` empty
    picks a free one.

    Raises LocalCloudError where it is another home's, or `wanted` is taken.
    """
    with locked(_NETWORK_LOCK):
        address = _address_of(bridge)
        if address:
            _refuse_other_home(bridge)
            _sign(bridge)
            return Network(bridge, str(_network_of(address)))
        if wanted and _overlaps(IPv4Network(wanted), taken()):
            raise LocalCloudError(
                f"subnet {wanted} overlaps a network of this host",
                cure="set another one in the stack's config",
            )
        network = Network(bridge, wanted or free_subnet(bridge, taken()))
        delete_network(bridge)
        _ip("link", "add", bridge, "type", "bridge")
        _sign(bridge)
        _ip("addr", "add", f"{network.host_address}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        return network


def _address_of(bridge: str) -> dict[str, Any] | None:
    """The first address of a bridge; None where it does not exist, or has none."""
    for link in _ip_json("-4", "addr", "show", "dev", bridge, allow=True):
        for address in link.get("addr_info", ()):
            return dict(address)
    return None


def _sign(bridge: str) -> None:
    """Names come from the home's path: after a move, another home at that path would find this
    bridge."""
    _ip("link", "set", bridge, "alias", f"{_SIGNATURE}{identity()} {home()}"[:255])


def _signed_by(bridge: str) -> tuple[str, str]:
    """Id and path of the home that made it; empty where it is not signed: older versions signed
    none."""
    try:
        alias = Path("/sys/class/net", bridge, "ifalias").read_text().strip()
    except OSError:
        return "", ""
    if not alias.startswith(_SIGNATURE):
        return "", ""
    who, _, where = alias.removeprefix(_SIGNATURE).partition(" ")
    return who, where


def _is_of_another_home(bridge: str) -> bool:
    return _signed_by(bridge)[0] not in ("", identity())


def _refuse_other_home(bridge: str) -> None:
    if _is_of_another_home(bridge):
        raise LocalCloudError(
            f"the bridge {bridge} belongs to another home of the kit, made at"
            f" {_signed_by(bridge)[1]} and moved or deleted: set another ORIGIN_KIT_HOME; where"
            f" that home is gone, run `ip link delete {bridge}`"
        )


def network_is_up(bridge: str) -> bool:
    """Whether the bridge is there, and this home's."""
    return Path("/sys/class/net", bridge).exists() and not _is_of_another_home(bridge)


def keep_network(bridge: str) -> bool:
    """Whether a bridge of this home's state is there; it is signed where an older version did
    not."""
    if not network_is_up(bridge):
        return False
    if not _signed_by(bridge)[0]:
        _sign(bridge)
    return True


def delete_network(bridge: str) -> None:
    """Remove the bridge; none is fine, and another home's stays."""
    if network_is_up(bridge):
        _ip("link", "delete", bridge)


def _ip(*words: str) -> None:
    answer = subprocess.run(
        ["ip", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise LocalCloudError(
            f"`ip {' '.join(words)}` failed: {answer.stderr.strip()}",
            cure="it needs root and NET_ADMIN",
        )


def _ip_json(*words: str, allow: bool = False) -> list[dict[str, Any]]:
    answer = subprocess.run(
        ["ip", "-j", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode and not allow:
        raise LocalCloudError(f"`ip {' '.join(words)}` failed: {answer.stderr.strip()}")
    if not answer.stdout.strip():
        return []
    return list(json.loads(answer.stdout))


def forget_neighbour(bridge: str, address: str) -> None:
    """Make this host forget the machine that it knew under that address."""
    subprocess.run(
        ["ip", "neigh", "del", address, "dev", bridge],
        capture_output=True,
        check=False,
    )


def remove_cable(container: str) -> None:
    """Remove the host's end of a machine's network cable. It goes with the machine's namespace, a
    moment later."""
    link = Path("/sys/class/net", f"vb-{container}")
    if not wait_until(lambda: not link.exists(), 5):
        subprocess.run(
            ["ip", "link", "delete", link.name],
            capture_output=True,
            check=False,
        )
