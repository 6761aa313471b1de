"""Which cases of a long table run before every landing, and which in `make soak` only."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

import pytest

T = TypeVar("T")


def sampled(cases: Iterable[T], sample: Collection[T]) -> list[object]:
    """The cases of a test, all but the sample marked `soak`. Raises ValueError for a sample that is
    not among the cases, which would run nothing."""
    table = list(cases)
    if unknown := [case for case in sample if case not in table]:
        raise ValueError(f"not among the cases: {unknown}")
    return [
        case if case in sample else pytest.param(case, marks=pytest.mark.soak) for case in table
    ]
