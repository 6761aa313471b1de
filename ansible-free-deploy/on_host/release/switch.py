"""Make a release current, with the configuration that it needs, or leave everything as it was."""

from __future__ import annotations

import os
from pathlib import Path

from on_host import journal, name_checks, places, shipped, two_phase
from on_host.activation import note_activation
from on_host.configuration import deploy, state
from on_host.configuration.switch import prune as prune_generations
from on_host.configuration.switch import write_journal
from on_host.files import point
from on_host.orders import ORDERS, Json
from on_host.recovery import settle
from on_host.release import made_from, modules
from on_host.release.check import try_backend
from on_host.release.database import migrate
from on_host.release.folders import discard
from on_host.release.stage import put, stage
from on_host.release.state import activation_of, names_in, unharmed
from on_host.runtime import Failed, emit, step
from on_host.services import await_workers, has_service, restart_service
from on_host.user import prepare_user

KEPT = 5


class Switch(two_phase.Work):
    """Make a release that is here current, and what runs with it; or everything as it was.

    Where the live configuration names modules that the release lacks, the one that names its own is
    switched with it.
    """

    def __init__(self, to: str) -> None:
        self.to = to
        self.along: deploy.Deploy | None = None  # the configuration that is switched with it

    def stage(self) -> None:
        self.stage_configuration(places.releases() / self.to)

    def stage_configuration(self, code: Path) -> None:
        """Get the configuration ready that this release needs, if it is not the live one."""
        live = places.CONFIGURATION
        if (
            not places.is_backend()
            or ORDERS.get("moving")
            or not live.exists()
            or modules.fits(live, code)
        ):
            return
        generation = self.configuration(code)
        name_checks.check(generation, places.app())
        self.along = deploy.Deploy(generation, code)
        self.along.stage()

    def configuration(self, code: Path) -> Json:
        """The last configuration that served and names modules of this release. Raises Failed where
        there is none."""
        here = sorted(state.kept(), key=state.by_activation, reverse=True)
        for name in here:
            if modules.fits(places.GENERATIONS / name, code):
                ORDERS["probes"] = (found := state.stored(name))["probes"]
                return found
        lacking = modules.missing(places.CONFIGURATION, code)
        why = (
            f"has no module {lacking[0]!r}, which every"
            if lacking
            else "has settings in classes, of which no"
        )
        raise Failed(
            f"release {self.to} {why} configuration here names{'' if lacking else ' one'};"
            f" {unharmed()}"
        )

    def switch(self) -> None:
        os.sync()  # nothing that the link will lead to may be in memory only
        back = places.current_id()
        links = {str(places.current_release()): f"releases/{back}" if back else None}
        if self.along:
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

    def also(self) -> Json:
        """What is told of the configuration that was switched along: its id."""
        return {"configuration": self.along.generation["id"]} if self.along else {}

    def undo(self, problem: Exception) -> None:
        if not journal.exists():
            return
        runs = go_back()
        if isinstance(problem, two_phase.LeftAlone) and runs:
            return
        after = (
            "the one before serves again"
            if runs
            else "the one before does not come up either: see `fab logs`"
        )
        raise Failed(
            f"release {self.to} does not come up: {problem}; {after}. Migrations are not taken"
            " back",
            getattr(problem, "detail", ""),
        ) from problem


class Ship(Switch):
    """Put the release that arrived on this host, and make it current. `copy` is of the database
    before migrations."""

    copy = ""

    def stage(self) -> None:
        prepare_user()
        self.staged = stage()
        if places.is_backend():
            try_backend(self.staged)
            self.stage_configuration(self.staged)

    def configuration(self, code: Path) -> Json:
        """The one that came along."""
        return state.given(make_key=True)

    def switch(self) -> None:
        if places.is_backend():
            if gone := shipped.no_longer_held(places.current_id(), self.to):
                emit(
                    step="note",
                    text=f"does not hold these migrations, which stay applied: {', '.join(gone)}",
                )
            self.copy = migrate(self.staged)
        put(self.staged)
        super().switch()

    def keep(self) -> None:
        super().keep()
        note_what_it_was_made_from()


def note_what_it_was_made_from() -> None:
    if ORDERS.get("made_from") is not None:
        made_from.note(str(ORDERS["id"]), ORDERS["made_from"])


def restart() -> None:
    """Restart the service where there is one; done when every worker has loaded what is current."""
    if not has_service():
        return
    step("restart", f"restarts {places.app()}")
    restart_service()
    step("confirm", "waits for the workers")
    await_workers()


def go_back() -> bool:
    """Undo a switch whose outcome is open; done twice, it is done once. Whether what is current now
    runs."""
    step("undo", "goes back to the release before")
    way = journal.put_links_back()
    try:
        settle(way)
    except Failed:
        return False
    return True


def prune() -> None:
    """Keep what is current and what served last, `KEPT` in all, and only the environments that
    those run in."""
    step("prune", "removes old releases")
    by_turn = sorted(names_in(places.releases()), key=activation_of, reverse=True)
    kept = {places.current_id(), *[name for name in by_turn if activation_of(name)][:KEPT]}
    for name in set(by_turn) - kept:
        discard(places.releases() / name)
    used = {
        os.path.realpath(str(places.releases() / name / "venv"))
        for name in names_in(places.releases())
    }
    for name in names_in(places.venvs()):
        if os.path.realpath(str(places.venvs() / name)) not in used:
            (places.venvs() / name / ".complete").unlink(missing_ok=True)
            discard(places.venvs() / name)
