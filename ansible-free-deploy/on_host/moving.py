"""Which origins an environment can answer at together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def can_move(former: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether `fab move` can answer at the former origins and the wanted ones meanwhile. Without
    https in the wanted ones there is no certificate for a former one with it."""
    return _speak_https(wanted) or not _speak_https(former)


def _speak_https(origins: Iterable[str]) -> bool:
    return any(origin.startswith("https:") for origin in origins)
