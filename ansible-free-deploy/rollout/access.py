"""Which SSH key opens a host."""

from __future__ import annotations

import os
from pathlib import Path

from infra.contract import Contract
from infra.local.home import operator_key_path
from rollout.outputs import kit_has


def identity(contract: Contract) -> Path | None:
    """$ORIGIN_KIT_SSH_KEY, or the kit's own key for machines it made itself; None means your agent and default keys."""
    if chosen := os.environ.get("ORIGIN_KIT_SSH_KEY"):
        return Path(chosen)
    if kit_has(contract.environment):
        return operator_key_path()
    return None
