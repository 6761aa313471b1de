"""What will not work on the hosts of the project that is shipped, one line each.

These are services next to gunicorn that the hosts don't have, and cookies that browsers drop over
plain http. The project is read as text, as `fab adopt` reads it.
"""

from __future__ import annotations

from infra.core.settings import Settings
from rollout import release
from rollout.adopt import decisions, reading
from rollout.adopt import services as detection


def notes(settings: Settings) -> list[str]:
    """One line for each service or cookie, with what will not work and what to do; or why that is
    not known."""
    try:
        source = release.source_of(settings)
        project = reading.read(source.folder, settings.settings, settings.wsgi)
    except ValueError as problem:
        return [f"note: what the project needs next to gunicorn is not known: {problem}"]
    lines = [f"note: {line}" for line in detection.lines(project)]
    if settings.tls == "off":
        for finding in decisions.lost_cookies(project):
            lines.append(f"note: {finding.text}; {finding.cure}")
    return lines
