"""Where the project's own log of failed requests goes; the project is asked, as its user."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from on_host import places
from on_host.as_user import text
from on_host.confined import Confined
from on_host.runtime import hide

if TYPE_CHECKING:
    from on_host.answers import RequestLog

LIMIT_S = 30
_MOST_FILES = 5
_LONGEST_TEXT = 4_000
_LONGEST_NAME = 200


def destinations() -> RequestLog | None:
    """See `as_user/request_log.py`; None where the project can't answer."""
    app = places.app()
    code = places.current_folder()
    if code is None:
        return None
    # Not the name that a ship uses: a ship may run at the same time.
    unit = f"origin-kit-asked-{app}-{os.getpid()}"
    service = (places.CONFIGURATION / "systemd" / f"{app}.service").read_text()
    place = Confined(app, app, service, places.RUN / unit, unit)
    done = place.run(
        f"{code}/venv/bin/python",
        "-c",
        text("request_log"),
        cwd=f"{code}/app",
        files=(places.CONFIGURATION / "secrets.env", places.CONFIGURATION / "environment"),
        limit_s=LIMIT_S,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"request_log"')]
    if not lines:
        return None
    return checked(hide(lines[-1]))


def checked(line: str) -> RequestLog | None:
    """The project's answer, with bounds; None where it has not the expected form."""
    try:
        answer = json.loads(line)["request_log"]
        ends = {}
        for path, end in list(answer["files"].items())[:_MOST_FILES]:
            ends[str(path)[:_LONGEST_TEXT]] = str(end)[-_LONGEST_TEXT:]
        others = [str(name)[:_LONGEST_NAME] for name in answer["others"][:_MOST_FILES]]
        return {"files": ends, "journal": answer["journal"] is True, "others": others}
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
