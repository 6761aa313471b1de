"""Whether a process of this host still runs, from /proc."""

from __future__ import annotations

from pathlib import Path


def start_time(pid: int) -> str:
    """When a process began, in clock ticks since boot; "" for one that has ended, also where nobody
    has waited for it: the first process of a container may never do so (proc(5), state Z)."""
    fields = stat(pid)
    if not fields or fields[0] in "ZX":
        return ""
    return fields[19]


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, from the third (state); none for a process that
    is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
