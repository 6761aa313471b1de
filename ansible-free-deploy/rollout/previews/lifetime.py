"""How long a preview lives: it expires some hours after its last update. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def stamp(moment: datetime) -> str:
    """A time as previews note it: UTC, ISO 8601, to the second."""
    return moment.astimezone(UTC).strftime(FORMAT)


def parsed(text: str) -> datetime | None:
    """The time that `stamp` wrote; None for any other text."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def expiry(updated: str, ttl_h: int) -> datetime | None:
    """When a preview that was last updated then expires; None where the time can't be read."""
    since = parsed(updated)
    return since + timedelta(hours=ttl_h) if since else None


def in_words(span: timedelta) -> str:
    """A length of time in its largest unit, as people say it: 45 s, 12 min, 30 h, 4 d."""
    seconds = max(int(span.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 72 * 3600:
        return f"{seconds // 3600} h"
    return f"{seconds // 86400} d"
