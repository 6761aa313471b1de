"""Wait until a machine has booted: its SSH server greets."""

from __future__ import annotations

import contextlib
import socket
import time

from infra.core.home import LocalCloudError
from infra.core.processes import start_time
from infra.local.processes import processor_time
from infra.local.records import Machine

BOOT_S = 30  # a machine that does nothing for this long does not come up
LONGEST_BOOT_S = 300
SSH_PORT = 22


def await_ssh(machine: Machine) -> None:
    """Return when its SSH server greets. Raises LocalCloudError with the end of its console where
    it never does.

    What a boot takes depends on what else this host is doing: the wait goes on as long as the
    machine makes progress.
    """
    latest = time.monotonic() + LONGEST_BOOT_S
    end_of_idling, worked = 0.0, -1
    while not _greets(machine):
        now, working = time.monotonic(), processor_time(machine.pid)
        if working != worked:
            worked = working
            end_of_idling = now + BOOT_S
        if not running(machine):
            raise _no_boot(machine, "it has ended")
        if now > end_of_idling:
            raise _no_boot(machine, f"nothing has happened in it for {BOOT_S} s")
        if now > latest:
            raise _no_boot(machine, f"it is still booting after {LONGEST_BOOT_S} s")
        time.sleep(0.02)


def _greets(machine: Machine) -> bool:
    """Whether an SSH server answers there."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((machine.address, SSH_PORT), timeout=1) as connection,
    ):
        connection.settimeout(1)
        return connection.recv(4) == b"SSH-"
    return False


def _no_boot(machine: Machine, why: str) -> LocalCloudError:
    return LocalCloudError(f"{machine.name} did not come up: {why}; {cause(console(machine))}")


def cause(text: str) -> str:
    """What the end of a console means, where that is known, and the end itself."""
    # Each machine's systemd holds a few of these, and the kernel counts all machines together. It
    # is named only where init itself finds none left; where the network finds none, it just fails.
    raises = "`sysctl -w fs.inotify.max_user_instances=1024` raises it, then try again"
    if "Too many open files" in text:
        return f"this host's limit is reached: {raises}"
    if "systemd-networkd.service' for details" in text:
        return (
            "its network failed; with many machines, this host's limit is the usual cause:"
            f" {raises}; {text}"
        )
    return f"its console says: {text}"


def console(machine: Machine) -> str:
    """The end of the output of a machine's boot."""
    try:
        text = (machine.folder / "console.log").read_text(errors="replace").strip()
    except OSError:
        text = ""
    return text[-300:] or "nothing"


def running(machine: Machine) -> bool:
    """Whether its own process lives; another process that got the same pid later does not count."""
    if not machine.pid or not machine.started:
        return False
    return start_time(machine.pid) == machine.started
