"""Which values an environment variable can hold, so that one arrives exactly or is refused."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONGEST = 131_071  # bytes of NAME=value: execve(2), MAX_ARG_STRLEN, without its NUL
# Half of what Linux leaves for arguments and environment at its usual stack limit.
LONGEST_TOGETHER = 1 << 20

_PLANES = range(0, 0x110000, 0x10000)
_SURROGATE = re.compile("[\ud800-\udfff]")
# systemd takes these for invalid UTF-8 and leaves the variable out (unichar_is_valid in its
# basic/utf8.c).
_LAST_OF_PLANES = "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in _PLANES)
_NO_CHARACTER = re.compile(f"[\ufdd0-\ufdef{_LAST_OF_PLANES}]")


def problem(name: str, value: object) -> str | None:
    """What keeps `value` from reaching a process as it is, or None. Quotes nothing of it: it may be
    a secret."""
    if not isinstance(value, str):
        return "is not text; put it in quotes"
    if "\0" in value:
        return "holds a NUL, which no environment can"
    if _SURROGATE.search(value):
        return "holds half a character (a lone surrogate)"
    no_character = _NO_CHARACTER.search(value)
    if no_character:
        return (
            f"holds U+{ord(no_character[0]):04X}, which is no character: systemd would leave the"
            " variable out"
        )
    if size(name, value) > LONGEST:
        return (
            f"is longer than the {LONGEST} bytes that Linux takes for one variable; put it in a"
            " file"
        )
    return None


def size(name: str, value: str) -> int:
    """Bytes that it takes in an environment, without its NUL."""
    return len(f"{name}={value}".encode())
