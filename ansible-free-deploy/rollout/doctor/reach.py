"""Whether a role's public address takes connections, and whether what is asked there arrives at its
hosts: one request with a text that only this run knows."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from infra.core.origins import Origin
from rollout.doctor import ask
from rollout.doctor.ask import Unanswered


@dataclass(frozen=True)
class Reach:
    """What became of one request to a role's public `address`.

    `problem` is why there was no connection, or empty; `answered` whether an answer came.
    """

    address: str
    problem: str = ""
    answered: bool = False


def mark() -> str:
    """A text for a request that no other run has: a host that gets the request has it in its
    log."""
    return f"origin-kit-doctor-{secrets.token_hex(8)}"


def of(origin: Origin, address: str, target: str) -> Reach:
    """Ask for `target`, which holds the mark and which nginx answers without the application."""
    headers = (("Host", origin.authority),)
    answer = ask.exchange(address, origin.port_number, "GET", target, headers)
    if not isinstance(answer, Unanswered):
        return Reach(address, answered=True)
    return Reach(address, "" if answer.connected else answer.problem)
