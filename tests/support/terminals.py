"""Commands that ask a person at a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.kit import ROOT


def at_a_terminal(
    command: Sequence[str],
    typed: str | None,
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a command at a terminal at which somebody has `typed` something, or with nobody there
    (None). What it prints does not go to the terminal, but is in the result."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, (typed or "").encode())
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL if typed is None else theirs,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
