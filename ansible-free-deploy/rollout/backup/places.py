"""Where backups lie."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from infra.core.settings import Settings
from rollout.backup.errors import UseError


def folder(named: str, settings: Settings) -> Path:
    """The folder that was named; else one of the operator's own for this stack, outside of the
    checkout. Raises UseError for what is no folder of this computer."""
    if not named:
        own = platformdirs.user_data_path("origin-kit") / "backups"
        return own / f"{settings.application}.{settings.stack}"
    if "://" in named:
        raise UseError(f"{named}: backups go to a folder of this computer; name one")
    return Path(named).expanduser()
