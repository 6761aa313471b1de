"""Restore an archive into a scratch folder on this computer, and compare it with its manifest.

The same program does it that restores on a host: every file's digest, SQLite's integrity check, the
number of rows of each table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from on_host.as_user import text
from rollout.backup.age import Child
from rollout.backup.errors import BackupError


class Scratch:
    """A restore that is under way here. Its folder is open to this user alone."""

    def __init__(self, folder: str, output: IO[bytes]) -> None:
        self._output = output
        command = [sys.executable, "-I", "-c", text("put_data"), "write", folder]
        self.child = Child(command, output)

    def finish(self) -> dict[str, Any]:
        """How much was restored: files, bytes, tables, rows. Raises BackupError where it differs
        from its manifest, or there is no room for it."""
        if self.child.end():
            raise BackupError(
                f"a restore into a scratch folder here fails: {self.child.words()}",
                cure="nothing was kept; $TMPDIR says where another scratch folder is",
            )
        self._output.seek(0)
        found: dict[str, Any] = json.loads(self._output.read())
        return found


@contextmanager
def scratch() -> Iterator[Scratch]:
    """A scratch restore; its folder is gone afterwards."""
    folder = tempfile.mkdtemp(prefix="origin-kit-scratch-", dir=_place())
    restore = None
    try:
        with tempfile.TemporaryFile() as output:
            restore = Scratch(folder, output)
            yield restore
    finally:
        if restore is not None:
            restore.child.stop()
        # It may hold folders that their owner can't write to.
        command = [sys.executable, "-I", "-c", text("put_data"), "empty", folder]
        subprocess.run(command, check=False, capture_output=True)
        shutil.rmtree(folder)


def _place() -> str:
    """/tmp is memory on many computers: /var/tmp, unless $TMPDIR says otherwise."""
    return os.environ.get("TMPDIR") or "/var/tmp"
