"""`Origin`: scheme, host and port as one value. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from infra.core.origins.addresses import Address, address_of
from infra.core.origins.ports import DEFAULT_PORTS

_LOOPBACK_TWINS = {"localhost": "127.0.0.1", "127.0.0.1": "localhost"}


@functools.total_ordering
@dataclass(frozen=True)
class Origin:
    """Scheme, host and port as browsers serialise them; made by `parse_origin`.

    `host` is an A-label name, a dotted IPv4 address or a bracketed, compressed IPv6 address; `port`
    is None where it is the scheme's default.
    """

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.port_text}"

    def __lt__(self, other: Origin) -> bool:
        return self._key < other._key

    @property
    def _key(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port or 0  # None does not compare with numbers

    @property
    def port_text(self) -> str:
        """The port as the origin's text ends with it: `:8080`, or empty for the default one."""
        return "" if self.port is None else f":{self.port}"

    @property
    def port_number(self) -> int:
        """The TCP port, also where the text leaves it out."""
        return self.port or DEFAULT_PORTS[self.scheme]

    @property
    def authority(self) -> str:
        """Host and port as they stand in a `Host:` header."""
        return f"{self.host}{self.port_text}"

    @property
    def hostname(self) -> str:
        """The host as resolvers take it: an IPv6 address without its brackets."""
        return self.host.strip("[]")

    @property
    def address(self) -> Address | None:
        """The host as an IP address; None for a name."""
        return address_of(self.host)

    @property
    def is_ip(self) -> bool:
        """The host is an address; cookies never travel between two of those."""
        return self.address is not None

    @property
    def is_loopback(self) -> bool:
        """The host is this very machine, by name or by address."""
        address = self.address
        if address is not None:
            return address.is_loopback
        return self.host == "localhost" or self.host.endswith(".localhost")


def loopback_twin(origin: Origin) -> Origin | None:
    """The same origin under the other name of the pair `localhost` and `127.0.0.1`, if it has one
    of these."""
    twin = _LOOPBACK_TWINS.get(origin.host)
    if twin is None:
        return None
    return Origin(origin.scheme, twin, origin.port)


def origin_notes(origins: Iterable[Origin]) -> list[str]:
    """One line for each of `localhost` and `127.0.0.1` that is listed without the other: half of
    what was meant."""
    listed = list(dict.fromkeys(origins))
    notes = []
    for origin in listed:
        twin = loopback_twin(origin)
        if twin is None or twin in listed:
            continue
        notes.append(
            f"`localhost` and `127.0.0.1` are two origins: add {twin} if the page of {origin} is"
            " opened under that name too"
        )
    return notes
