"""The verbs that put a release on this host, or roll back to one that is still here."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
from typing import TYPE_CHECKING, Callable  # noqa: UP035 - Python 3.9 on hosts

from on_host import (
    audit,
    claims,
    handover,
    journal,
    moves,
    name_checks,
    places,
    replacement,
    shipped,
    two_phase,
)
from on_host.disk import trouble
from on_host.orders import ORDERS, RELEASE_ROLLBACK_ORDERS, SHIP_ORDERS
from on_host.recovery import recover
from on_host.release.stage import sweep
from on_host.release.state import (
    activation_of,
    complete_releases,
    complete_venvs,
    previous,
    release_made_from,
    settled,
    unharmed,
)
from on_host.release.switch import Ship, Switch, note_what_it_was_made_from, prune
from on_host.release.unpack import INCOMING, receive
from on_host.runtime import Failed, end_step, send_heartbeats
from on_host.work import ended, kind_of, print_answer, report, under_the_lock

if TYPE_CHECKING:
    from on_host.answers import AuditLine, FactsAnswer, ShipAnswer


def facts() -> FactsAnswer:
    """What the operator's side needs to choose wheels and to see whether there is work to do."""
    name_checks.refuse(places.app(), SHIP_ORDERS.get("moving"))
    replacement.refuse()
    libc, version = platform.libc_ver()
    return {
        "python": "{}.{}".format(*sys.version_info),
        "python_full": platform.python_version(),
        "machine": platform.machine(),
        "libc": version if libc == "glibc" else "",
        "release": places.current_id(),
        "made_from": release_made_from(),
        "settled": settled() and not claims.unfinished_move(places.app()),
        "releases": complete_releases(),
        "venvs": complete_venvs(),
    }


def install() -> ShipAnswer:
    """Put the release of the orders on this host.

    ORDERS: app, role, who, deploy, id, digest and size (of the archive, or None), and for a backend
    lock, wsgi, settings, files, env, secrets, unit (the text of the service's), generation (the
    whole configuration, for a release that needs it) and its probes.
    """
    finished = recover()
    to = SHIP_ORDERS["id"]
    with moves.entered(places.app(), SHIP_ORDERS.get("moving") or {}):
        sweep()
        before = places.current_id()
        if before == to and settled():
            note_what_it_was_made_from()
            return {
                "changed": finished,
                "release": to,
                "previous": previous(),
            }
        ship = Ship(to)
        two_phase.run(ship)
        shutil.rmtree(str(places.staged()), ignore_errors=True)
        prune()
    return ship.answer(before)


def rollback() -> ShipAnswer:
    """Go back to a release that is still here.

    ORDERS: app, role, who, deploy, to (None for the previous release), from (the release that must
    be current, or None).
    """
    finished = recover()
    with moves.entered(places.app(), {}):
        sweep()
        before = places.current_id()
        to = RELEASE_ROLLBACK_ORDERS["to"] or previous()
        if to is None:
            raise Failed("there is no release before this one here; `fab ship` puts one")
        if to == before:
            return {
                "changed": finished,
                "release": to,
                "previous": previous(),
            }
        leaving = RELEASE_ROLLBACK_ORDERS["from"]
        if leaving not in (None, before):
            raise Failed(
                f"release {before} serves here by now, no longer {leaving}; run this again"
            )
        here = [name for name in complete_releases() if activation_of(name)]
        if to not in here:
            raise Failed(f"release {to} is not here; releases here: {', '.join(here) or 'none'}")
        switch = Switch(to)
        two_phase.run(switch)
    return switch.answer(before)


WORK: dict[str, Callable[[], ShipAnswer]] = {"ship": install, "rollback-release": rollback}


def main() -> int:
    """Report facts, do the unit's part of a change, or hand the change over to a unit."""
    if ORDERS["verb"] == "facts":
        return print_answer(facts, explain)
    return ended(do if "job" in ORDERS else hand_over, explain)


def hand_over() -> int:
    """The part of the process that the operator has started."""
    send_heartbeats()
    receive()
    return handover.hand_over()


def do() -> int:
    """The unit's part."""
    target = str(SHIP_ORDERS.get("id") or RELEASE_ROLLBACK_ORDERS.get("to"))
    try:
        result = under_the_lock(WORK[ORDERS["verb"]])
    except (Failed, OSError) as problem:
        audit.write(f"{kind_of(problem)}: {problem}", target, "release")
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            (INCOMING / str(ORDERS["deploy"])).unlink()
    end_step()
    if "configuration" in result:
        audit.write("deployed", result["configuration"], "configuration")
    write_audit(result)
    report(result)
    return 0


_WORDS = {"ship": shipped.SHIPPED, "rollback-release": shipped.ROLLED_BACK}


def write_audit(result: ShipAnswer) -> None:
    """Record the change of the release.

    A change that an earlier run had left and this one has finished has a line of its own.
    """
    release = result["release"]
    more: AuditLine = {"revision": shipped.revision(release)}
    word = "unchanged"
    if ORDERS["deploy"] in journal.committed():
        word = _WORDS[ORDERS["verb"]]
        more["previous"] = result["previous"]
        if "copy" in result:
            more["copy"] = result["copy"]
    audit.write(word, release, "release", more)


def explain(problem: OSError) -> str:
    """What the system refuses, and what serves all the same."""
    return f"{trouble(problem, places.home())}; {unharmed()}"
