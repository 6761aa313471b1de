"""How backups are called, and which of those in a folder are this stack's."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from rollout.backup.errors import UseError

END = ".tar.gz.age"
FORM = "%Y%m%dT%H%M%SZ"
# Neither an application's name nor a stack's has a dot in it.
_NAME = re.compile(r"([a-z][a-z0-9-]*)\.([^./]+)\.(\d{8}T\d{6}Z)\.tar\.gz\.age")


@dataclass(frozen=True, order=True)
class Backup:
    """One that lies in a folder. `made` is UTC, in FORM, which sorts by time."""

    made: str
    path: Path
    size: int  # bytes

    @property
    def when(self) -> str:
        """The time for a person."""
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.strptime(self.made, FORM))


def now() -> str:
    """The time as a backup's name has it."""
    return time.strftime(FORM, time.gmtime())


def name_of(app: str, stack: str, made: str) -> str:
    """The file name of a backup."""
    return f"{app}.{stack}.{made}{END}"


def own(folder: Path, app: str, stack: str) -> list[Backup]:
    """The backups of this stack in a folder, the oldest first; none where there is no folder.

    Raises UseError for what is no folder, or can't be read.
    """
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise UseError(
            f"{folder} can't be read as a folder of backups: {problem.strerror}"
        ) from None
    found = []
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match and match.group(1, 2) == (app, stack):
            found.append(Backup(match[3], path, path.stat().st_size))
    return sorted(found)
