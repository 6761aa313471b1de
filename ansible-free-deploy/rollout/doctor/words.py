"""Sentences of findings for a terminal: without the backticks that mark commands and names, and
never wider than it. Pure."""

from __future__ import annotations

import re
import textwrap

WIDTH = 80
_CODE = re.compile(r"`([^`]+)`")
_COMMANDS = ("fab ", "make ", "pulumi ")
_LONGEST_UNBROKEN = 60  # a longer command is broken at a space
_SPACE = "\x00"  # stands for a space at which no line ends


def codes(text: str) -> list[str]:
    """What stands in backticks."""
    return _CODE.findall(text)


def commands(text: str) -> list[str]:
    """The commands in a sentence, in their order."""
    return [code for code in codes(text) if code.startswith(_COMMANDS)]


def pieces(text: str) -> list[tuple[str, bool]]:
    """The text in its order, in pieces, each with whether it stood in backticks."""
    found = []
    for number, piece in enumerate(_CODE.split(text)):
        if piece:
            found.append((piece, number % 2 == 1))
    return found


def plain(text: str) -> str:
    """The sentence without backticks. What holds spaces and is no command is quoted."""
    return "".join(_plain_piece(piece, is_code) for piece, is_code in pieces(text))


def _plain_piece(piece: str, is_code: bool) -> str:
    if is_code and " " in piece and not piece.startswith(_COMMANDS):
        return f"'{piece}'"
    return piece


def wrapped(
    text: str,
    first: str = "",
    others: str | None = None,
    width: int = WIDTH,
) -> list[str]:
    """The sentence in lines of at most `width` columns: `first` begins the first line, `others`
    (by default as many spaces) the next ones. Commands are not broken where they are short."""
    joined = []
    for piece, is_code in pieces(text):
        shown = _plain_piece(piece, is_code)
        if is_code and len(shown) <= _LONGEST_UNBROKEN:
            shown = shown.replace(" ", _SPACE)
        joined.append(shown)
    lines = textwrap.wrap(
        "".join(joined),
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first) if others is None else others,
        break_on_hyphens=False,
    )
    return [line.replace(_SPACE, " ") for line in lines] or [first.rstrip()]
