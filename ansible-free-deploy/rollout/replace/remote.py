"""What `fab replace` does on the old and on the new host, one connection each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from infra.core.contract import Contract, Host
from on_host import protocol
from on_host.protocol import ReplacementDetails, ReplacementOrders, Verb
from rollout import access, deploy, hosts, report, secret_values
from rollout.host_errors import HostError
from rollout.outputs import Outputs
from rollout.render import closed

A = TypeVar("A")  # the type of a verb's answer


class Remote:
    """The actions of `data_copy` on one host."""

    def __init__(
        self,
        contract: Contract,
        host: Host,
        replacement: str,
    ) -> None:
        self.contract, self.host, self.replacement = contract, host, replacement

    def act(
        self,
        verb: Verb[ReplacementOrders, A],
        *,
        blob: Path | None = None,
        take: Callable[[bytes], None] = lambda data: None,
        orders: ReplacementDetails | None = None,
    ) -> A:
        """One action's result; what it copies off is given to `take`. Raises HostError."""
        given: ReplacementOrders = {
            "app": self.contract.application.name,
            "who": deploy.who(),
            "wait_s": deploy.WAIT_S,
            "replacement": self.replacement,
            "name": self.host.name,
        }
        sent = cast("ReplacementOrders", {**given, **(orders or {})})
        with hosts.session(self.host, access.identity(self.contract)) as session:
            try:
                return session.ask(
                    verb,
                    sent,
                    blob=blob,
                    on_event=report.following(self.host.name, take),
                )
            except OSError as problem:  # of the copy, on this side
                raise HostError(
                    self.host, f"the copy can't be written here: {problem.strerror}"
                ) from problem


def take_no_writes(
    outputs: Outputs,
    host: Host,
    replacement: str,
) -> None:
    """Put the configuration there that answers 503 and starts no application. Raises
    ChangeError."""
    generation = closed(outputs.contract, host, secret_values.read(outputs))
    deploy.run_on_all_hosts(
        outputs,
        protocol.DEPLOY,
        only=host.name,
        replacement=replacement,
        generation=generation.to_json(),
        probes={"wildcard": True},  # no origin gets another answer than 503
        units=["nginx.service"],
    )


def closed_id(outputs: Outputs, host: Host) -> str:
    """The id of that configuration, without what a host's secrets add to it."""
    return closed(outputs.contract, host, secret_values.read(outputs)).id
