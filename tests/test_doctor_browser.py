"""Chromium's outcome of a row counts only while this machine's network does not change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollout.doctor import browser
from rollout.doctor.browser import NETWORK_CHANGED, Outcome

KEY = ("http://a.org", "GET /")
GOOD, CUT = {KEY: Outcome(True, "200")}, {KEY: Outcome(False, NETWORK_CHANGED)}


@pytest.mark.parametrize(
    ("answers", "word"),
    [((GOOD,), "200"), ((CUT, CUT, GOOD), "200"), ((CUT,) * 9, NETWORK_CHANGED)],
)
def test_a_row_is_asked_again_when_the_network_changed(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[Any, ...], word: str
) -> None:
    """A network change says nothing of the backend. One that never ends is reported at last."""
    left: Iterator[Any] = iter(answers)
    monkeypatch.setattr(browser, "_row", lambda *_: next(left))
    found = browser._row_of_a_quiet_network(None, None, "http://a.org")  # type: ignore[arg-type]
    assert found[KEY].word == word
