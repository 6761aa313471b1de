"""Errors about origins: what one looks like, and how a wrong value may be shown. Pure."""

from __future__ import annotations

import re
import unicodedata

from infra.core import exits
from infra.core.errors import KitError

EXAMPLE = "https://app.example.com"
WRITE = f"write scheme, host and port only, like {EXAMPLE}"

# A user before the '@', also in spellings that only look like one.
USER = re.compile(r"@|%40|[＠﹫]", re.IGNORECASE)
AFTER_USER = re.compile(
    r"(?:(?P<scheme>https?)://)?[^/\\?#]*@(?P<host>[a-z0-9.:\[\]-]{1,80})/?", re.IGNORECASE
)
_LONGEST_SHOWN = 80
_LONGEST_ESCAPED = 30  # escapes are longer than what they stand for


class OriginError(KitError):
    """The value is not an origin, or not one for this environment.

    The text is one line: the value, the wrong part, how to write it.
    """

    exit_status = exits.USAGE


class Refusal(ValueError):
    """Why a value is not an origin, without the value; the public functions put it in front."""


def shown(value: object) -> str:
    """The value as an error may show it: escaped, shortened, without user, password or query."""
    if not isinstance(value, str):
        simple = value is None or isinstance(value, (bool, int, float))
        return ascii(value)[:60] if simple else "the value"
    text = _without_query(_masked(value))
    longest = _LONGEST_SHOWN if text.isascii() else _LONGEST_ESCAPED
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    return ascii(text)


def named(character: str) -> str:
    """A character by its code point and its Unicode name, e.g. `U+200B ZERO WIDTH SPACE`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def _masked(text: str) -> str:
    """The text with a user and a password replaced by `***`."""
    if not USER.search(text):
        return text
    match = AFTER_USER.fullmatch(text.strip(" \t\r\n"))
    if match is None:
        return "***@..."
    scheme = match["scheme"]
    start = f"{scheme}://" if scheme else ""
    return f"{start}***@{match['host']}"


def _without_query(text: str) -> str:
    """The text up to its first `?` or `#`: what follows may hold a token."""
    before, *after = re.split(r"(?<=[?#])", text, maxsplit=1)
    if after and after[0]:
        return f"{before}..."
    return before
