"""When a stack's outputs were written: Pulumi notes it in the state, or in the stack's history."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollout import pulumi_cli
from rollout.state_files import checkpoint_of

_HISTORY_S = 10


def outputs_made_at(stack: str, file: str | None = None) -> str:
    """The time in UTC, RFC 3339; empty where nobody says it. For a `file` it is the file's own."""
    if file:
        return _file_time(Path(file))
    checkpoint = checkpoint_of(stack)
    if checkpoint:
        return _time_in_state(_read(checkpoint))
    return _end_of_last_update(_history(stack))


def _file_time(path: Path) -> str:
    try:
        seconds = path.stat().st_mtime
    except OSError:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _time_in_state(state: Any) -> str:
    """`checkpoint.latest.manifest.time` of a state."""
    for name in ("checkpoint", "latest", "manifest"):
        state = state.get(name) if isinstance(state, dict) else None
    time = state.get("time") if isinstance(state, dict) else None
    return time if isinstance(time, str) else ""


def _history(stack: str) -> Any:
    """The last entry of the stack's history, in a list, as the CLI prints it."""
    if not pulumi_cli.is_installed():
        return None
    words = ["stack", "history", "--json", "--page-size", "1", "--stack", stack]
    try:
        return json.loads(pulumi_cli.run(*words, timeout_s=_HISTORY_S).stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None


def _end_of_last_update(history: Any) -> str:
    """`endTime` of the last update; empty where there is none."""
    if not isinstance(history, list) or not history or not isinstance(history[0], dict):
        return ""
    time = history[0].get("endTime")
    return time if isinstance(time, str) else ""
