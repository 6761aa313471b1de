"""What stops a replacement: its errors, and what an `up` in the middle of it may lose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infra.core import exits
from infra.core.errors import KitError
from rollout.changes import Change


class ReplaceError(KitError):
    """This host can't be replaced now; the text says why and what to do. Nothing was changed."""

    exit_status = exits.USAGE


class UnexpectedError(ReplaceError):
    """The infrastructure would lose something that is not part of this."""

    exit_status = exits.WRONG


def only(*allowed: str) -> Callable[[Sequence[Change]], None]:
    """Allows an `up` to lose what is named, as `kind name`, and nothing else."""

    def refuse_others(changes: Sequence[Change]) -> None:
        lost = []
        for change in changes:
            if change.loses and f"{change.kind} {change.name}" not in allowed:
                lost.append(f"  {change}")
        if lost:
            lines = "\n".join(lost)
            raise UnexpectedError(
                f"this would also lose what has nothing to do with it; look at `fab plan`:\n{lines}"
            )

    return refuse_others
