"""The machines of a slot: emptied and kept when its branch leaves, looked at again when the next
one comes, and destroyed where they can't be emptied.

    1. every host is emptied (`on_host/emptying.py`)
    2. the stack says that the slot is vacant: only then may another branch take it
    3. whoever takes it has every host emptied once more, whatever was put there meanwhile
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from infra.core.contract import Contract, Host
from infra.core.errors import KitError
from infra.core.previews import slot_of
from infra.core.settings import Settings
from on_host import protocol
from on_host.answers import DoneAnswer
from on_host.protocol import Orders
from rollout import access, change, deploy, hosts, infrastructure, report
from rollout.change import ChangeError, Turn
from rollout.changes import Allowed
from rollout.previews import making, template
from rollout.previews.lifetime import stamp
from rollout.previews.living import Known
from rollout.previews.making import Template

DISPOSABLE = Allowed(disposable=True)


def stays(found: Known, read: Template) -> bool:
    """Whether the machines stay when the branch leaves: of a slot that the template has, and that
    was made whole."""
    return found.is_made and not found.is_vacant and 1 <= slot_of(found.stack) <= read.slots


def vacate(
    found: Known,
    read: Template,
    engine: str | None,
    take_over: bool,
    wait_s: float,
) -> bool:
    """Empty the slot's hosts, then note in its stack that it is vacant. Where either fails it is
    not kept, and a line says why: False."""
    try:
        contract = _contract(found)
        report.step("preview", f"empties {found.stack}, which stays for the next branch")
        empty(contract, wait_s)
        values = _vacant(found, contract, read)
        settings = read.settings(found.stack, values)
        read.write(found.stack, values)
        infrastructure.up(settings, engine, take_over, DISPOSABLE)
    except KitError as problem:
        _say(found, problem)
        return False
    return True


def taken(
    found: Known,
    read: Template,
    engine: str | None,
    wait_s: float,
) -> None:
    """Have a branch that comes to a vacant slot find hosts that are empty, or no stack any more
    where they could not be emptied. Any other preview stays as it is."""
    if not found.entry or not found.entry.is_vacant:
        return
    try:
        report.step("preview", f"takes {found.stack}, which is vacant")
        empty(_contract(found), wait_s)
    except KitError as problem:
        _say(found, problem)
        destroy(removed_as(found, read, ""), engine, take_over=True)


def empty(contract: Contract, wait_s: float) -> None:
    """Have every host emptied, side by side. Raises ChangeError where one is not."""
    identity = access.identity(contract)

    def run(role: str, host: Host, turn: Turn) -> DoneAnswer:
        orders: Orders = {**deploy.orders(contract, role), "wait_s": int(wait_s)}
        with hosts.session(host, identity) as session:
            return turn.run(session, protocol.EMPTY, orders)

    _, failures = change.split(change.carry_out(contract, contract.hosts, run, changes=False))
    if failures:
        raise ChangeError(failures)


def destroy(settings: Settings, engine: str | None, take_over: bool) -> bool:
    """Remove the resources of a preview, then its stack; whether there were any."""
    return infrastructure.down(settings, engine, take_over, yes=True)


def removed_as(found: Known, read: Template, branch: str) -> Settings:
    """What removing a preview needs: the cloud and the name. The config is written again where this
    checkout has none: the CLI finds there how secrets are read."""
    noted = found.entry.noted if found.entry else {}
    values = {
        "branch": found.branch or branch or last_branch(found),
        "preview_commit": noted.get("commit") or "",
    }
    if not template.has(found.stack):
        read.write(found.stack, values)
    return Settings.of(
        found.stack,
        cloud=read.cloud,
        application=read.config.get("application", ""),
        wsgi="",
        settings="",
        frontend_path="",
        branch=values["branch"],
    )


def last_branch(found: Known) -> str:
    """The branch that a vacant slot had; empty where nothing says it."""
    contract = found.entry.contract if found.entry else None
    return (contract.branch or "") if contract else ""


def _contract(found: Known) -> Contract:
    """What its stack holds, which `stays` has looked for. Raises KitError for a damaged one."""
    contract = found.entry.contract if found.entry else None
    if contract is None:
        raise KitError(f"the state of {found.stack} does not say which hosts it has")
    return contract


def _vacant(found: Known, contract: Contract, read: Template) -> dict[str, Any]:
    """The keys of a slot that no branch has: the contract keeps the name of the last one."""
    values: dict[str, Any] = {
        "branch": contract.branch,
        "preview_updated": stamp(datetime.now(UTC)),
        "preview_vacant": True,
    }
    if read.attaches_to:
        values["attached_backend"] = contract.backend.origin
    return values | making.serials(found, read.settings(found.stack, values))


def _say(found: Known, problem: KitError) -> None:
    """Why a slot is not kept."""
    report.step("preview", f"{found.stack} can't be kept, and is destroyed instead: {problem}")
