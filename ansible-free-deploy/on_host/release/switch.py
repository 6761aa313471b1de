"""Make a release current, with the configuration that it needs, or change nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from on_host import journal, name_checks, page_files, places, shipped, two_phase
from on_host.activation import note_activation
from on_host.configuration import deploy, state
from on_host.configuration.switch import prune as prune_generations
from on_host.configuration.switch import write_journal
from on_host.files import point
from on_host.orders import ORDERS, SHIP_ORDERS
from on_host.recovery import settle
from on_host.release import made_from, modules
from on_host.release.check import try_backend
from on_host.release.database import migrate
from on_host.release.folders import discard
from on_host.release.site import keep_earlier
from on_host.release.stage import put, stage
from on_host.release.state import last_served, names_in, unharmed, used_venvs
from on_host.runtime import Failed, note, step
from on_host.services import await_workers, has_service, restart_service
from on_host.user import prepare_user

if TYPE_CHECKING:
    from on_host.answers import ShipAnswer
    from on_host.generations import Generation

KEPT = page_files.EARLIER + 1  # releases: the one that serves, and those before it


class Switch(two_phase.Work):
    """Make a release that is here current and run it, or roll back.

    Where the live configuration names modules that the release lacks, a configuration that names
    the release's own modules is switched in the same step.
    """

    def __init__(self, to: str) -> None:
        self.to = to
        self.along: deploy.Deploy | None = None  # the configuration that is switched with it

    def stage(self) -> None:
        self.stage_configuration(places.releases() / self.to)

    def stage_configuration(self, code: Path) -> None:
        """Stage the configuration that this release needs, if the live one does not fit."""
        live = places.CONFIGURATION
        if not places.is_backend() or SHIP_ORDERS.get("moving"):
            return
        if not live.exists() or modules.fits(live, code):
            return
        generation = self.configuration(code)
        name_checks.check(generation, places.app())
        self.along = deploy.Deploy(generation, code)
        self.along.stage()

    def configuration(self, code: Path) -> Generation:
        """The last configuration that served and names modules of this release.

        Raises Failed where there is none.
        """
        newest_first = sorted(
            state.kept(),
            key=state.by_activation,
            reverse=True,
        )
        for name in newest_first:
            if modules.fits(places.GENERATIONS / name, code):
                generation = state.stored(name)
                ORDERS["probes"] = generation["probes"]
                return generation
        raise Failed(
            f"release {self.to} {self.why_nothing_fits(code)}; {unharmed()}. Run `fab ship` to put"
            " a release that fits the stack's config"
        )

    def why_nothing_fits(self, code: Path) -> str:
        lacking = modules.missing(places.CONFIGURATION, code)
        if lacking:
            return f"has no module {lacking[0]!r}, which every configuration here names"
        return "has settings in classes, and no configuration here names one"

    def switch(self) -> None:
        keep_earlier()
        os.sync()  # all that the link will lead to must be on the disk
        back = places.current_id()
        link_before = f"releases/{back}" if back else None
        links: dict[str, str | None] = {str(places.current_release()): link_before}
        if self.along:
            links.update(self.along.links())
            write_journal(self.along.generation, links, self.to)
        else:
            journal.begin("release", self.to, back, links, {})
        step("switch", f"switches to release {self.to}")
        point(places.current_release(), f"releases/{self.to}")
        if self.along:
            self.along.switch_to()
        else:
            restart()

    def keep(self) -> None:
        note_activation(places.releases(), self.to)
        if self.along:
            self.along.keep()
            prune_generations()

    def answer(self, before: str | None) -> ShipAnswer:
        """What is reported of the switch from the release `before`."""
        result: ShipAnswer = {
            "changed": True,
            "release": self.to,
            "previous": before,
        }
        if self.along:
            result["configuration"] = self.along.generation["id"]
        return result

    def undo(self, problem: Exception) -> None:
        if not journal.exists():
            return
        comes_up = go_back()
        if isinstance(problem, two_phase.LeftAlone) and comes_up:
            return
        now = "the previous release serves again"
        if not comes_up:
            now = "the previous release does not come up either: see `fab logs`"
        raise Failed(
            f"release {self.to} does not come up: {problem}; {now}. Migrations are not undone",
            getattr(problem, "detail", ""),
        ) from problem


class Ship(Switch):
    """Put the release that arrived on this host, and make it current.

    `copy` is the place of the database's copy from before the migrations; "" without one.
    """

    copy = ""

    def stage(self) -> None:
        prepare_user()
        self.staged = stage()
        if places.is_backend():
            try_backend(self.staged)
            self.stage_configuration(self.staged)

    def configuration(self, code: Path) -> Generation:
        """The configuration that came with the orders."""
        return state.given(make_key=True)

    def answer(self, before: str | None) -> ShipAnswer:
        result = super().answer(before)
        if self.copy:
            result["copy"] = self.copy
        return result

    def switch(self) -> None:
        if places.is_backend():
            note_migrations_no_longer_held(places.current_id(), self.to)
            self.copy = migrate(self.staged)
        put(self.staged)
        super().switch()

    def keep(self) -> None:
        super().keep()
        note_what_it_was_made_from()


def note_migrations_no_longer_held(before: str | None, to: str) -> None:
    """Emit a note on migrations that the release does not hold and that stay applied."""
    gone = shipped.no_longer_held(before, to)
    if gone:
        text = f"does not hold these migrations, which stay applied: {', '.join(gone)}"
        note("note", text)


def note_what_it_was_made_from() -> None:
    """Record the keys of the config that this release was made from."""
    if SHIP_ORDERS.get("made_from") is not None:
        made_from.note(SHIP_ORDERS["id"], SHIP_ORDERS["made_from"])


def restart() -> None:
    """Restart the service where there is one, and wait until every worker runs the release."""
    if not has_service():
        return
    step("restart", f"restarts {places.app()}")
    restart_service()
    step("confirm", "waits for the workers")
    await_workers()


def go_back() -> bool:
    """Roll back a switch whose outcome is open; whether the current release comes up.

    Doing it twice is the same as doing it once.
    """
    step("undo", "goes back to the release before")
    way = journal.put_links_back()
    try:
        settle(way)
    except Failed:
        return False
    return True


def prune() -> None:
    """Keep the current release, those that served last, and their environments."""
    step("prune", "removes old releases")
    kept = {places.current_id(), *last_served()[:KEPT]}
    for name in set(names_in(places.releases())) - kept:
        discard(places.releases() / name)
    used = used_venvs()
    for name in names_in(places.venvs()):
        if name not in used:
            (places.venvs() / name / ".complete").unlink(missing_ok=True)
            discard(places.venvs() / name)
