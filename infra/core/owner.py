"""Whose a local stack is: the checkout and the user that made it. Standard library only.

Two checkouts may have a stack of one name, and `local` is in all of them. Kept next to the state,
not in it: it is no input of the program, so another owner replaces nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.core import exits
from infra.core.home import (
    LocalCloudError,
    claim,
    home,
    locked,
    occupying,
    user_name,
    write_whole,
)

ROOT_USER = "root"


class OwnerError(LocalCloudError):
    """The stack is another checkout's or user's; the text says whose, and the next step."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Owner:
    """`checkout` is a real path. Root who is root by sudo is the user who called it."""

    checkout: str
    user: str

    @classmethod
    def here(cls, checkout: Path) -> Owner:
        """Whoever runs this, from this checkout."""
        uid = os.geteuid()
        who = int(os.environ.get("SUDO_UID") or uid) if uid == 0 else uid
        return cls(os.path.realpath(checkout), user_name(who))

    def is_same(self, other: Owner) -> bool:
        """Plain root may be anybody, so in one checkout it is whoever was there before."""
        users = {self.user, other.user} - {ROOT_USER}
        return self.checkout == other.checkout and len(users) < 2

    def __str__(self) -> str:
        return f"{self.user} in {self.checkout}"


def owner_of(stack: str) -> Owner | None:
    """None for a stack that nobody has used since owners are noted. Raises OwnerError for a note
    that can't be read."""
    path = _path(stack)
    try:
        return Owner(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as problem:
        raise OwnerError(
            f"{path} can't be read ({problem})", cure=f"remove it if stack {stack!r} is yours"
        ) from None


def refuse_other(stack: str, mine: Owner) -> None:
    """Raises OwnerError where the stack is another one's."""
    theirs = owner_of(stack)
    if theirs is None or theirs.is_same(mine):
        return
    gone = "" if Path(theirs.checkout).is_dir() else ", a folder that is gone (moved?)"
    raise OwnerError(
        f"stack {stack!r} belongs to {theirs}{gone}, and this is {mine}",
        cure=(
            "nothing was changed. Use a stack of another name, or make this one yours: `fab up"
            f" --stack {stack} --take-over` (or `fab down`)"
        ),
    )


def take(stack: str, mine: Owner, take_over: bool = False) -> None:
    """Note whose the stack is; one without an owner becomes `mine`. Raises as `refuse_other`,
    unless asked to take over, and LocalCloudError for a home that is not the kit's."""
    with occupying(), locked(claim() / "owners" / ".lock"):
        if not take_over:
            refuse_other(stack, mine)
        if take_over or owner_of(stack) is None:
            write_whole(_path(stack), json.dumps(asdict(mine)) + "\n")


def forget(stack: str) -> None:
    """The stack is gone."""
    _path(stack).unlink(missing_ok=True)


def _path(stack: str) -> Path:
    return home() / "owners" / f"{stack}.json"
