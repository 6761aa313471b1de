"""Finish or undo a change whose outcome is open: one that an interrupted run has left, or one that
failed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from on_host import audit, journal, moves, places, two_phase
from on_host.activation import note_activation
from on_host.configuration.state import compare, current_id, stored
from on_host.configuration.switch import settle_configuration
from on_host.probe import probe
from on_host.runtime import Failed, note, step
from on_host.services import await_workers, loads_current_release, restart_service, service

if TYPE_CHECKING:
    from on_host.answers import AuditLine
    from on_host.on_disk import Journal


def recover() -> bool:
    """Finish or undo what an earlier run left, configuration or release; whether it was finished:
    the new one stays."""
    for path in places.GENERATIONS.glob("*.partial"):
        shutil.rmtree(str(path))
    way = journal.read()
    if way is None:
        return False
    journal.report_unfinished()
    finished = two_phase.outcome(way, runs_target(way)) == "commit"
    if finished:
        keep(way)
        journal.commit()
        moves.finish_open_move(places.app())
    else:
        journal.put_links_back()
        try:
            settle(way)
        except Failed as problem:
            note("recover", f"what ran before does not come up again: {problem}")
    text = f"went back from {way['to']}"
    more: AuditLine = {}
    if finished:  # under the name of the change that it was
        text = f"kept {way['to']}"
        more = {"deploy": way["transaction"], "previous": way["from"]}
    audit.write(
        f"{text}, which an interrupted run had left",
        way["to"] if finished else way["from"],
        way["kind"],
        more,
    )
    return finished


def runs_target(way: Journal) -> bool:
    """Whether what runs here is what the journal leads to, and answers as it should."""
    if way["kind"] == "release":
        # A fresh copy in the place of a changed one has the same name: workers can't see which of
        # the two they loaded.
        renewed = way["from"] == way["to"]
        return (
            not renewed
            and Path(str(places.current_folder())).name == way["to"]
            and loads_current_release()
        )
    if current_id() != way["to"]:
        return False
    try:
        now = stored(way["to"])
        if any(compare(now)):
            return False
        probe(now["probes"])
    except (Failed, OSError):
        return False
    return True


def keep(way: Journal) -> None:
    """What a commit writes besides the journal's end: the place of this one in the order of those
    that served."""
    note_activation(
        places.GENERATIONS if way["kind"] == "configuration" else places.releases(), str(way["to"])
    )
    if way["release"]:
        note_activation(places.releases(), way["release"])


def undo(problem: Exception) -> None:
    """Go back to what the journal says, if a change has got that far."""
    if not journal.exists():
        return
    way = journal.put_links_back()
    note(
        "undo",
        "goes back to {}: {}".format(way["from"] or "what was there before", problem),
    )
    try:
        settle(way)
    except Failed as second:
        detail = getattr(problem, "detail", "") + "\n" + second.detail
        raise Failed(f"{problem}; going back failed too: {second}", detail) from problem


def settle(way: Journal) -> None:
    """After the links have gone back: bring what runs back to what is on disk again.

    The journal goes even where that fails: what did not come up once must not stop every later run.
    """
    try:
        if way["kind"] == "release":
            settle_release()
        else:
            settle_configuration(way)
    finally:
        journal.forget()


def settle_release() -> None:
    """Let the service run the release that is current."""
    if places.current_folder() is None or loads_current_release():
        return
    step("back-release", f"restarts {places.app()} with the release before")
    try:
        restart_service()
        await_workers()
    except Failed as problem:
        raise Failed(
            f"{service()} does not come up with the release before either", problem.detail
        ) from problem
