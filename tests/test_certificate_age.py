"""When a certificate is old enough to say so."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollout.certificates.age import Age, State
from tests.support.certificates import DAY, NOW

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("lifetime", "warns_at", "red_at"),
    [
        (90 * DAY, 20 * DAY, 10 * DAY),
        (45 * DAY, 10 * DAY, 5 * DAY),
        (160 * HOUR, 60 * HOUR, 30 * HOUR),
        (365 * DAY, 365 * DAY * 2 / 9, 365 * DAY / 9),
    ],
)
def test_the_two_lines(lifetime: timedelta, warns_at: timedelta, red_at: timedelta) -> None:
    """They lie well after the moment of renewal: a third left, or half of a short lifetime."""

    def state(left: timedelta) -> State:
        return Age(NOW + left - lifetime, NOW + left, NOW).state

    assert state(lifetime) == State.GOOD
    assert state(lifetime / 3 if lifetime > 10 * DAY else lifetime / 2) == State.GOOD
    second = timedelta(seconds=1)
    assert (state(warns_at + second), state(warns_at)) == (State.GOOD, State.WARNING)
    assert (state(red_at + second), state(red_at)) == (State.WARNING, State.RED)
    assert state(timedelta(0)) == State.EXPIRED


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (62 * DAY + 5 * HOUR, "62 days left"),
        (DAY * 2, "2 days left"),
        (DAY * 2 - HOUR, "47 hours left"),
        (HOUR, "1 hour left"),
        (timedelta(minutes=59), "59 minutes left"),
        (timedelta(minutes=1), "1 minute left"),
        (timedelta(0), "expired just now"),
        (-HOUR * 3, "expired 3 hours ago"),
        (-DAY * 40, "expired 40 days ago"),
    ],
)
def test_what_is_left_in_words(left: timedelta, text: str) -> None:
    """Whole units, rounded down."""
    assert Age(NOW - 90 * DAY, NOW + left, NOW).text == text


def test_one_that_is_not_valid_yet() -> None:
    """The clock of a host or of this computer may be wrong."""
    age = Age(NOW + DAY, NOW + 90 * DAY, NOW)
    assert age.state == State.EARLY
    assert age.text == "not valid for another 24 hours"
