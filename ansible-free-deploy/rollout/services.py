"""What of the project that is shipped will not work on its hosts, a line each.

That is what it wants running next to gunicorn and they don't have, and cookies that plain http
loses. The project is read as text, as `fab adopt` reads it.
"""

from __future__ import annotations

from infra.core.settings import Settings
from rollout import release
from rollout.adopt import decisions, reading
from rollout.adopt import services as detection
from rollout.outputs import ROOT


def notes(settings: Settings) -> list[str]:
    """One line for each service or cookie, with what will not work and what to do; or why that is
    not known."""
    try:
        source = (
            release.from_git(settings.backend_git, settings.backend_ref, settings.backend_path)
            if settings.backend_git
            else release.local(ROOT / settings.backend_path)
        )
        found = reading.read(source.folder, settings.settings, settings.wsgi)
    except ValueError as problem:
        return [f"note: what the project needs next to gunicorn is not known: {problem}"]
    lost = decisions.lost_cookies(found) if settings.tls == "off" else ()
    lines = [*detection.lines(found), *(f"{one.text}; {one.cure}" for one in lost)]
    return [f"note: {one}" for one in lines]
