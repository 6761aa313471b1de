"""What this process was asked to do. Filled by `__main__` before anything else of this package is
imported."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any, Dict, TextIO  # noqa: UP035 - Python 3.9 evaluates the alias below

Json = Dict[str, Any]  # noqa: UP006

ORDERS: Json = {}  # empty where the operator's side imports a module of this package, and in tests
_held: list[TextIO] = []  # the lock that says that this process lives


def take_over(place: str) -> Json:
    """The orders of the job in the folder `place`, which is this process's from now on."""
    job = Path(place)
    worker = (job / ".worker").open("w")
    fcntl.flock(worker, fcntl.LOCK_EX)
    (job / ".worker").rename(job / "worker")
    _held.append(worker)
    orders = job / "orders.json"
    found: Json = json.loads(orders.read_text())
    orders.unlink()
    return {**found, "job": place}
