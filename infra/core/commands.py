"""Commands in a stack's config: what a host runs for the application, without a shell. Pure."""

from __future__ import annotations

import re
import shlex

from infra.core import rules
from infra.core.rules import quote

MANAGE = "manage.py"
_TEXT = rules.text(rules.PRINTABLE, "a command in one line", 1000)
_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*|/[^\s]+", re.ASCII)
_OPERATOR = re.compile(r"[();<>|&]+")


def words(text: str) -> tuple[str, ...]:
    """The words of a command, as a POSIX shell splits them. The first one is `manage.py`, a program
    of the release's environment, or an absolute path.

    Raises ValueError for anything else, and for what only a shell understands.
    """
    _TEXT(text)
    try:
        found = shlex.split(text)
    except ValueError as problem:
        raise ValueError(f"{quote(text)} is not a command: {problem}") from None
    for word in _unquoted_operators(text):
        raise ValueError(
            f"{quote(text)} needs a shell for {quote(word)}, and there is none; write a management"
            " command of your own"
        )
    if not found or not _PROGRAM.fullmatch(found[0]):
        raise ValueError(
            f"{quote(text)} starts with neither manage.py, a program that the requirements"
            " install, nor an absolute path"
        )
    return tuple(found)


def _unquoted_operators(text: str) -> list[str]:
    """What a shell would take for a pipe, a redirection or the like."""
    lexer = shlex.shlex(text, posix=False, punctuation_chars=True)  # quotes stay
    lexer.whitespace_split = True
    lexer.commenters = ""
    return [word for word in lexer if _OPERATOR.fullmatch(word)]
