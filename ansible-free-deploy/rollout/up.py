"""The steps of `fab up`: the infrastructure, the code, the configuration, and their report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.core.contract import Contract
from infra.core.https import LOCAL_CA
from infra.core.settings import Settings
from on_host import protocol
from on_host.answers import DeployAnswer
from rollout import (
    check,
    deploy,
    deploy_report,
    infrastructure,
    outputs,
    python,
    ready,
    report,
    services,
    ship,
    verb,
    whose,
)
from rollout.acme import certify
from rollout.changes import Allowed
from rollout.deploy import Outcome
from rollout.previews import afterwards, guard
from rollout.release import Unpacked


@dataclass(frozen=True)
class Result:
    """What `fab up` has done. `shipped`: for each host whether its release was new there."""

    contract: Contract
    shipped: Sequence[bool]
    outcomes: Sequence[Outcome[DeployAnswer]]

    @property
    def changed(self) -> bool:
        """Whether any host has another release or configuration than before."""
        return any(self.shipped) or any(map(deploy.has_changed, self.outcomes))


def create(
    settings: Settings,
    engine: str | None,
    take_over: bool,
    allowed: Allowed,
    moved: Mapping[str, str],
    commit: Unpacked | None = None,
    built: Path | None = None,
) -> Result:
    """Create or change what the stack's settings ask for. `moved` is what `ship.moving` gives,
    `commit` what is shipped where that is not what is checked out, `built` a file of `fab build`
    that is shipped instead."""
    if built is None:  # the file says itself for which Python it is
        python.refuse_other(settings)
    whose.refuse_other(settings, moved)
    guard.refuse_before(settings)
    infrastructure.up(settings, engine, take_over, allowed)
    found = outputs.load(settings.stack)
    ready.wait(found.contract)
    shipped = ship.ship_to_all_hosts(
        settings,
        found,
        moved,
        commit=commit,
        built=built,
    )
    certify.before_deploy(found)
    outcomes = deploy.run_on_all_hosts(found, protocol.DEPLOY)
    settled = afterwards.settle(found)
    if settled:
        report.line(f"previews came or went meanwhile: {settled}")
    return Result(found.contract, shipped, outcomes)


def show(settings: Settings, result: Result) -> str:
    """Check the hosts from here and print what a person has to know; the last line, without the
    time. Raises CheckError."""
    contract = result.contract
    report.line("\n" + deploy_report.summary(contract, result.outcomes))
    report.line(check.where_to_look(contract, check.from_here(contract)))
    unsaved = check.unsaved(settings)
    if unsaved:
        report.line(f"\n{unsaved}")
    if contract.tls == LOCAL_CA:
        from rollout.certificates import local_ca

        report.line(f"\n{local_ca.how_to_trust()}")
    notes = services.notes(settings)
    verb.show_notes(notes)
    text = "done" if result.changed else "nothing to do: all is as it should be"
    if notes:
        text = f"{text}, but for what is noted above"
    return text
