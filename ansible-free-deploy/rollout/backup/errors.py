"""What stops a backup or a restore."""

from __future__ import annotations

from infra.core import exits
from infra.core.errors import KitError


class BackupError(KitError):
    """The backup was not made, or is no good one. No host was changed."""


class UseError(BackupError):
    """What was asked for can't be done this way; the text says how."""

    exit_status = exits.USAGE
