"""What keeps requests from the kit's nginx: a firewall, another server block, a full disk. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra.core.contract import Host
from on_host.answers import HostState
from rollout.doctor.checks.places import all_of, served_by
from rollout.doctor.codes import Code
from rollout.doctor.observations import PAGE, HostReport, Observations, Side, sides
from rollout.doctor.reach import Reach
from rollout.finding import Finding


def surroundings(observed: Observations) -> Iterator[Finding]:
    """Firewalls first; then what each host reports of itself."""
    for side in sides(observed.contract):
        reach = observed.reach.get(side.name)
        if reach and reach.problem:
            yield from _firewall(observed, side, reach)
    for host in observed.hosts:
        if host.state:
            yield from _other_sites(observed, host, host.state)
            yield from _full(observed, host, host.state)


def _firewall(
    observed: Observations,
    side: Side,
    reach: Reach,
) -> Iterator[Finding]:
    """No connection from here, though the host says that nginx listens there; or that it runs, and
    nobody listens."""
    for host in side.role.hosts:
        state = observed.state_of(host.name)
        if host.address != reach.address or not state:
            continue
        if state.get("listens"):
            yield _blocked(host, side, reach.problem, state)
        elif "listens" in state and state["units"].get("nginx.service") == "active":
            yield _closed(host, side)


def _closed(host: Host, side: Side) -> Finding:
    port = side.role.parsed_origin.port_number
    return Finding(
        f"nginx runs on {host.name} ({host.address}), and nothing listens on port {port}",
        cure="run `fab deploy --restart`",
        code=Code.PORT_CLOSED,
        anchor="no-answer",
        places=frozenset([side.view, host.name]),
        reach=frozenset([side.view, host.name]),
    )


def _blocked(
    host: Host,
    side: Side,
    problem: str,
    state: HostState,
) -> Finding:
    port = side.role.parsed_origin.port_number
    place = f"{host.name} ({host.address})"
    text = (
        f"port {port} of {place} takes no connection from here ({problem}), although"
        " nginx runs there and listens"
    )
    cure = (
        f"allow tcp port {port} to {place}: in the network's rules (security group, firewall of the"
        " cloud), and on the host (`nft list ruleset`, `ufw status`)"
    )
    if state.get("firewall"):
        text += f": the host's own firewall has `{state['firewall'][0]}`"
        cure = f"take that rule out on {host.name}, and where it is loaded from at boot"
    elif state.get("refuses_connections"):
        text += ": a firewall on the host itself denies it, since no connection works there either"
        cure = f"allow tcp port {port} on {host.name} (`nft list ruleset`, `iptables -S`)"
    else:
        text += " and answers on the host itself: a firewall denies it"
    return Finding(
        text,
        cure=cure,
        code=Code.PORT_BLOCKED,
        anchor="no-answer",
        reach=frozenset([side.view, host.name]),
    )


def _other_sites(
    observed: Observations,
    host: HostReport,
    state: HostState,
) -> Iterator[Finding]:
    """nginx prefers a server block that names the site over the kit's, which is the default."""
    views = served_by(observed, host)
    for site in state.get("other_sites", ()):
        file = site["file"]
        names = " ".join(site["names"])
        takes_over = _is_wrong(observed, views)
        then = "answers in place of the kit's" if takes_over else "takes over at the next restart"
        yield Finding(
            f"{file} on {host.name} has a server block with this name (server_name {names}), which"
            f" {then}",
            cure=f"remove {file} on {host.name}, or the name from it, then run"
            " `fab deploy --restart`",
            code=Code.NAME_TAKEN,
            anchor="another-server-block",
            warning=not takes_over,
            reach=all_of(views),
        )


def _is_wrong(observed: Observations, views: frozenset[str]) -> bool:
    """Whether something in these views is not as intended."""
    page = observed.page
    if (
        PAGE in views
        and not page.gate
        and (page.status != 200 or page.backend != observed.contract.backend.origin)
    ):
        return True
    cells = [cell for cell in observed.cells if cell.view in views and cell.verdict]
    return any(not cell.good for cell in cells)


def _full(
    observed: Observations,
    host: HostReport,
    state: HostState,
) -> Iterator[Finding]:
    lack = state.get("full")
    if lack:
        yield Finding(
            f"a disk of {host.name} is full ({lack})",
            cure="make room there (`du -xh / | sort -h | tail`, `journalctl --vacuum-size=100M`),"
            " or set a larger disk_gb and run `fab up`",
            code=Code.DISK_FULL,
            reach=all_of(served_by(observed, host)),
        )
