"""The host's one lock: a ship and a deploy exclude each other."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator, TextIO  # noqa: UP035 - Python 3.9 on hosts

from on_host import places
from on_host.files import private_folder
from on_host.orders import ORDERS
from on_host.runtime import SILENCE_S, Failed, note, wait_for

if TYPE_CHECKING:
    from pathlib import Path

LOCK = places.RUN / "lock"  # one for ship and deploy: they exclude each other


def try_lock() -> TextIO | None:
    """The host's lock, held until the handle is closed; None where somebody else has it."""
    private_folder(LOCK.parent)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.fdopen(os.open(str(LOCK), flags, 0o600), "r+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    handle.truncate(0)
    handle.write(
        "{}: {} since {}".format(ORDERS["who"], verb(), time.strftime("%Y-%m-%d %H:%M:%S %z"))
    )
    handle.flush()
    return handle


@contextmanager
def held(place: Path, how: int, refusal: str) -> Iterator[None]:
    """Hold another lock than the host's one, as flock's `how` says. Raises Failed with `refusal`
    where that is not possible now."""
    private_folder(place.parent)
    with place.open("a") as handle:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(refusal) from None
        yield


def verb() -> str:
    return str(ORDERS.get("verb"))


def owner() -> str:
    """Who holds the lock, what for and since when."""
    try:
        return LOCK.read_text().strip() or "somebody"
    except OSError:
        return "somebody"


def held_by(whose: str) -> str:
    """The message for somebody who has waited long enough: who holds the lock, since when, and how
    that ends."""
    return (
        f"another ship or deploy is running here: {whose}. It ends by itself; without its operator"
        f" it ends {SILENCE_S:.0f} s after the step under way. Run this again then, or wait longer"
        " with --wait"
    )


def take_lock() -> TextIO:
    """As `try_lock`, after at most `wait_s`. Raises Failed that names who holds it when that is
    over."""
    found: list[TextIO] = []

    def taken() -> bool:
        handle = try_lock()
        if handle:
            found.append(handle)
        return bool(found)

    if not taken():
        if ORDERS.get("wait_s"):
            note("wait", f"waits for {owner()}")
        if not wait_for(taken, ORDERS.get("wait_s", 0)):
            raise Failed(held_by(owner()))
    return found[0]
