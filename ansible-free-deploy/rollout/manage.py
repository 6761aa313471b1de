"""`fab manage`: one of the project's management commands on the first backend, as the service
runs."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from fabric.runners import Remote

from infra.core import exits
from infra.core.contract import Contract, Host
from infra.core.errors import KitError
from rollout import access, host_errors, hosts, report
from rollout.host_errors import HostError
from rollout.hosts import Identity
from rollout.render import places

_NOT_DEPLOYED = 69  # EX_UNAVAILABLE of sysexits.h: no status of manage.py's own


class NoBackendError(KitError):
    """A preview whose page calls another environment's backend has no manage.py to run."""

    exit_status = exits.USAGE


def run(contract: Contract, words: list[str]) -> int:
    """Run `manage.py WORDS` there and return its exit status.

    With a terminal on both ends it is interactive. Otherwise standard input, output and errors are
    handed through, and the command is stopped when this ends. Raises HostError where the host can't
    be asked or holds no configuration, NoBackendError for a preview without a backend of its own.
    """
    if not contract.backend.hosts:
        raise NoBackendError(
            f"{contract.environment} has no backend of its own: it is attached to"
            f" {contract.attached_to}",
            cure=f"run `fab manage --stack {contract.attached_to} -- {' '.join(words)}`",
        )
    host = contract.backend.hosts[0]
    identity = access.identity(contract)
    status = _run(host, identity, words)
    if status == _NOT_DEPLOYED:
        raise HostError(
            host, "its configuration has no `fab manage` yet; run `fab deploy`, then this again"
        )
    return status


def _run(host: Host, identity: Identity, words: list[str]) -> int:
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    with hosts.session(host, identity) as session:
        try:
            done = Stoppable(session.connection).run(
                command(words),
                pty=interactive,
                warn=True,
                encoding="utf-8",
                out_stream=sys.stdout if interactive else Printable(sys.stdout),
                err_stream=sys.stderr if interactive else Printable(sys.stderr),
            )
        except host_errors.CUT as problem:
            raise HostError(
                host, "the connection was lost, which ends the command; see `fab logs`"
            ) from problem
        return int(done.exited)


def command(words: list[str]) -> str:
    """What the host's shell gets."""
    here = f"[ -e {places.MANAGE} ] || exit {_NOT_DEPLOYED}; exec sudo -n {places.MANAGE}"
    return " ".join([here, *map(shlex.quote, words)])


class Stoppable(Remote):  # type: ignore[misc]  # fabric ships no types
    """Fabric's, except that without a terminal ^C closes the channel, which the host takes for the
    end."""

    def send_interrupt(self, interrupt: BaseException) -> None:
        if not self.using_pty:
            self.channel.close()
        super().send_interrupt(interrupt)


class Printable:
    """A stream that leaves out what would steer a terminal, if it is one; anything else gets what
    was said as it is."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        """As the stream's own."""
        self.stream.write(report.harmless(text) if self.stream.isatty() else text)

    def flush(self) -> None:
        """As the stream's own."""
        self.stream.flush()
