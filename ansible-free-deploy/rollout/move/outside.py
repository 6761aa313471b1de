"""Whether the new origins of a move answer as browsers will ask them: their names lead to the
hosts, and page and API answer there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from infra.core.contract import Contract, Role
from infra.core.origins import Origin
from rollout.doctor import ask

LOOKUP_S = 10.0  # for a name
_NOWHERE = ".test"  # RFC 6761: no name service has these; people write them into their hosts file

LookUp = Callable[[Origin], Sequence[str]]


def addresses(origin: Origin) -> Sequence[str]:
    """What the host of an origin resolves to from here; nothing where it is not known."""
    return ask.Lookup(origin).addresses(LOOKUP_S)


def lead_elsewhere(contract: Contract, look_up: LookUp = addresses) -> list[str]:
    """What is wrong with the names of the page and the API, a line each; nothing where browsers
    come to the hosts by them, or to the proxy in front."""
    lines = []
    for role in (contract.frontend, contract.backend):
        for name, found in _elsewhere(contract, role, look_up):
            lines.append(f"{name} {_what_of(found)}")
    return lines


def _elsewhere(
    contract: Contract,
    role: Role,
    look_up: LookUp,
) -> Iterator[tuple[str, Sequence[str]]]:
    origin = role.parsed_origin
    if origin.is_ip or origin.hostname.endswith(_NOWHERE):
        return
    found = look_up(origin)
    known = [host.address for host in role.hosts]
    if not any(address in known or contract.is_in_front(address) for address in found):
        yield origin.hostname, found


def _what_of(found: Sequence[str]) -> str:
    if not found:
        return "resolves to nothing from here"
    return f"still resolves to {', '.join(found)}"
