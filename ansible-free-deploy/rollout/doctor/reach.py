"""Whether a role's public address takes connections, whether browsers accept its TLS, and whether
what is asked there arrives at its hosts: one request with a text that only this run knows."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from rollout.doctor import ask, handshake
from rollout.doctor.ask import Unanswered
from rollout.doctor.handshake import Handshake, NoConnection
from rollout.tls import Place


@dataclass(frozen=True)
class Reach:
    """What became of one request to a role's public `address`.

    `problem` is why there was no connection, or empty; `answered` whether an answer came;
    `handshake` what became of the TLS handshake, None for plain http.
    """

    address: str
    problem: str = ""
    answered: bool = False
    handshake: Handshake | None = None

    @property
    def obstacle(self) -> str:
        """Why a browser can ask nothing there; empty where it can."""
        if self.handshake and self.handshake.problem:
            return f"the TLS handshake fails: {self.handshake.problem}"
        return self.problem


def mark() -> str:
    """A text for a request that no other run has: a host that gets the request has it in its
    log."""
    return f"origin-kit-doctor-{secrets.token_hex(8)}"


def of(place: Place, target: str) -> Reach:
    """Ask for `target`, which holds the mark and which nginx answers without the application."""
    origin = place.origin
    address = place.address
    shaken = None
    if origin.scheme == "https":
        try:
            shaken = handshake.of(origin, address, ask.CONNECT_S)
        except NoConnection as problem:
            return Reach(address, str(problem))
        if shaken.problem:
            return Reach(address, handshake=shaken)
    headers = (("Host", origin.authority),)
    answer = ask.exchange(place, "GET", target, headers)
    if not isinstance(answer, Unanswered):
        return Reach(address, answered=True, handshake=shaken)
    return Reach(address, "" if answer.connected else answer.problem, handshake=shaken)
