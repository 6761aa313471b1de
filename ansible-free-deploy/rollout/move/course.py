"""Move an environment to other origins without refusing a page that is open, or go back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from infra.core import exits
from infra.core.contract import Contract
from infra.core.errors import KitError
from infra.core.settings import Settings
from infra.core.wanted import NAMES
from on_host import protocol
from on_host.answers import DeployAnswer
from rollout import (
    check,
    config_rollback,
    deploy,
    deploy_report,
    engines,
    infrastructure,
    outputs,
    ready,
    report,
    whose,
)
from rollout.acme import certify
from rollout.changes import Allowed, Change
from rollout.config_rollback import Goals
from rollout.deploy import Outcome
from rollout.move import outside
from rollout.move.stages import Looks, Move, Stage, current_origins, held, move_of
from rollout.move.words import former_of
from rollout.outputs import Outputs

QUIET_S = 30  # without a call of a page at a former origin before such pages are refused
LONGEST_S = 120  # that is waited for that
AGAIN = "run `fab move` again"
_RECORDS = ("aws:route53/record:Record", "gcp:dns/recordSet:RecordSet")
_INFRASTRUCTURE = (*NAMES, "production")  # keys that a move may need other infrastructure for


class MoveError(KitError):
    """The move did not come to its end; the text says what is answered now, and the next step."""


@dataclass(frozen=True)
class Wishes:
    """How to move: stop when both are answered (`stay`), or don't wait for open pages (`finish`);
    seconds to wait for another change on a host, and for which no page may have called."""

    stay: bool = False
    finish: bool = False
    wait_s: int = deploy.WAIT_S
    quiet_s: int = QUIET_S


def wishes(
    *,
    stay: bool,
    finish: bool,
    undo: bool,
    quiet: str | None,
    wait: str | None,
) -> Wishes:
    """The options of the command line. Raises UsageError."""
    options = {
        "--stay": stay,
        "--finish": finish,
        "--undo": undo,
    }
    chosen = [option for option, is_given in options.items() if is_given]
    if len(chosen) > 1:
        raise deploy.UsageError(f"{' and '.join(chosen)}: choose one")
    quiet_s = deploy.seconds(quiet, "--quiet") if quiet else QUIET_S
    return Wishes(
        stay=stay,
        finish=finish,
        wait_s=deploy.seconds(wait),
        quiet_s=quiet_s,
    )


def move(
    settings: Settings,
    engine: str | None,
    allowed: Allowed,
    wishes: Wishes,
) -> str:
    """Move to the origins that the config asks for, from wherever the hosts are; what there is now,
    for a person.

    Raises MoveError where that stops on the way, ChangeError where a deploy failed.
    """
    found = _with_infrastructure(settings, engine, allowed)
    looks = _look(found)
    way = _way(found, looks)
    stage = way.stage
    is_unfinished = any(look.result["unfinished"] for look in looks)
    if stage is Stage.DONE and not is_unfinished:
        return f"nothing to move: {_both_of(found.contract)} are what the hosts answer at"
    if is_unfinished and stage is not Stage.BEFORE:
        report.step("move", "finishes what was interrupted")
        outcomes = _deploy(found, way.contract_of(stage), wishes)
        if stage is Stage.DONE:
            return _ended(way, outcomes)
    if stage < Stage.BOTH:
        _refuse_early(way)
        report.step("move", f"answers at {_both_of(way.wanted)} and, as before, at {_former(way)}")
        _deploy(found, way.both, wishes)
    if stage < Stage.SWITCHED:
        _check(way)
        report.step("move", f"leads who opens the page to {way.wanted.frontend.origin}")
        _deploy(found, way.switched, wishes)
    if wishes.stay:
        return (
            f"{_both_of(way.wanted)} are answered, and so are {_former(way)}; who opens the page is"
            f" led to the new one. To end that, {AGAIN}"
        )
    if not wishes.finish:
        since = time.monotonic() if stage < Stage.SWITCHED else None
        _wait_for_quiet(found, way, wishes.quiet_s, since)
    report.step("move", f"leaves {_both_of(way.wanted)} alone")
    outcomes = _deploy(found, way.wanted, wishes)
    return _ended(way, outcomes)


def undo(stack: str, wishes: Wishes) -> str:
    """Go back to what all hosts held before the move that is under way; what there is now. Raises
    MoveError where none is."""
    found = outputs.load_to_change(stack, strict=False)
    looks = _look(found)
    goals = goals_before(looks)
    report.step("move", "goes back to the configuration before the move")
    outcomes = deploy.run_on_all_hosts(
        found,
        protocol.ROLLBACK,
        again=dict.fromkeys(goals, "`fab move --undo`"),
        to=goals,
        wait_s=wishes.wait_s,
    )
    table = deploy_report.summary(_before(found.contract, looks, goals), outcomes)
    back = f"the hosts answer as before the move; the config still asks for it: {AGAIN}"
    return f"{table}\n{back}, or set the change in stacks/Pulumi.{stack}.yaml back"


def _before(contract: Contract, looks: Looks, goals: Goals) -> Contract:
    """The contract with the origins that these generations answer at."""
    for look in looks:
        origins = look.result["origins"][str(goals[look.host.name])]
        if origins:
            page = origins["frontend"]["origin"]
            api = origins["backend"]["origin"]
            return replace(
                contract,
                frontend=replace(contract.frontend, origin=page),
                backend=replace(contract.backend, origin=api),
            )
    return contract


def goals_before(looks: Looks) -> Goals:
    """The generation of each host before the move that is under way: the last one that all of them
    held while no former origin was answered. Raises MoveError."""
    if not any(former_of(current_origins(look.result)) for look in looks):
        raise MoveError(
            "no move is under way, so there is none to undo",
            cure="to go back to the configuration before: `fab rollback`",
            exit_status=exits.USAGE,
        )
    for deploy_id in config_rollback.deploy_ids(looks):
        goals = config_rollback.held_after(deploy_id, looks)
        if config_rollback.is_kept(goals, looks) and _is_before(goals, looks):
            return goals
    raise MoveError(
        "the hosts don't keep the configuration from before the move any more",
        cure=(
            "set the origins in the stack's config back and run `fab move`: it goes there the same"
            " way"
        ),
    )


def _is_before(goals: Goals, looks: Looks) -> bool:
    """Whether these generations answer at no former origin, and are known to."""
    for look in looks:
        origins = look.result["origins"].get(str(goals[look.host.name]))
        if origins is None or former_of(origins):
            return False
    return True


# ------------------------------------------------------------------------------------ what it takes


def _with_infrastructure(
    settings: Settings,
    engine: str | None,
    allowed: Allowed,
) -> Outputs:
    """The outputs, once there is what the wanted names need."""
    found = outputs.load_to_change(settings.stack)
    if not found.pending:
        return found
    others = [f"  {change}" for change in found.pending if change.key not in _INFRASTRUCTURE]
    if others:
        lines = "\n".join(others)
        raise MoveError(
            f"stacks/Pulumi.{settings.stack}.yaml asks for other infrastructure as well: set these"
            f" back until the move is over\n{lines}",
            exit_status=exits.USAGE,
        )
    whose.refuse_other(settings, {})

    def refuse(changes: Sequence[Change]) -> None:
        refuse_lost_names(settings.stack, changes)
        infrastructure.permit(settings.stack, changes, allowed)

    infrastructure.run_up(settings, engines.choose(settings, engine), refuse)
    made = outputs.ready(outputs.load(settings.stack))
    ready.wait(made.contract)
    return made


def refuse_lost_names(stack: str, changes: Sequence[Change]) -> None:
    """Raise MoveError where DNS records would go that pages in use were opened by."""
    names = []
    commands = []
    for change in changes:
        if change.type in _RECORDS and change.verb != "create":
            names.append(change.name)
            commands.append(f"`pulumi state delete --stack {stack} '{change.urn}'`")
    if not names:
        return
    raise MoveError(
        f"the DNS records {', '.join(names)} would be changed at once,"
        " and the names that they have now would lead nowhere while pages use them; nothing was"
        " changed",
        cure=(
            f"take them out of the stack's state ({', '.join(commands)}), so that they stay, and"
            " run `fab move` again; delete them in the zone when the move is over"
        ),
    )


def _look(found: Outputs) -> Looks:
    return deploy.run_on_all_hosts(found, protocol.MOVING)


def _way(found: Outputs, looks: Looks) -> Move:
    way = move_of(found.contract, held(looks))
    if way is None:
        raise MoveError(
            "a host does not say at which origins it answers: it holds no configuration yet, or"
            " that of another program",
            cure="run `fab deploy` with the origins that are in use, then change them and move",
        )
    if way.leaves_https and way.stage is not Stage.DONE:
        raise MoveError(
            f"no move leads from https to http ({_former(way)} → {_both_of(way.wanted)}): without"
            " `tls` both can't be answered",
            cure="`fab move --undo` goes back where a move is under way; else run `fab deploy`",
            exit_status=exits.USAGE,
        )
    return way


def _deploy(
    found: Outputs,
    contract: Contract,
    wishes: Wishes,
) -> list[Outcome[DeployAnswer]]:
    stage = replace(found, contract=contract)
    certify.before_deploy(stage, wait_s=wishes.wait_s)
    return deploy.run_on_all_hosts(stage, protocol.DEPLOY, wait_s=wishes.wait_s)


def _refuse_early(way: Move) -> None:
    """A CA asks the hosts by their new names before it issues a certificate for them."""
    if way.wanted.tls != "acme":
        return
    elsewhere = outside.lead_elsewhere(way.wanted)
    if elsewhere:
        raise MoveError(
            f"{'; '.join(elsewhere)}, so that no CA issues a certificate for it; nothing was"
            " changed",
            cure=f"when the name leads to the hosts, {AGAIN}",
        )


def _check(way: Move) -> None:
    """Ask for the page and the API at the new origins, from here. Raises MoveError."""
    report.step("check", f"asks for {_both_of(way.wanted)} from here")
    elsewhere = outside.lead_elsewhere(way.wanted)
    if elsewhere:
        raise MoveError(
            f"both are answered, and the page has not switched: {'; '.join(elsewhere)}",
            cure=f"when the name leads to the hosts, {AGAIN}; {_back(way)}",
        )
    try:
        check.from_here(way.both)
    except check.CheckError as problem:
        raise MoveError(
            f"both are answered, and the page has not switched: {problem}",
            cure=f"then {AGAIN}; {_back(way)}",
        ) from None


def _wait_for_quiet(
    found: Outputs,
    way: Move,
    quiet_s: int,
    since: float | None,
) -> None:
    """Return when no page at a former origin has called the API for `quiet_s`; `since` is when the
    page switched, if that was now. Raises MoveError after LONGEST_S."""
    report.step("move", f"waits until no page at {_former(way)} has called for {quiet_s} s")

    def called_s() -> float | None:
        looks = deploy.run_on_all_hosts(found, protocol.MOVING, only="backend")
        calls = [look.result["former_called_s"] for look in looks]
        return min((one for one in calls if one is not None), default=None)

    last = wait_until_quiet(called_s, quiet_s, since)
    if last is not None:
        raise MoveError(
            f"pages that are open at {_former(way)} still call the API (the last one {last:.0f} s"
            " ago); both go on being answered",
            cure=f"{AGAIN} later, or `fab move --finish`, which refuses these pages",
        )


@dataclass(frozen=True)
class Clock:
    """Time, so that tests need none."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


def wait_until_quiet(
    called_s: Callable[[], float | None],
    quiet_s: float,
    since: float | None,
    clock: Clock | None = None,
) -> float | None:
    """None when the last call is `quiet_s` ago; else, after LONGEST_S, how long ago it is.

    What was not called since `since` (None: for long) counts from then on.
    """
    clock = clock or Clock()
    end = clock.now() + max(LONGEST_S, quiet_s)
    while True:
        last = called_s()
        watched = [] if since is None else [clock.now() - since]
        quiet = min([*watched, *([] if last is None else [last])], default=quiet_s)
        if quiet >= quiet_s:
            return None
        if clock.now() >= end:
            return quiet
        clock.sleep(min(quiet_s - quiet, end - clock.now()))


# -------------------------------------------------------------------------------------------- words


def _both_of(contract: Contract) -> str:
    return f"{contract.frontend.origin} and {contract.backend.origin}"


def _former(way: Move) -> str:
    return ", ".join(way.former)


def _back(way: Move) -> str:
    return "`fab move --undo` goes back"


def _ended(way: Move, outcomes: list[Outcome[DeployAnswer]]) -> str:
    table = deploy_report.summary(way.wanted, outcomes)
    text = f"moved to {_both_of(way.wanted)}"
    if way.former:
        text = f"{text}; no longer answered: {_former(way)}"
    return f"{table}\n{text}"
