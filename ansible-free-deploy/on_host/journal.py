"""The journal of a change: written before the first link moves, removed when the outcome is known.

Configuration and releases share it, and the boot guard with it: whoever finds a journal finishes or
undoes that change before anything else.

Its states and what may follow each are the table `JOURNAL` of `states.py`:

    switching    written before the first link moves. Who finds it undoes the change, unless what
                 runs is the target and this host was alone
    prepared     this host serves the target and has reported that. Who finds it asks: the outcome
                 is the same on all hosts that took part
    no file      committed or undone; `outcome` knows which of the two

What a journal holds is `on_disk.Journal`.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Sequence  # noqa: UP035 - Python 3.9 on hosts

from on_host import audit, guard, handover, places, states
from on_host.files import link_of, point, sync, write_durably
from on_host.orders import ORDERS
from on_host.runtime import note, run, step

if TYPE_CHECKING:
    from typing import Literal

    from on_host.on_disk import Journal, OlderJournal, OlderReleaseJournal

# The transactions that were committed here, the last one last.
OUTCOMES = places.KIT / "committed.json"
KEPT_OUTCOMES = 200


def read() -> Journal | None:
    """The journal of a change whose outcome is open here, or None."""
    with contextlib.suppress(FileNotFoundError):
        found: Journal | OlderJournal = json.loads(places.JOURNAL.read_text())
        return found if "links" in found else _of_an_older_kit(found)
    with contextlib.suppress(FileNotFoundError):
        return _release_of_an_older_kit(json.loads(_old_release_journal().read_text()))
    return None


def state() -> states.JournalState:
    """The state of the journal on the disk."""
    return _state_of(read())


def _state_of(way: Journal | None) -> states.JournalState:
    if way is None:
        return states.NONE
    return states.PREPARED if way["state"] == states.PREPARED else states.SWITCHING


def exists() -> bool:
    """Whether the outcome of a change is open here."""
    return places.JOURNAL.exists() or _old_release_journal().exists()


def _old_release_journal() -> Path:
    return places.ROOT / "opt" / str(ORDERS["app"]) / "journal.json"


def _of_an_older_kit(found: OlderJournal) -> Journal:
    current = "generations/" + found["from"] if found["from"] else None
    return {
        "kind": "configuration",
        "transaction": "",
        "participants": [],
        "state": states.SWITCHING,
        "from": found["from"],
        "to": found["to"],
        "links": {**found["places"], str(places.KIT / "current"): current},
        "units": found["units"],
        "release": None,
    }


def _release_of_an_older_kit(found: OlderReleaseJournal) -> Journal:
    current = "releases/" + found["from"] if found["from"] else None
    place = str(places.ROOT / "opt" / str(ORDERS["app"]) / "current")
    return {
        "kind": "release",
        "transaction": "",
        "participants": [],
        "state": states.SWITCHING,
        "from": found["from"],
        "to": found["to"],
        "links": {place: current},
        "units": {},
        "release": None,
    }


# -------------------------------------------------------------------------------- a change's course


def begin(
    kind: Literal["configuration", "release"],
    to: str,
    back: str | None,
    links: Mapping[str, str | None],
    units: Mapping[str, Sequence[str]],
    release: str | None = None,
) -> None:
    """Write durably what this change goes back to, before it moves its first link.

    `links` says for each place where it points now, in the order in which they are put back.
    """
    step("journal", "writes the rollback journal")
    begun = states.next_of_journal(state(), "begin")
    guard.guard_the_boot()
    way: Journal = {
        "kind": kind,
        "transaction": ORDERS.get("deploy", ""),
        "participants": ORDERS.get("participants", []),
        "state": begun,
        "from": back,
        "to": to,
        "links": links,
        "units": units,
        "release": release,
    }
    _write(way)


def prepare() -> None:
    """Note that this host serves the target. From here on it can't decide alone whether that
    stays."""
    way, now = _open("prepare")
    _write({**way, "state": now})


def commit() -> None:
    """Keep the target: durable before the journal goes, so that another host's question has an
    answer."""
    way, _ = _open("commit")
    if way["transaction"]:
        kept = [*committed(), way["transaction"]][-KEPT_OUTCOMES:]
        write_durably(OUTCOMES, json.dumps(kept).encode(), 0o600)
        sync(places.KIT)
    forget()


def forget() -> None:
    """Remove the journal: what is current stays current."""
    for path in (places.JOURNAL, _old_release_journal()):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            sync(path.parent)


def put_links_back() -> Journal:
    """Undo what the change has switched; a second crash repeats it. The journal stays until
    services follow."""
    way, _ = _open("undo")
    for place, target in way["links"].items():
        if target is not None and link_of(place) != target:
            point(Path(place), target)
        elif target is None and link_of(place) is not None and _is_ours(place):
            Path(place).unlink()
    return way


def _open(event: states.JournalEvent) -> tuple[Journal, states.JournalState]:
    """The journal that is open here, and its state after `event`. Raises IllegalTransition where
    there is none, or its state does not allow that."""
    way = read()
    after = states.next_of_journal(_state_of(way), event)
    assert way is not None
    return way, after


def _is_ours(place: str) -> bool:
    """Whether a link that was not there before the change is one that the change has made."""
    target = str(link_of(place))
    return target.startswith((str(places.KIT / "current"), "generations/", "releases/"))


def _write(way: Journal) -> None:
    write_durably(places.JOURNAL, json.dumps(way).encode(), 0o600)
    sync(places.KIT)


# ----------------------------------------------------------------------------------------- outcomes


def committed() -> list[str]:
    """The transactions that were committed here, the last one last."""
    try:
        return [str(one) for one in json.loads(OUTCOMES.read_text())]
    except (OSError, ValueError):
        return []


def outcome(transaction: str) -> states.Ending:
    """`committed`, `prepared` (open here as well), `under way`, or `undone` (or this host never
    heard of it)."""
    if transaction in committed():
        return "committed"
    job = handover.JOBS / transaction
    if job.exists() and handover.lives(job):
        return "under way"
    way = read()
    if way is None or way["transaction"] != transaction or way["state"] != states.PREPARED:
        return "undone"
    return "prepared"


def in_doubt() -> bool:
    """Whether this host waits to hear how a change ended on the others."""
    return state() == states.PREPARED


# ----------------------------------------------------------------------------------------- the boot


def boot() -> None:
    """Nothing runs yet, so only links go back; a change that waits for the other hosts' outcome
    stays as it is."""
    way = read()
    if way is None or way["state"] == states.PREPARED:
        return
    put_links_back()
    run("systemctl", "daemon-reload")
    audit.write(
        f"went back to {way['from'] or 'what was there before'} after a power cut",
        way["from"],
        way["kind"],
    )
    forget()


def report_unfinished() -> None:
    """A line for the operator: what is found here is handled first."""
    note("recover", "finishes or undoes what an interrupted run left")
