"""Where the local cloud keeps what it makes. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """State, machines and keys: $ORIGIN_KIT_HOME, else /var/lib/origin-kit."""
    return Path(os.environ.get("ORIGIN_KIT_HOME") or "/var/lib/origin-kit").absolute()


def state_dir() -> Path:
    """The Pulumi file backend of local stacks."""
    return home() / "state"
