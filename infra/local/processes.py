"""Processes of this host by their numbers, from /proc. A number that the kernel gave away again is
another process: its start time differs.

psutil has neither the number inside of a namespace (NSpid), nor the start in clock ticks, by which
machines are recorded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from infra.core.processes import start_time, stat

STOP_S = 15


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition holds; False where it does not within that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def processor_time(pid: int) -> int:
    """Processor time, in clock ticks, of a process and of its children that have ended."""
    fields = stat(pid)
    if not fields:
        return 0
    utime, stime, cutime, cstime = fields[11:15]
    return int(utime) + int(stime) + int(cutime) + int(cstime)


def inits_of(supervisor: int) -> list[int]:
    """The children of a process that are number 1 in a namespace of their own."""
    try:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    except OSError:
        return []
    return [int(pid) for pid in children if _is_init(int(pid))]


def _is_init(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) > 1 and numbers[-1] == "1"
    return False


def end(supervisor: int) -> None:
    """Kill what a running nspawn has started, then itself, and wait until all of it is gone."""
    for pid in [*inits_of(supervisor), supervisor]:
        kill(pid, start_time(pid))


def kill(pid: int, started: str) -> None:
    """Kill the process that began then, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: start_time(pid) != started or not started, STOP_S)


def kill_strays(root: Path) -> None:
    """End the machines with this root: a run that was killed between a start and its record left
    one that nothing refers to."""
    needle = b"\0-D\0" + bytes(root) + b"\0"
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if needle in (folder / "cmdline").read_bytes():
                end(int(folder.name))
