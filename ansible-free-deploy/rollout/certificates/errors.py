"""What can be wrong with a certificate that is to be brought to hosts."""

from __future__ import annotations

from collections.abc import Iterable

from infra.core import exits
from infra.core.errors import KitError


class PairError(KitError):
    """A chain and a key that can't be used; one problem a line."""

    exit_status = exits.USAGE

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))
