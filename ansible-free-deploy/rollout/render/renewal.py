"""The timer that renews a certificate by ACME, and what it asks for: files of a generation, so that
a rollback brings back both."""

from __future__ import annotations

import json

from infra.core.contract import Contract
from infra.core.https import ACME
from rollout.acme.orders import order_of
from rollout.render import places
from rollout.render.generation import File, Link
from rollout.render.templates import fill

SERVICE = "renewal"  # as a service of a generation
_UNITS = ("origin-kit-renew.service", "origin-kit-renew.timer")


def files(contract: Contract, role: str) -> tuple[File, ...]:
    """What to ask for, and when; none where certificates come from elsewhere."""
    if contract.tls != ACME:
        return ()
    service = fill(
        "renew.service",
        app=contract.application.name,
        wanted=f"{places.CURRENT}/{places.ACME_ORDER}",
        program=places.PROGRAM,
    )
    order = json.dumps(order_of(contract, role), indent=1) + "\n"
    return (
        File(places.ACME_ORDER, order),
        File(f"systemd/{_UNITS[0]}", service),
        File(f"systemd/{_UNITS[1]}", fill("renew.timer"), SERVICE),
    )


def links(contract: Contract) -> tuple[Link, ...]:
    """As `units.nginx_links`, for these units."""
    return _links() if contract.tls == ACME else ()


def absent(contract: Contract) -> tuple[str, ...]:
    """The places that hold no timer of another generation's."""
    return () if contract.tls == ACME else tuple(link.place for link in _links())


def units(contract: Contract) -> dict[str, tuple[str, ...]]:
    """The timer, which a deploy starts."""
    return {SERVICE: (_UNITS[1],)} if contract.tls == ACME else {}


def _links() -> tuple[Link, ...]:
    wanted = f"/etc/systemd/system/timers.target.wants/{_UNITS[1]}"
    return (
        *(Link(f"/etc/systemd/system/{unit}", f"systemd/{unit}") for unit in _UNITS),
        Link(wanted, f"systemd/{_UNITS[1]}"),
    )
