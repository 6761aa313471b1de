"""Wait until every host can be worked on: it answers SSH as the contract says, and its first boot
is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.core import first_boot
from infra.core.contract import Contract, Host
from infra.core.home import operator_key_path
from on_host import protocol
from on_host.protocol import FirstBootOrders
from rollout import access, hosts, report
from rollout.host_errors import ConnectError, HostError
from rollout.hosts import Identity, Session

LIMIT_S = 300.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0


@dataclass(frozen=True)
class Clock:
    """Time, so that tests need none; `stopped` is whether nobody waits any more."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    stopped: Callable[[], bool] = lambda: False


def wait(contract: Contract, limit_s: float = LIMIT_S) -> None:
    """Return when all are ready; they are asked side by side, at growing intervals. ^C ends every
    pause.

    Raises ConnectError with the last reason when `limit_s` is over, HostError at once for a first
    boot that failed.
    """
    identity = access.identity(contract)
    interrupt = threading.Event()
    clock = Clock(sleep=interrupt.wait, stopped=interrupt.is_set)
    hosts.each(
        [host for _, host in contract.hosts],
        lambda host: _one(host, identity, limit_s, clock),
        interrupt.set,
    )


def _one(
    host: Host,
    identity: Identity,
    limit_s: float,
    clock: Clock,
) -> None:
    end = clock.now() + limit_s
    pause = FIRST_PAUSE_S
    said = ""
    while True:
        try:
            with hosts.session(host, identity) as session:
                why = _unfinished(session, identity)
            problem: HostError = HostError(
                host, f"{why} after {limit_s:.0f} s; look at its console, or run this again"
            )
        except ConnectError as refused:
            why = refused.reason
            problem = refused
        if why is None:
            return
        if clock.stopped() or clock.now() + pause > end:
            raise problem
        if why != said:
            report.step(host.name, f"waits: {why}")
            said = why
        clock.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE_S)


def _unfinished(session: Session, identity: Identity) -> str | None:
    """Why the host is not ready although we may log in; None when it is. Machines of the kit's own
    boot whole."""
    if identity.file == operator_key_path():
        return None
    orders: FirstBootOrders = {"question": first_boot.QUESTION}
    text = session.ask(protocol.FIRST_BOOT, orders)["text"]
    verdict = first_boot.verdict(text)
    if verdict not in (None, "running"):
        raise HostError(
            session.host,
            f"its first boot failed: {verdict}; destroy and create it again",
            text.strip(),
        )
    return "its first boot is still running" if verdict else None
