"""The names of the pair, and the frontend's page with its config.json. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rollout.doctor.checks.in_front import hosts_are_reached
from rollout.doctor.checks.places import IN_FRONT, fault_of, leads_to
from rollout.doctor.codes import Code
from rollout.doctor.observations import PAGE, PUBLIC, Observations, Side, sides
from rollout.finding import Finding


def names(observed: Observations) -> Iterator[Finding]:
    """What the two names resolve to from here."""
    for side in sides(observed.contract):
        if side.role.hosts:  # the name of an attached backend is that environment's
            yield from _name(observed, side)


def _name(observed: Observations, side: Side) -> Iterator[Finding]:
    name = side.name
    role = side.role
    view = side.view
    known = [host.address for host in role.hosts]
    resolved = observed.addresses[name]
    host = role.parsed_origin.hostname
    problem = observed.lookup_problems.get(name)
    if not resolved and problem:
        yield Finding(
            f"the {name}'s name {host} could not be looked up ({problem}); its hosts were asked by"
            " address",
            cure="check this machine's name service (/etc/resolv.conf), then ask again",
            code=Code.NAME_NOT_LOOKED_UP,
            anchor="no-answer",
            warning=True,
        )
    elif not resolved:
        yield Finding(
            f"the {name}'s name {host} resolves to nothing from here; its hosts were asked by"
            " address",
            cure=f"point {host} at {known[0]}; see `fab outputs`",
            code=Code.NAME_UNKNOWN,
            anchor="no-answer",
            warning=True,
        )
    elif not any(leads_to(observed, role, address) for address in resolved):
        if hosts_are_reached(observed, role):
            return  # through a proxy, whose harm shows in the answers, if it does any
        yield Finding(
            f"{host} resolves to {', '.join(resolved)}; the contract says {', '.join(known)}: the"
            " address changed since the last `pulumi up`, or the DNS record was not updated",
            cure=f"point {host} at {known[0]} (`fab up` does, if `dns_zone` is set) and wait for"
            " the record's TTL; if a CDN or proxy is in front, list its networks as `behind`",
            code=Code.NAME_LEADS_ELSEWHERE,
            anchor="no-answer",
            reach=frozenset([view, IN_FRONT] if view == PUBLIC else [view]),
        )


def page(observed: Observations) -> Iterator[Finding]:
    """What the frontend serves at its address."""
    status = observed.page.status
    url = observed.contract.frontend.origin
    if status is None:
        yield Finding(
            f"the page {url} does not answer: {observed.page.problem}",
            cure="see `fab status`",
            code=Code.PAGE_SILENT,
            anchor="no-answer",
            places=frozenset([PAGE]),
        )
    elif observed.page.gate:
        pass  # see `gates`
    elif status != 200:
        cure = "see `fab logs`" if status >= 500 else "run `fab ship`, then `fab deploy`"
        yield Finding(
            f"the page {url} answers {status}",
            cure=cure,
            code=Code.PAGE_FAILS,
            places=frozenset([PAGE, fault_of(PAGE)]),
        )
    else:
        yield from _config(observed)


def _config(observed: Observations) -> Iterator[Finding]:
    """Where config.json sends the page's requests."""
    page = observed.page
    backend = observed.contract.backend.origin
    if page.config_problem:
        yield Finding(
            f"the page's config.json could not be read ({page.config_problem}), so the backend"
            " that the page calls is not known",
            cure="see `fab status` and `fab logs`",
            code=Code.PAGE_CONFIG_UNREADABLE,
            places=frozenset([PAGE]),
        )
    elif page.backend is None:
        yield Finding(
            "the page's config.json does not say where the backend is",
            cure="run `fab deploy`",
            code=Code.PAGE_CONFIG_INCOMPLETE,
            places=frozenset([PAGE, fault_of(PAGE)]),
        )
    elif page.backend != backend:
        yield Finding(
            f"the page's config.json sends it to {page.backend}; the contract says {backend}",
            cure="run `fab deploy`",
            code=Code.PAGE_CONFIG_DIFFERS,
            places=frozenset([PAGE, fault_of(PAGE)]),
        )
