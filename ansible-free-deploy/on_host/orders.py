"""What this process was asked to do. Filled by `__main__` before anything else of this package is
imported.

`ORDERS` has the keys that any verb may have; the modules of one verb read the same dictionary by a
name with the type of that verb's orders.
"""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, TextIO, cast  # noqa: UP035 - Python 3.9 on hosts

if TYPE_CHECKING:  # a host needs the types at no time, and to make them takes it milliseconds
    from on_host import protocol

Json = Dict[str, Any]  # noqa: UP006 - what the project printed; it decides nothing

# Empty where the operator's side imports a module of this package, and in tests.
ORDERS: protocol.Orders = cast("protocol.Orders", {})

# The same for the verbs that read more.
LOOK_ORDERS = cast("protocol.LookOrders", ORDERS)
STATUS_ORDERS = cast("protocol.StatusOrders", ORDERS)
EXAMINE_ORDERS = cast("protocol.ExamineOrders", ORDERS)
OUTCOME_ORDERS = cast("protocol.OutcomeOrders", ORDERS)
DEPLOY_ORDERS = cast("protocol.DeployOrders", ORDERS)
ROLLBACK_ORDERS = cast("protocol.RollbackOrders", ORDERS)
SHIP_ORDERS = cast("protocol.ShipOrders", ORDERS)
RELEASE_ROLLBACK_ORDERS = cast("protocol.ReleaseRollbackOrders", ORDERS)
CERTIFY_ORDERS = cast("protocol.CertifyOrders", ORDERS)
REPLACEMENT_ORDERS = cast("protocol.ReplacementOrders", ORDERS)
BACKUP_ORDERS = cast("protocol.BackupOrders", ORDERS)
RESTORE_ORDERS = cast("protocol.RestoreOrders", ORDERS)
FIRST_BOOT_ORDERS = cast("protocol.FirstBootOrders", ORDERS)

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
