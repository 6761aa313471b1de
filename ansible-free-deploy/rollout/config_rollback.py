"""Go back to the configuration before: which generation that is on each host, and the rollback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from infra.core import exits
from infra.core.errors import KitError
from on_host import protocol
from on_host.answers import AuditLine, DeployAnswer, Generations, HistoryAnswer
from rollout import deploy
from rollout.deploy import Outcome
from rollout.outputs import Outputs

NOTHING_BEFORE = "there is no configuration before this one on these hosts; `fab deploy` makes one"
ONLY_SECRETS = (
    "the last deploy changed nothing but secrets, and a rollback brings back no secret: set the"
    " value that you want and run `fab deploy`, or name a generation of `fab history`: `fab"
    " rollback --to ID`"
)
_SUCCESSES = ("deployed", "unchanged")  # results of a deploy after which its generation served

Goals = dict[str, str | None]  # a generation for each host, by the host's name


class RollbackError(KitError):
    """There is nothing to go back to; the text says what there is."""

    exit_status = exits.USAGE


def rollback(
    outputs: Outputs,
    to: str | None,
    wait_s: int,
    batch: int = 1,
) -> list[Outcome[DeployAnswer]]:
    """Every host goes back to what it held at the deploy before the last one that changed anything,
    or to `to`.

    Raises RollbackError where there is no such deploy, ChangeError where a host failed.
    """
    looks = deploy.run_on_all_hosts(outputs, protocol.HISTORY)
    goals = _goals_of_one_generation(looks, to) if to else before(looks)
    again = {name: f"`fab rollback --to {goal}`" for name, goal in goals.items()}
    return deploy.run_on_all_hosts(
        outputs,
        protocol.ROLLBACK,
        batch=batch,
        again=again,
        to=goals,
        wait_s=wait_s,
    )


def _goals_of_one_generation(looks: Sequence[Outcome[HistoryAnswer]], to: str) -> Goals:
    """Generation `to` on every host that keeps it; the others stay at theirs. Raises RollbackError
    where no host keeps it."""
    goals: Goals = {}
    is_anywhere = False
    for look in looks:
        goals[look.host.name] = look.result["current"]
        if to in look.result["kept"]:
            goals[look.host.name] = to
            is_anywhere = True
    if is_anywhere:
        return goals
    kept = set[str]()
    for look in looks:
        kept.update(look.result["kept"])
    choice = ", ".join(sorted(kept)) or "none"
    raise RollbackError(f"generation {to} is on no host; there is {choice}")


def before(looks: Sequence[Outcome[HistoryAnswer]]) -> Goals:
    """What each host held before the last change, from all histories. Raises RollbackError where
    there is none."""
    now: Goals = {look.host.name: look.result["current"] for look in looks}
    for deploy_id in deploy_ids(looks):
        then = held_after(deploy_id, looks)
        if then == now or not is_kept(then, looks):
            continue
        if _after_rollback(then, looks) == now:
            raise RollbackError(ONLY_SECRETS)
        return then
    raise RollbackError(NOTHING_BEFORE)


def _successful(look: Outcome[Generations]) -> Iterator[AuditLine]:
    for line in look.result["deploys"]:
        if line["result"] in _SUCCESSES:
            yield line


def deploy_ids(looks: Sequence[Outcome[Generations]]) -> list[str | None]:
    """The deploys of all hosts, each once, in the order of the histories."""
    ids: list[str | None] = []
    for look in looks:
        for line in _successful(look):
            if line["deploy"] not in ids:
                ids.append(line["deploy"])
    return ids


def held_after(deploy_id: str | None, looks: Sequence[Outcome[Generations]]) -> Goals:
    """What each host held after a deploy; today's, where the host took no part in it."""
    held: Goals = {}
    for look in looks:
        held[look.host.name] = look.result["current"]
        for line in _successful(look):
            if line["deploy"] == deploy_id:
                held[look.host.name] = line["generation"]
    return held


def is_kept(goals: Mapping[str, str | None], looks: Sequence[Outcome[Generations]]) -> bool:
    """Whether every host still has the generation that it would go to."""
    return all(goals[look.host.name] in look.result["kept"] for look in looks)


def _after_rollback(
    goals: Mapping[str, str | None], looks: Sequence[Outcome[HistoryAnswer]]
) -> Goals:
    return {look.host.name: leads_to(goals[look.host.name], look) for look in looks}


def leads_to(name: str | None, look: Outcome[HistoryAnswer]) -> str:
    """What a rollback to a generation makes current: it takes today's secrets, so perhaps another
    one."""
    return str(look.result.get("leads_to", {}).get(str(name), str(name)))
