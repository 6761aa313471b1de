"""Where a problem shows: the places by which one finding explains another. Pure."""

from __future__ import annotations

from infra.core.contract import Role
from rollout.doctor.observations import PAGE, HostReport, Observations, sides

IN_FRONT = "in front"  # what differs between a host's answer and what arrives


def fault_of(view: str) -> str:
    """The place of what a changed file of the application or of nginx can break in a view."""
    return f"fault of {view}"


def application_of(view: str) -> str:
    """The place of what the application behind that view does not answer."""
    return f"application of {view}"


def server_errors_of(view: str) -> str:
    """The place of what only concerns answers with 5xx."""
    return f"5xx of {view}"


def leads_to(observed: Observations, role: Role, address: str) -> bool:
    """Whether this address is a host of the role, or the proxy in front."""
    hosts = [host.address for host in role.hosts]
    return address in hosts or observed.contract.is_in_front(address)


def served_by(observed: Observations, host: HostReport) -> frozenset[str]:
    """The views that this host answers: its own, and what is asked at its address."""
    views = {host.name}
    for side in sides(observed.contract):
        hosts = side.role.hosts
        addresses = observed.addresses[side.name] or (side.role.address,)
        reached = addresses[0]
        if observed.contract.is_in_front(reached):
            reached = side.role.address
        if host.name in [one.name for one in hosts] and host.address == reached:
            views.add(side.view)
    return frozenset(views)


def applications_of(views: frozenset[str]) -> frozenset[str]:
    """The places of what the application fails to answer in these views. A frontend has no
    application: there it is the page itself."""
    places = set()
    for view in views:
        if view == PAGE:
            places.add(PAGE)
        else:
            places |= {application_of(view), server_errors_of(view)}
    return frozenset(places)


def all_of(views: frozenset[str]) -> frozenset[str]:
    """Every place of these views: for what can break the application and nginx alike, as a changed
    file or a full disk does."""
    return views | applications_of(views) | {fault_of(view) for view in views}
