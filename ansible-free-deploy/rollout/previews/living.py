"""Every preview that there is or was begun: from the stacks, and from what was interrupted here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rollout.previews import registry
from rollout.previews.lifetime import expiry
from rollout.previews.places import Living
from rollout.previews.registry import Entry
from rollout.previews.run_records import Note, RunRecords

UP, INTERRUPTED, EXPIRED, UNREADABLE, BUSY, VACANT = (
    "up",
    "interrupted",
    "expired",
    "unreadable",
    "changing",
    "vacant",
)


@dataclass(frozen=True)
class Known:
    """A preview: its stack, if that is there; the note of a run that is under way or was
    interrupted; whether a run has it now (`busy`)."""

    stack: str
    entry: Entry | None = None
    note: Note | None = None
    busy: bool = False

    @property
    def branch(self) -> str:
        """Empty where nobody knows it any more."""
        noted = self.note.branch if self.note else ""
        return (self.entry.branch if self.entry else "") or noted

    @property
    def updated(self) -> str:
        """When it was last updated, or begun."""
        begun = self.note.began if self.note else ""
        return (self.entry.updated if self.entry else "") or begun

    @property
    def is_vacant(self) -> bool:
        """Whether it is a slot that no branch has, and that none is taking or leaving."""
        return bool(self.entry and self.entry.is_vacant and not self.note)

    @property
    def keep(self) -> bool:
        """Whether it never expires."""
        return bool(self.entry and self.entry.noted.get("keep"))

    @property
    def is_made(self) -> bool:
        """Whether its program has run to the end: there are hosts, and origins."""
        return bool(self.entry and self.entry.contract)

    def expires(self, ttl_h: int) -> datetime | None:
        """When it does; `ttl_h` counts where it has not been made."""
        noted = self.entry.noted.get("ttl_h") if self.entry else None
        return expiry(self.updated, int(noted or ttl_h))

    def state(self, now: datetime, ttl_h: int) -> str:
        """What it is, in a word."""
        if self.entry and self.entry.problem:
            return UNREADABLE
        if self.busy:
            return BUSY
        if self.is_vacant:
            return VACANT
        if self.note or not self.is_made:
            return INTERRUPTED
        end = self.expires(ttl_h)
        return EXPIRED if end and end <= now and not self.keep else UP

    @property
    def place(self) -> Living:
        """It takes a place, whatever state it is in."""
        return Living(self.stack, self.branch, self.updated, self.is_vacant)


def known(cloud: str) -> list[Known]:
    """All of them, by name. Raises RegistryError where nothing could be asked."""
    records = RunRecords.to_read(cloud)
    notes = {note.stack: note for note in records.notes()}
    entries = {entry.stack: entry for entry in registry.all_(cloud)}
    found = []
    for stack in sorted(notes.keys() | entries.keys()):
        entry = entries.get(stack)
        busy = records.is_held(stack) or bool(entry and entry.locked)
        found.append(Known(stack, entry, notes.get(stack), busy))
    return found


def of_branch(found: Sequence[Known], branch: str) -> Known | None:
    """The preview of a branch; `branch` may be the preview's own name, as the list shows it."""
    for one in found:
        if branch in (one.branch, one.stack):
            return one
    return None
