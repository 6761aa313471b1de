"""What the backend hosts of an environment run: the contract, the generation, the names of secrets.

Neither the environment's config nor its secrets are read: where the hosts are comes from its
recorded outputs, all else from the hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from infra.core.contract import Contract, ContractError, Host
from infra.core.errors import KitError
from on_host import protocol
from on_host.answers import RunningAnswer
from on_host.protocol import Given, Orders, RollbackOrders, Verb
from rollout import access, change, deploy, hosts, report
from rollout.change import ChangeError
from rollout.host_errors import HostError
from rollout.previews.permitted import DeniedError
from rollout.previews.recorded import hosts_of

BACKEND = "backend"
A = TypeVar("A")


class AttachError(KitError):
    """The environment's list of attached previews can't be changed now; the text says why and the
    next step. Nothing was changed."""


@dataclass(frozen=True)
class Running:
    """What the backend hosts of an environment run, by the host's name where it differs: the
    contract with the hosts that there are, generations, and the names of secrets."""

    contract: Contract
    generations: Mapping[str, str]
    secrets: Mapping[str, tuple[str, ...]]

    @property
    def attached(self) -> Mapping[str, str]:
        """The origin of each preview that they answer, by its stack's name."""
        return self.contract.attached


def running_of(environment: str, *, wait_s: int = deploy.WAIT_S) -> Running:
    """What the environment's backend hosts run. A change that is under way there is waited for; one
    that was interrupted is finished or undone.

    Raises AttachError for what nothing can be attached to now, ChangeError where a host can't be
    asked, OutputsError as `hosts_of` does.
    """
    recorded = hosts_of(environment)
    answers = _ask(recorded)
    unfinished = [name for name, answer in answers.items() if answer["unfinished"]]
    if unfinished:
        report.step(environment, f"waits for a change of {', '.join(unfinished)}, or finishes it")
        _finish(recorded, answers, wait_s)
        answers = _ask(recorded)
    return _running(recorded, answers)


def _ask(recorded: Contract) -> dict[str, RunningAnswer]:
    """Each backend host's answer, by its name."""

    def orders(role: str, host: Host) -> Orders:
        return deploy.orders(recorded, role)

    outcomes = on_backends(recorded, protocol.RUNNING, orders, changes=False)
    answers, failures = change.split(outcomes)
    if failures:
        raise ChangeError(failures)
    return dict(answers)


def _running(recorded: Contract, answers: Mapping[str, RunningAnswer]) -> Running:
    """One contract from what all hosts say. Raises AttachError."""
    environment = recorded.environment
    generations: dict[str, str] = {}
    contracts: list[Contract] = []
    for name, answer in answers.items():
        generation, data = answer["generation"], answer["contract"]
        if generation is None or answer["release"] is None:
            raise AttachError(
                f"{environment} has no configuration or no release on {name} yet",
                cure=f"run `fab up --stack {environment}` from its own checkout",
            )
        if data is None:
            raise AttachError(_another_kit(environment, f"{name} does not say what it runs"))
        generations[name] = generation
        contracts.append(_contract(recorded, name, data))
    if any(contract != contracts[0] for contract in contracts):
        raise AttachError(
            f"the backend hosts of {environment} hold different configurations",
            cure=f"run `fab deploy --stack {environment}` from its own checkout",
        )
    secrets = {name: tuple(answer["secrets"]) for name, answer in answers.items()}
    _refuse_unfit(contracts[0])
    return Running(contracts[0], generations, secrets)


def _contract(recorded: Contract, name: str, data: Mapping[str, object]) -> Contract:
    """The contract that a host runs, with the hosts that there are. Raises AttachError."""
    whole = dict(data)
    for role in ("frontend", BACKEND):
        part = whole.get(role)
        there = recorded.to_json()[role]["hosts"]
        whole[role] = {**part, "hosts": there} if isinstance(part, dict) else part
    try:
        contract = Contract.from_json(whole, recorded=True)
    except ContractError as problem:
        why = f"{name} runs a contract that this kit can't read: {'; '.join(problem.problems)}"
        raise AttachError(_another_kit(recorded.environment, why)) from None
    if contract.environment != recorded.environment:
        raise AttachError(
            f"{name} runs the configuration of {contract.environment}, and not of"
            f" {recorded.environment}",
            cure=f"run `fab deploy --stack {recorded.environment}` from its own checkout",
        )
    return contract


def _another_kit(environment: str, why: str) -> str:
    return (
        f"{why}: {environment} was deployed by another version of the kit; run `fab deploy --stack"
        f" {environment}` from its own checkout with this version, or use the version that it has"
    )


def _refuse_unfit(contract: Contract) -> None:
    """Raise AttachError where the list may not be changed now."""
    name = contract.environment
    if contract.kind != "environment":
        raise DeniedError(f"{name} is a {contract.kind}, and previews attach to environments")
    if contract.frontend.former or contract.backend.former:
        raise AttachError(
            f"{name} is moving to {contract.frontend.origin}, and its list of origins is part of"
            " the move",
            cure="run this again when `fab move` has finished, or was undone",
        )


def _finish(recorded: Contract, answers: Mapping[str, RunningAnswer], wait_s: int) -> None:
    """Have each host finish or undo what an interrupted run has left, and change nothing else: it
    is asked for the generation that is current there."""
    transaction = change.new_transaction()
    goals = {name: answer["generation"] for name, answer in answers.items()}

    def orders(role: str, host: Host) -> RollbackOrders:
        goal = str(goals[host.name])
        return {
            **deploy.orders(recorded, role),
            "deploy": transaction,
            "together": len(goals) > 1,
            "wait_s": wait_s,
            "to": goal,
            "expects": goal,
        }

    _, failures = change.split(on_backends(recorded, protocol.ROLLBACK, orders, changes=True))
    if not all(map(is_overtaken, failures)):
        raise ChangeError(failures)


def on_backends(
    contract: Contract,
    verb: Verb[Given, A],
    orders_of: Callable[[str, Host], Given],
    *,
    changes: bool,
) -> Sequence[tuple[str, A] | HostError]:
    """The answer of each backend host with its name, or its failure."""
    identity = access.identity(contract)
    pairs = contract.chosen(BACKEND)

    def run(role: str, host: Host, turn: change.Turn) -> tuple[str, A]:
        with hosts.session(host, identity) as session:
            return host.name, turn.run(session, verb, orders_of(role, host))

    return change.carry_out(contract, pairs, run, changes=changes)


def is_overtaken(failure: HostError) -> bool:
    """Whether nothing was changed there because another change came first, on this host or on
    another one of the same change."""
    return failure.changed_meanwhile or failure.left_alone
