"""Make this host hold one generation, or leave it unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from on_host import (
    audit,
    handover,
    journal,
    logins,
    moves,
    name_checks,
    places,
    restart_reasons,
    restoring,
    two_phase,
)
from on_host.activation import note_activation
from on_host.certificates import given as certificates
from on_host.certificates import store
from on_host.configuration.answered import note_on_open_pages
from on_host.configuration.check import validate
from on_host.configuration.state import (
    compare,
    given,
    kept,
    refuse_another,
    removed_origins,
    stale,
    stored,
)
from on_host.configuration.switch import prune, restart, stage, switch, write_journal
from on_host.lock import take_lock, try_lock
from on_host.orders import DEPLOY_ORDERS, ORDERS, ROLLBACK_ORDERS
from on_host.probe import probe
from on_host.recovery import recover, undo
from on_host.release.state import release_made_from
from on_host.runtime import Failed, end_step, note, send_heartbeats, step
from on_host.services import check_ports
from on_host.work import ended, kind_of, report, still_serves, under_the_lock

if TYPE_CHECKING:
    from on_host.answers import DeployAnswer
    from on_host.generations import Generation
    from on_host.protocol import Probes


def work_for(generation: Generation) -> tuple[list[str], dict[str, str]]:
    """What differs, and service → why it has to restart."""
    name_checks.check(generation, places.app())
    if places.current_folder() is None:
        raise Failed(f"there is no release of {places.app()} here yet; run `fab ship` first")
    wrong, reasons = compare(generation)
    wrong += certificates.differences(certificates.look())
    if DEPLOY_ORDERS.get("restart"):
        for service in generation["fingerprints"]:
            reasons.setdefault(service, restart_reasons.AS_REQUESTED)
    return wrong, reasons


def unchanged(generation: Generation) -> DeployAnswer:
    return {
        "changed": False,
        "restarted": {},
        "generation": generation["id"],
    }


class Deploy(two_phase.Work):
    """Make this host hold `generation`.

    It is validated with the release in the folder `code`, which is the current one by default.
    """

    def __init__(self, generation: Generation, code: Path | None = None) -> None:
        self.generation = generation
        self.code = str(code or places.current_folder())
        self.probes: Probes = {**ORDERS.get("probes", {})}
        self.wrong: list[str] = []
        self.reasons: dict[str, str] = {}
        self.pair = certificates.NewPair()

    @property
    def is_reload(self) -> bool:
        """Whether nothing but the certificate is another one."""
        return self.wrong == [certificates.CERTIFICATE] and not self.reasons

    def stage(self) -> None:
        self.pair.stage()
        try:
            self.stage_with_pair()
        except (Failed, OSError):
            self.pair.discard()
            raise

    def stage_with_pair(self) -> None:
        """Stage and validate what is to be switched with the pair."""
        if self.is_reload:
            self.pair.check()
            return
        refused = self.probes.get("refused", ())
        self.probes["refused"] = [*refused, *removed_origins(self.probes)]
        step("stage", f"writes generation {self.generation['id']}")
        self.say_what_ends()
        staged = stage(self.generation)
        check_ports(self.generation)
        certificates.refuse_missing(staged)
        validate(self.generation, staged, self.code, self.pair.bound)

    def links(self) -> dict[str, str | None]:
        """What the journal has to put back next to the generation."""
        return self.pair.links()

    def say_what_ends(self) -> None:
        """Of pages that are open, on the host that refuses them. Who rolls back knows it."""
        if ORDERS["verb"] != "deploy" or not places.is_backend():
            return
        text = note_on_open_pages(self.generation)
        if text:
            note("stage", text)

    def switch(self) -> None:
        if self.is_reload:
            current = str(self.generation["id"])
            journal.begin("configuration", current, current, self.links(), {})
        else:
            write_journal(self.generation, self.links())
        self.switch_to()

    def switch_to(self) -> None:
        """Make it current and let it run; the journal must be written."""
        if not self.is_reload:
            switch(self.generation)
        self.pair.switch()
        if not self.is_reload:
            restart(self.generation, {**self.reasons, **stale(self.generation)})
        store.follow()
        probe(self.probes)

    def keep(self) -> None:
        if self.is_reload:
            return
        note_activation(places.GENERATIONS, str(self.generation["id"]))

    def undo(self, problem: Exception) -> None:
        undo(problem)


def deploy(generation: Generation) -> DeployAnswer:
    """The whole deploy; the lock must be held."""
    finished = recover()
    refuse_another()
    work = Deploy(generation)
    work.wrong, work.reasons = work_for(generation)
    if not work.wrong and not work.reasons:
        return {**unchanged(generation), "changed": finished}
    two_phase.run(work)
    prune()
    return {
        "changed": True,
        "restarted": work.reasons,
        "generation": generation["id"],
        "differs": work.wrong,
        "certificate": certificates.CERTIFICATE in work.wrong,
    }


def wanted() -> Generation:
    """The generation to make current.

    For a deploy it came with the orders; for a rollback it is still on this host.
    """
    if ORDERS["verb"] == "deploy":
        return given(make_key=True)
    to = ROLLBACK_ORDERS["to"]
    if to not in kept():
        here = ", ".join(kept()) or "none"
        raise Failed(f"generation {to} is not here; generations here: {here}")
    generation = stored(to)
    ORDERS["probes"] = generation["probes"]
    return generation


def main() -> int:
    """Do the unit's part of a change, or hand the change over to a unit.

    Where there is nothing to change, that is reported at once.
    """
    return ended(do if "job" in ORDERS else asked, still_serves)


def asked() -> int:
    """The part of the process that the operator has started."""
    send_heartbeats()
    return 0 if nothing_to_do() else handover.hand_over()


def nothing_to_do() -> bool:
    """Whether there is nothing to change; then the result is reported here.

    Waits for another change on this host first.
    """
    with lock_after_others():
        generation = wanted()
        name_checks.check(generation, places.app())
        logins.settle()
        if journal.exists() or restoring.is_open():
            return False
        refuse_another()
        if any(work_for(generation)):
            return False
        finish(unchanged(generation), "unchanged")
        return True


def lock_after_others() -> TextIO:
    """The lock. While another change has it, its events are shown."""
    lock = try_lock()
    while lock is None:
        job = handover.running()
        if job is None:
            # Another process only checks whether there is anything to do: that is short.
            return take_lock()
        handover.wait_along(job)
        lock = try_lock()
    return lock


def do() -> int:
    """The unit's part."""
    generation = wanted()
    try:
        # `wanted` is read again with the lock: another deploy may have finished meanwhile.
        result = under_the_lock(lambda: deploy(wanted()))
    except (Failed, OSError) as problem:
        audit.write(f"{kind_of(problem)}: {problem}", generation["id"], "configuration")
        raise
    finish(result, _outcome(result))
    return 0


def _outcome(result: DeployAnswer) -> str:
    """What the history says of a deploy that went well."""
    if not result["changed"]:
        return "unchanged"
    if result.get("differs") == [certificates.CERTIFICATE] and not result["restarted"]:
        return "replaced the certificate"
    return "deployed"


def finish(result: DeployAnswer, word: str) -> None:
    end_step()
    moves.forget_former(places.app())
    audit.write(word, result["generation"], "configuration")
    report({**result, "made_from": release_made_from()})
