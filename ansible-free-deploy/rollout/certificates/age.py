"""How old a certificate is, and the lines past which that is reported. Pure.

A healthy host renews with a third of the lifetime left, or with a half where the lifetime is under
ten days. The warning line lies well after that: who sees a warning has to act.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

_SHORT = timedelta(days=10)  # a lifetime below this has lines of its own
_WARNING = Fraction(2, 9)  # of the lifetime: 20 of 90 days, 10 of 45
_WARNING_SHORT = Fraction(3, 8)  # 60 of 160 hours
_RENEWAL = Fraction(1, 3)
_RENEWAL_SHORT = Fraction(1, 2)
_HOURS_BELOW = timedelta(days=2)
_ZERO = timedelta(0)


class State(StrEnum):
    """How urgent it is."""

    EARLY = "not valid yet"
    GOOD = "good"
    WARNING = "warning"
    RED = "red"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Age:
    """The validity of a certificate, looked at `now`; times with their zone."""

    begins: datetime
    ends: datetime
    now: datetime

    @property
    def lifetime(self) -> timedelta:
        """From the first to the last moment at which it is valid."""
        return self.ends - self.begins

    @property
    def left(self) -> timedelta:
        """Until it ends; negative once it has."""
        return self.ends - self.now

    @property
    def warning_line(self) -> timedelta:
        """The time left at which the warning begins."""
        return _part(self.lifetime, _WARNING_SHORT if self._is_short else _WARNING)

    @property
    def is_due(self) -> bool:
        """Whether a new one should be made now."""
        return self.left <= _part(self.lifetime, _RENEWAL_SHORT if self._is_short else _RENEWAL)

    @property
    def _is_short(self) -> bool:
        return self.lifetime < _SHORT

    @property
    def state(self) -> State:
        """Which of the lines is passed; red begins at half of the warning's time."""
        if self.left <= _ZERO:
            return State.EXPIRED
        if self.now < self.begins:
            return State.EARLY
        if self.left <= self.warning_line / 2:
            return State.RED
        if self.left <= self.warning_line:
            return State.WARNING
        return State.GOOD

    @property
    def text(self) -> str:
        """What is left, in whole days, hours or minutes."""
        if self.state is State.EARLY:
            return f"not valid for another {_words(self.begins - self.now)}"
        if self.left > _ZERO:
            return f"{_words(self.left)} left"
        ago = _words(-self.left)
        return "expired just now" if ago == "0 minutes" else f"expired {ago} ago"


def _part(of: timedelta, share: Fraction) -> timedelta:
    return of * share.numerator / share.denominator


def _words(span: timedelta) -> str:
    if span >= _HOURS_BELOW:
        return f"{span.days} days"
    minutes = int(span.total_seconds()) // 60
    number, unit = (minutes // 60, "hour") if minutes >= 60 else (minutes, "minute")
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
