"""Cookies that browsers drop over plain http: by their name, or because they are marked Secure."""

from __future__ import annotations

import re

# RFC 6265bis, 4.1.3: browsers compare without case.
_PREFIX = re.compile(r"__(Secure|Host)-", re.IGNORECASE)


def without_prefix(name: str) -> str | None:
    """The name without its prefix that requires https; None if it has no such prefix."""
    prefix = _PREFIX.match(name)
    if prefix is None:
        return None
    return name[prefix.end() :]


def is_marked_secure(line: str) -> bool:
    """Whether a Set-Cookie line has the attribute Secure."""
    _cookie, *attributes = line.split(";")
    names = [attribute.strip().lower() for attribute in attributes]
    return "secure" in names
