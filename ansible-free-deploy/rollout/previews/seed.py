"""A preview's first data: a management command of the project, once in the life of its database.

Nothing is copied from another environment. The command runs as `fab manage` runs it: on the first
backend, as the application's user, within the service's limits. A mark on that host, next to its
configuration, says that it has begun, and then that it is done; the host of a preview that was
removed and made again has none, and a machine that `fab replace` makes gets it with the data.
"""

from __future__ import annotations

import shlex
import sys
from typing import Any

from infra.core import exits
from infra.core.contract import Contract
from infra.core.errors import KitError
from on_host import seed_mark
from on_host.seed_mark import BEGUN, DONE
from rollout import access, host_errors, hosts, manage, report
from rollout.host_errors import HostError
from rollout.render import places

MARK = str(seed_mark.MARK)

# $0 is the mark, then come the program and its arguments. A mark is whole or not there.
_ONCE = f"""
umask 077
mark() {{ echo "$1" > "$mark.new" && sync "$mark.new" && mv "$mark.new" "$mark"; }}
mark=$0
mark {BEGUN} && "$@" </dev/null && mark {DONE}
"""


class SeedError(KitError):
    """The command failed, or was stopped; it runs again."""

    exit_status = exits.WRONG


def run_once(contract: Contract, command: str) -> bool:
    """Run the management command (words as a shell has them) in a preview with a backend of its
    own, unless it is done; whether it ran.

    One that failed or was stopped before runs again, and a line says so. What it prints goes to
    standard error. Raises SeedError, and HostError where the host can't be asked.
    """
    words = shlex.split(command)
    if not words or not contract.backend.hosts:
        return False
    host = contract.backend.hosts[0]
    with hosts.session(host, access.identity(contract)) as session:
        before = _marked(session)
        if before == DONE:
            return False
        again = " again, as it failed or was stopped before" if before else ""
        report.step(host.name, f"runs {command}{again}")
        status = _run(session, once(words))
    if status:
        raise SeedError(
            f"the seed ended with status {status}: manage.py {command}",
            where=host.name,
            cure="the preview runs without its data; fix the command, then run `fab preview.up`"
            " again",
        )
    return True


def once(words: list[str]) -> list[str]:
    """The command, as root on the host, that runs this management command and marks how it went."""
    return ["sh", "-c", _ONCE, MARK, places.MANAGE, *words]


def _marked(session: hosts.Session) -> str:
    """What the mark says; empty where there is none."""
    done = _as_root(session, ["sh", "-c", f"[ ! -e {MARK} ] || cat {MARK}"], None)
    if done.exited:
        raise HostError(session.host, f"reading {MARK} ended with status {done.exited}")
    return str(done.stdout).strip()


def _run(session: hosts.Session, words: list[str]) -> int:
    return int(_as_root(session, words, manage.Printable(sys.stderr)).exited)


def _as_root(session: hosts.Session, words: list[str], stream: manage.Printable | None) -> Any:
    """Run a command there, which gets no input; what it prints goes to the stream, if any."""
    options: dict[str, Any] = {"hide": True}
    if stream:
        options = {"out_stream": stream, "err_stream": stream}
    try:
        return manage.Stoppable(session.connection).run(
            shlex.join(["sudo", "-n", *words]),
            warn=True,
            in_stream=False,
            encoding="utf-8",
            **options,
        )
    except host_errors.CUT as problem:
        raise HostError(
            session.host, "the connection was lost, which ends the seed; run this again"
        ) from problem
