"""Which SSH key opens a host, and which ones should."""

from __future__ import annotations

import os
from pathlib import Path

from infra.core.contract import Contract
from infra.core.home import operator_key_path
from on_host.protocol import LoginOrders
from rollout.hosts import Identity, Session
from rollout.state_files import kit_has


def identity(contract: Contract) -> Identity:
    """$ORIGIN_KIT_SSH_KEY, or the kit's own key for machines it made itself, else your agent and
    the keys that your SSH configuration names."""
    if chosen := os.environ.get("ORIGIN_KIT_SSH_KEY"):
        return Identity(Path(chosen))
    if kit_has(contract.environment):
        return Identity(operator_key_path(), own_config=False)
    return Identity()


def logins(contract: Contract, session: Session) -> LoginOrders:
    """The orders for `on_host.logins` on the host; none where the stack has no list of keys."""
    if not contract.ssh_keys:
        return {}
    return {
        "logins": {
            "user": session.host.user,
            "keys": list(contract.ssh_keys),
            "own": session.login_key,
        }
    }
