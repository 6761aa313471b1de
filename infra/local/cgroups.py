"""Control groups of a machine where this host does not run systemd, and the memory in them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from infra.core.home import LocalCloudError
from infra.local.processes import STOP_S, wait_until

# Memory (version 1), what systemd in the machine manages (version 1, hybrid), and the only one of
# version 2. A group of its own in each: nspawn gives it to the machine's root, who could not make
# one in the host's.
_HIERARCHIES = ("memory", "systemd", "unified", ".")
_BASE = Path("/sys/fs/cgroup")


def make(name: str) -> list[Path]:
    """The groups of this name, made where this host has such a hierarchy to write to."""
    groups: list[Path] = []
    for hierarchy in _HIERARCHIES:
        base = _BASE / hierarchy
        if (base / "cgroup.procs").exists():
            with contextlib.suppress(OSError):
                (base / name).mkdir(exist_ok=True)
                groups.append(base / name)
    return groups


def existing(name: str) -> list[Path]:
    """The groups of this name."""
    groups = [_BASE / hierarchy / name for hierarchy in _HIERARCHIES]
    return [group for group in groups if group.is_dir()]


def limit(group: Path, memory_mb: int) -> bool:
    """Hold a group to its memory; False where it counts no memory."""
    for name in ("memory.limit_in_bytes", "memory.max"):
        if (group / name).exists():
            try:
                (group / name).write_text(str(memory_mb * 2**20))
            except OSError as problem:
                raise LocalCloudError(
                    f"the kernel refuses {memory_mb} MiB ({problem.strerror})",
                    where=str(group / name),
                    cure="set memory_mb higher",
                ) from None
            return True
    return False


def in_use_mb(group: Path) -> int:
    """MiB that the processes of a group can't give back; the page cache doesn't count. 0 where
    memory isn't counted."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    counters = dict(line.split() for line in lines)
    return int(counters.get("total_rss") or counters.get("anon") or 0) // 2**20


def remove(name: str) -> None:
    """Remove the groups of this name, with those inside of them, once they are empty."""
    for group in existing(name):
        inner = [path for path in group.rglob("*") if path.is_dir()]
        for folder in [*sorted(inner, reverse=True), group]:
            _remove_folder(folder)


def _remove_folder(folder: Path) -> None:
    def is_removed() -> bool:
        try:
            folder.rmdir()
        except OSError:
            return not folder.exists()
        return True

    wait_until(is_removed, STOP_S)
