"""A question to the person at the terminal."""

from __future__ import annotations

import sys

from infra.core import exits
from infra.core.errors import KitError
from infra.core.terminal import harmless


class QuestionError(KitError):
    """A question has to be answered and there is no terminal; the text says which option answers
    it."""

    exit_status = exits.QUESTION


def ask(text: str, otherwise: str) -> str:
    """What is typed at the terminal. Raises QuestionError with `otherwise` where there is none, or
    it is closed."""
    if not sys.stdin.isatty():
        raise QuestionError(otherwise)
    print(harmless(text), end="", flush=True)  # it may quote what a host or a project has named
    typed = sys.stdin.readline()
    if not typed:
        raise QuestionError(otherwise)
    return typed.strip()
