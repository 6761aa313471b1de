"""Why a host could not be reached, or why the work on it ended: the errors and their texts."""

from __future__ import annotations

import re
import signal

import paramiko

from infra.core import exits
from infra.core.contract import Host
from infra.core.errors import KitError

CUT = (OSError, EOFError, paramiko.SSHException)  # how paramiko says that a connection is gone

AGAIN = "{again}"  # stands in a message for the command that a person runs after a failure
SAME_COMMAND = "the same command again"
CONTINUES = f"the work on the host continues: run {AGAIN} to see the result"


class HostError(KitError):
    """A host could not be reached, or a program on it failed; `detail` is the host's own output.

    `left_alone`: this host is well and unchanged, because another one failed. `in_doubt`: it serves
    the new version and does not know whether the change was committed. `changed_meanwhile`: it is
    unchanged, because it no longer runs what the change was made for. `command` replaces AGAIN in
    the text; `note` is added to it.
    """

    def __init__(
        self,
        host: Host,
        what: str,
        detail: str = "",
        *,
        cure: str = "",
        left_alone: bool = False,
        in_doubt: bool = False,
        changed_meanwhile: bool = False,
    ) -> None:
        where = f"{host.name} ({host.address})"
        super().__init__(
            what,
            where=where,
            cure=cure,
            detail=detail,
        )
        self.host = host
        self.left_alone = left_alone
        self.in_doubt = in_doubt
        self.changed_meanwhile = changed_meanwhile
        self.command = SAME_COMMAND
        self.note = ""

    @property
    def reason(self) -> str:
        """What is wrong and the next step, without the host's name."""
        text = super().reason.replace(AGAIN, self.command)
        if not self.note:
            return text
        return f"{text}; {self.note}"


class LostError(HostError):
    """The connection was lost, or nothing more was heard: what was started may still run there."""


class ConnectError(HostError):
    """No connection came about: not up yet, refused, timed out, another key, a wrong user. Nothing
    was sent."""

    exit_status = exits.UNREACHABLE


_BY_SIGNAL = 128  # a shell's status is this and the signal's number

# What stands in the way of the program → what to say; in the words of the shell, sudo and Python.
_IN_THE_WAY = {
    r"python3: (command not found|No such file)": (
        "/usr/bin/python3 is not installed there; install python3"
    ),
    r"sudo: (command )?not found|not found: sudo": (
        "sudo is not installed there; {user} needs it, without a password"
    ),
    r"sudo.*password|not in the sudoers|must have a tty": (
        "{user} may not use sudo without a password; see docs/operating.md"
    ),
    r"This account is|nologin": (
        "user {user} has no shell there; the contract names another user than may log in"
    ),
    r"No space left on device": (
        "a disk there is full; see `df -h` and `df -i` there, and make room"
    ),
    r"Read-only file system": "a file system there is read-only; see `dmesg` there",
    r"MemoryError|Cannot allocate memory|can't start new thread|fork: ": (
        f"it is out of memory or processes; see `free -h` there, then run {AGAIN}"
    ),
    r"SyntaxError|'type' object is not subscriptable": (
        "its /usr/bin/python3 is too old; the kit needs 3.9 or newer"
    ),
    r"Traceback \(most recent": "the kit's own program failed there: a bug, please report it",
}


def why_dead(user: str, words: str, status: int) -> str:
    """Why the program ended without an answer: what it or what starts it said, or the signal that
    ended it."""
    for pattern, text in _IN_THE_WAY.items():
        if re.search(pattern, words):
            return text.format(user=user, again=AGAIN)
    # sshd reports a signal as no status, a shell as 128 and its number.
    if status == -1 or status > _BY_SIGNAL:
        by = ""
        if status > _BY_SIGNAL:
            by = f" by {_signal(status - _BY_SIGNAL)}"
        text = f"the work on the host was killed{by}; out of memory? see `journalctl -k` there"
        return f"{text}; run {AGAIN}"
    return f"the work on the host ended with status {status}; run {AGAIN}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
