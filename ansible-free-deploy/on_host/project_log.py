"""Where the project's own log of failed requests goes on this host, asked of the project as its
user."""

from __future__ import annotations

import json
import os

from on_host import places
from on_host.as_user import text
from on_host.confined import Confined
from on_host.orders import Json
from on_host.runtime import hide

LIMIT_S = 30
_MOST_FILES, _MOST_TEXT, _MOST_NAME = 5, 4_000, 200


def destinations() -> Json | None:
    """See `as_user/request_log.py`; None where the project can't say."""
    app, code, here = places.app(), places.current_folder(), places.CONFIGURATION
    if code is None:
        return None
    # Not by the name of what a ship runs, which goes on meanwhile.
    unit = f"origin-kit-asked-{app}-{os.getpid()}"
    place = Confined(
        app, app, (here / "systemd" / f"{app}.service").read_text(), places.RUN / unit, unit
    )
    done = place.run(
        f"{code}/venv/bin/python",
        "-c",
        text("request_log"),
        cwd=f"{code}/app",
        files=(here / "secrets.env", here / "environment"),
        limit_s=LIMIT_S,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"request_log"')]
    return told(hide(lines[-1])) if lines else None


def told(line: str) -> Json | None:
    """What the project says of its log, in the form that it should have and with bounds; None for
    anything else."""
    try:
        found = json.loads(line)["request_log"]
        files = list(found["files"].items())[:_MOST_FILES]
        return {
            "files": {str(path)[:_MOST_TEXT]: str(end)[-_MOST_TEXT:] for path, end in files},
            "journal": found["journal"] is True,
            "others": [str(name)[:_MOST_NAME] for name in found["others"][:_MOST_FILES]],
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
