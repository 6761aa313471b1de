"""Several previews removed together, as a sweep does: an environment that some of them are attached
to is deployed once before they go and once after, however many they are.

    1. each is locked, looked at once more, and noted as going: the next run continues a killed one
    2. each environment is deployed without them
    3. each slot is emptied and stays, the others are destroyed, the stack last
    4. each environment is asked again: whoever has read the stacks before may have written one back
    5. config and note of each go
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from infra.core.errors import KitError
from infra.core.settings import Settings
from rollout.previews import attached, down
from rollout.previews.attach import Attached
from rollout.previews.living import Known, known, of_branch
from rollout.previews.making import Template
from rollout.previews.run_records import BusyError, RunRecords
from rollout.previews.up import Wishes


@dataclass
class Removal:
    """A preview that is to go. `stays`: why it is left alone; `problem`: why it could not be
    removed; `settings`: what removing it needs, as soon as it is noted as going; `kept`: it is a
    slot that stays, empty, for the next branch."""

    known: Known
    environments: Sequence[str]
    stays: str = ""
    problem: str = ""
    settings: Settings | None = None
    kept: bool = False

    @property
    def goes(self) -> bool:
        """Whether nothing has stopped it."""
        return self.settings is not None and not self.problem


class Removals:
    """The previews of one sweep that are to go."""

    def __init__(
        self, previews: Sequence[Known], records: RunRecords, read: Template, wishes: Wishes
    ) -> None:
        self.all = [Removal(one, attached.environments_of(one, read)) for one in previews]
        self._records, self._read, self._wishes = records, read, wishes
        self._closed: set[str] = set()  # environments that could not be changed

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other run on them out; each is noted as going, or says why it stays."""
        with ExitStack() as locks:
            there = [one for one in self.all if self._lock(one, locks)]
            now = known(self._read.cloud) if there else []
            for one in there:
                self._begin(one, of_branch(now, one.known.stack))
            yield

    def _lock(self, removal: Removal, locks: ExitStack) -> bool:
        try:
            locks.enter_context(self._records.held(removal.known.stack, 0))
        except BusyError:
            removal.stays = "a run is changing it now"
            return False
        return True

    def _begin(self, removal: Removal, now: Known | None) -> None:
        before = removal.known
        if now is None:
            removal.stays = "somebody else has removed it"
        elif now.updated != before.updated:
            removal.stays = "it was updated meanwhile"
        else:
            removal.known = now
            try:
                removal.settings = down.begin(
                    now, before.branch, self._records, self._read, self._wishes
                )
            except KitError as problem:
                removal.problem = str(problem)

    def deregister(self) -> None:
        """Step 2. Where an environment can't be changed, its previews stay."""
        for environment in self._environments():
            going = [one for one in self.all if environment in one.environments and one.goes]
            stacks = frozenset(one.known.stack for one in going)
            try:
                attached.deregister(environment, stacks, self._wishes.wait_s)
            except KitError as problem:
                self._closed.add(environment)
                for one in going:
                    one.problem = str(problem)

    def _environments(self) -> list[str]:
        """All that what goes may be answered by, each once."""
        return sorted({name for one in self.all if one.goes for name in one.environments})

    def destroy(self) -> None:
        """Step 3, one after the other: slots are emptied, all else is destroyed; what fails keeps
        its state."""
        for one in self.all:
            if one.settings is None or one.problem:
                continue
            try:
                one.kept, _ = down.leave(one.known, one.settings, self._read, self._wishes)
            except KitError as problem:
                one.problem = str(problem)

    def mend(self, environment: str) -> Attached | None:
        """Step 4: have an environment answer the live previews alone; None where it is not up, or
        could not be changed before. One that is noted as going is not answered, whatever its state
        still says. Raises as `attached.mend` does, and then those that went keep their notes."""
        if environment in self._closed:
            return None
        going = [one for one in self.all if one.settings and environment in one.environments]
        stacks = frozenset(one.known.stack for one in going)
        try:
            return attached.mend(environment, self._wishes.wait_s, stacks)
        except KitError:
            self._closed.add(environment)
            raise

    def end(self) -> None:
        """Step 5; the next sweep goes on with those whose environment did not answer."""
        for one in self.all:
            if one.goes and self._closed.isdisjoint(one.environments):
                down.end(one.known.stack, self._records)
