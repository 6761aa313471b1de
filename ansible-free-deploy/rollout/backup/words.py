"""What a person or another program reads of backups."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rollout import report
from rollout.backup.making import Made
from rollout.backup.names import Backup
from rollout.replace.words import counts, in_words


def made(backup: Made) -> str:
    """A backup that was made."""
    return (
        f"{in_words(backup.counted)}: restored here for a trial, all as they were copied\n"
        f"{backup.path} ({size(backup.size)}), encrypted; `fab restore FILE --identity KEY --check`"
        " tries it with your private key"
    )


def listed(backups: Sequence[Backup], folder: Path, stack: str) -> str:
    """The backups in a folder as a table, the newest first."""
    if not backups:
        return f"{folder} holds no backup of stack {stack}; `fab backup` makes one"
    rows = []
    for backup in reversed(backups):
        rows.append([backup.when, size(backup.size), str(backup.path)])
    return report.table(["made", "size", "file"], rows)


def as_json(backups: Sequence[Backup]) -> str:
    """The same for another program, the oldest first."""
    rows = []
    for backup in backups:
        rows.append({"made": backup.made, "size": backup.size, "file": str(backup.path)})
    return json.dumps(rows, indent=1)


def checked(path: Path, counted: dict[str, Any]) -> str:
    """A backup that opens and is whole."""
    return f"{path.name} is whole: {counts(counted)}, restored here for a trial; no host was asked"


def restored(path: Path, counted: dict[str, Any]) -> str:
    """A backup that serves."""
    return (
        f"restored {path.name}: {counts(counted)}, all as they were copied; what the databases were"
        " before is in backups/ of the data folder, as after a ship"
    )


def size(number: int) -> str:
    """Bytes for a person."""
    if number < 1 << 20:
        return f"{number >> 10} KiB"
    return f"{number / (1 << 20):.1f} MiB"
