"""Put a release on this host, or go back to one that is still here."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
from typing import Callable  # noqa: UP035 - Python 3.9 on hosts

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
from on_host.orders import ORDERS, Json
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
from on_host.work import ended, kind_of, report, told, under_the_lock


def facts() -> Json:
    """What the operator has to know to choose wheels and to see whether there is anything to do."""
    name_checks.refuse(places.app(), ORDERS.get("moving"))
    replacement.refuse()
    return {
        "python": "{}.{}".format(*sys.version_info),
        "python_full": platform.python_version(),
        "machine": platform.machine(),
        "libc": platform.libc_ver()[1] if platform.libc_ver()[0] == "glibc" else "",
        "release": places.current_id(),
        "made_from": release_made_from(),
        "settled": settled() and not claims.unfinished_move(places.app()),
        "releases": complete_releases(),
        "venvs": complete_venvs(),
    }


def install() -> Json:
    """ORDERS: app, role, who, deploy, id, digest and size (of what was sent, or None), and for a
    backend lock, wsgi, settings, files, env, secrets, unit (the text of the service's), generation
    (all of the configuration, for the release that can't do without it) and its probes."""
    finished = recover()
    with moves.entered(places.app(), ORDERS.get("moving") or {}):
        sweep()
        if places.current_id() == ORDERS["id"] and settled():
            note_what_it_was_made_from()
            return {"changed": finished, "release": ORDERS["id"], "previous": previous()}
        before, ship = places.current_id(), Ship(ORDERS["id"])
        two_phase.run(ship)
        shutil.rmtree(str(places.staged()), ignore_errors=True)
        prune()
    copy = {"copy": ship.copy} if ship.copy else {}
    return {"changed": True, "release": ORDERS["id"], "previous": before, **copy, **ship.also()}


def rollback() -> Json:
    """ORDERS: app, role, who, deploy, to (a release that is still here, or None for the one
    before), from (the one that is to be left, if it matters)."""
    finished = recover()
    with moves.entered(places.app(), {}):
        sweep()
        before, to = places.current_id(), ORDERS.get("to") or previous()
        here = [name for name in complete_releases() if activation_of(name)]
        if to is None:
            raise Failed("there is no release before this one here; `fab ship` puts one")
        if to == before:
            return {"changed": finished, "release": to, "previous": previous()}
        if ORDERS.get("from") not in (None, before):
            raise Failed(
                f"release {before} serves here by now, no longer {ORDERS['from']}; run this again"
            )
        if to not in here:
            raise Failed(f"release {to} is not here; there is {', '.join(here) or 'none'}")
        switch = Switch(to)
        two_phase.run(switch)
    return {"changed": True, "release": to, "previous": before, **switch.also()}


WORK: dict[str, Callable[[], Json]] = {"ship": install, "rollback-release": rollback}


def main() -> int:
    """Tell what is here, or change it: in the unit's process, or by handing it over to one."""
    if ORDERS["verb"] == "facts":
        return told(facts, explain)
    return ended(do if "job" in ORDERS else asked, explain)


def asked() -> int:
    """The part of the process that the operator has started."""
    send_heartbeats()
    receive()
    return handover.hand_over()


def do() -> int:
    """The unit's part."""
    asked_for = str(ORDERS.get("id") or ORDERS.get("to"))
    try:
        result = under_the_lock(WORK[ORDERS["verb"]])
    except (Failed, OSError) as problem:
        audit.write(f"{kind_of(problem)}: {problem}", asked_for, "release")
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            (INCOMING / str(ORDERS["deploy"])).unlink()
    end_step()
    if "configuration" in result:
        audit.write("deployed", result["configuration"], "configuration")
    word = {"ship": shipped.SHIPPED, "rollback-release": shipped.ROLLED_BACK}[ORDERS["verb"]]
    more = {"revision": shipped.revision(str(result["release"]))}
    # What an earlier run had left and this one has finished has a line of its own.
    changed = ORDERS["deploy"] in journal.committed()
    if changed:
        more.update({key: result[key] for key in ("previous", "copy") if key in result})
    audit.write(word if changed else "unchanged", result["release"], "release", **more)
    report(result)
    return 0


def explain(problem: OSError) -> str:
    return f"{trouble(problem, places.home())}; {unharmed()}"
