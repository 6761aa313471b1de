"""What this process was asked to do. Filled by `__main__` before anything else of this package is
imported.

`ORDERS` has the keys that any verb may have; the modules of one verb read that verb's orders by the
function that is named after them.
"""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, TextIO, cast  # noqa: UP035 - Python 3.9 on hosts

if TYPE_CHECKING:  # a host needs the types at no time, and to make them takes it milliseconds
    from on_host import protocol

Json = Dict[str, Any]  # noqa: UP006

# Empty where the operator's side imports a module of this package, and in tests.
ORDERS: protocol.Orders = cast("protocol.Orders", {})
_held: list[TextIO] = []  # the lock that says that this process lives


def take_over(place: str) -> protocol.Orders:
    """The orders of the job in the folder `place`, which is this process's from now on."""
    job = Path(place)
    worker = (job / ".worker").open("w")
    fcntl.flock(worker, fcntl.LOCK_EX)
    (job / ".worker").rename(job / "worker")
    _held.append(worker)
    file = job / "orders.json"
    orders: protocol.Orders = json.loads(file.read_text())
    file.unlink()
    orders["job"] = place
    return orders


def look_orders() -> protocol.LookOrders:
    """The orders of history, logs and releases."""
    return cast("protocol.LookOrders", ORDERS)


def status_orders() -> protocol.StatusOrders:
    """The orders of a status."""
    return cast("protocol.StatusOrders", ORDERS)


def examine_orders() -> protocol.ExamineOrders:
    """The orders of a diagnosis."""
    return cast("protocol.ExamineOrders", ORDERS)


def outcome_orders() -> protocol.OutcomeOrders:
    """The orders of a question how a transaction ended."""
    return cast("protocol.OutcomeOrders", ORDERS)


def deploy_orders() -> protocol.DeployOrders:
    """The orders of a plan, or of a deploy."""
    return cast("protocol.DeployOrders", ORDERS)


def rollback_orders() -> protocol.RollbackOrders:
    """The orders of a rollback of the configuration."""
    return cast("protocol.RollbackOrders", ORDERS)


def ship_orders() -> protocol.ShipOrders:
    """The orders of a ship."""
    return cast("protocol.ShipOrders", ORDERS)


def release_rollback_orders() -> protocol.ReleaseRollbackOrders:
    """The orders of a rollback of the code."""
    return cast("protocol.ReleaseRollbackOrders", ORDERS)


def replacement_orders() -> protocol.ReplacementOrders:
    """The orders of a host that is replaced, or that replaces one."""
    return cast("protocol.ReplacementOrders", ORDERS)


def first_boot_orders() -> protocol.FirstBootOrders:
    """The orders of a question about the first boot."""
    return cast("protocol.FirstBootOrders", ORDERS)
