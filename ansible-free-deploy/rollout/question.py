"""A question to the person at the terminal."""

from __future__ import annotations

import sys
from typing import ClassVar

from infra import exits


class QuestionError(ValueError):
    """A question has to be answered and there is no terminal; the text says which option answers it."""

    exit_status: ClassVar[int] = exits.QUESTION


def ask(text: str, otherwise: str) -> str:
    """What is typed at the terminal. Raises QuestionError with `otherwise` where there is none, or it is closed."""
    if not sys.stdin.isatty():
        raise QuestionError(otherwise)
    print(text, end="", flush=True)
    typed = sys.stdin.readline()
    if not typed:
        raise QuestionError(otherwise)
    return typed.strip()
