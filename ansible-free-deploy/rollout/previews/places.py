"""Which stack a branch's preview is: a name of its own, or a slot; and the cap on both. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.core import exits
from infra.core.errors import KitError
from infra.core.previews import slot_name

_SHOWN = 5


class FullError(KitError):
    """There are as many previews as the template allows; the text lists the oldest ones."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Living:
    """A preview that takes a place: its stack, its branch (empty where nobody knows it), and when
    it was last updated. A `vacant` one is a slot that waits for a branch."""

    stack: str
    branch: str
    updated: str = ""
    vacant: bool = False

    def __str__(self) -> str:
        whose = self.branch or f"{self.stack}, interrupted before it had a branch"
        return f"{whose} (updated {self.updated or 'at an unknown time'})"


def choose(
    branch: str,
    own: str,
    living: Sequence[Living],
    slots: int,
    most: int,
) -> str:
    """The stack for the branch's preview: the one that it has already, else a free slot, or `own`
    where there are no slots. A vacant slot comes before one that is still to be made. Raises
    FullError, and nothing is ever evicted."""
    for preview in living:
        if preview.branch == branch:
            return preview.stack
    if slots:
        return _free_slot(living, slots)
    others = [one for one in living if one.stack != own and not one.vacant]
    if len(others) >= most:
        raise _full(f"there are {len(others)} previews, and preview_max is {most}", others)
    return own


def _free_slot(living: Sequence[Living], slots: int) -> str:
    taken: Mapping[str, Living] = {preview.stack: preview for preview in living}
    names = [slot_name(number) for number in range(1, slots + 1)]
    for name in names:
        if name in taken and taken[name].vacant:
            return name
    for name in names:
        if name not in taken:
            return name
    text = "the only slot is taken" if slots == 1 else f"all {slots} slots are taken"
    raise _full(text, list(taken.values()))


def _full(text: str, living: Sequence[Living]) -> FullError:
    """The refusal, with the previews that were updated the longest ago."""
    oldest = sorted(living, key=lambda preview: (preview.updated, preview.stack))[:_SHOWN]
    lines = [f"{text}; nothing was changed. The oldest:"]
    lines += [f"  {preview}" for preview in oldest]
    named = oldest[0].branch or oldest[0].stack
    lines.append(f"take one down: `fab preview.down --branch {named}`, or run `fab preview.sweep`")
    return FullError("\n".join(lines))
