"""Cookies that plain http loses: by their name, or because they are marked Secure."""

from __future__ import annotations

import re

# RFC 6265bis, 4.1.3: browsers compare without case.
_PREFIX = re.compile(r"__(Secure|Host)-", re.IGNORECASE)


def without_prefix(name: str) -> str | None:
    """The name without the prefix that asks for https; None for one that has none."""
    return _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else None


def is_marked_secure(line: str) -> bool:
    """Whether a Set-Cookie line has the attribute Secure."""
    return any(part.strip().lower() == "secure" for part in line.split(";")[1:])
