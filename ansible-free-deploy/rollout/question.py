"""A question to the person at the terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from infra.core import exits
from infra.core.errors import KitError
from infra.core.terminal import harmless


class QuestionError(KitError):
    """A question needs an answer and there is no terminal; the text names the option that answers
    it."""

    exit_status = exits.QUESTION


def ask(text: str, otherwise: str, stream: TextIO | None = None) -> str:
    """The line that a person types at the terminal; `text` goes to `stream` (by default stdout).
    Raises QuestionError with `otherwise` where there is no terminal, or it is closed."""
    if not sys.stdin.isatty():
        raise QuestionError(otherwise)
    # It may quote text of a host or a project.
    print(
        harmless(text),
        end="",
        flush=True,
        file=stream,
    )
    typed = sys.stdin.readline()
    if not typed:
        raise QuestionError(otherwise)
    return typed.strip()
