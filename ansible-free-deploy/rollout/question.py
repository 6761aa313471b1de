"""A question to the person at the terminal."""

from __future__ import annotations

import sys

from infra.core import exits
from infra.core.errors import KitError
from infra.core.terminal import harmless


class QuestionError(KitError):
    """A question needs an answer and there is no terminal; the text names the option that answers
    it."""

    exit_status = exits.QUESTION


def ask(text: str, otherwise: str) -> str:
    """The line that a person types at the terminal. Raises QuestionError with `otherwise` where
    there is no terminal, or it is closed."""
    if not sys.stdin.isatty():
        raise QuestionError(otherwise)
    print(harmless(text), end="", flush=True)  # it may quote text of a host or a project
    typed = sys.stdin.readline()
    if not typed:
        raise QuestionError(otherwise)
    return typed.strip()
