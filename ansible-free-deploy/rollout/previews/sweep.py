"""`fab preview.sweep`: what has expired, whose branch is gone or merged, and what was left behind.

It acts on stacks that carry the mark of a preview of this project, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from infra.core.errors import KitError
from infra.core.owner import Owner, owner_of
from infra.core.previews import slot_of
from rollout import deploy, local_stack, report
from rollout.previews import attached, branches, leftovers, lifetime, making, tagged
from rollout.previews.branches import BranchError, Branches
from rollout.previews.living import BUSY, UNREADABLE, VACANT, Known, known
from rollout.previews.making import Template
from rollout.previews.removing import Removal, Removals
from rollout.previews.run_records import RunRecords
from rollout.previews.up import Wishes
from rollout.stacks import ROOT


@dataclass(frozen=True)
class Fate:
    """What becomes of a preview, and why. `wrong`: somebody has to look."""

    known: Known
    goes: bool
    why: str
    wrong: bool = False

    def __str__(self) -> str:
        whose = self.known.branch or self.known.stack
        return f"{'goes ' if self.goes else 'stays'}  {whose}: {self.why}"


@dataclass
class Swept:
    """What a sweep found and did. `failed` are the problems of what should have gone."""

    fates: Sequence[Fate] = ()
    left: Sequence[str] = ()
    fixed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nobody has to look at anything."""
        return not self.failed and not any(fate.wrong for fate in self.fates)


def judge(
    found: Known,
    there: Branches,
    now: datetime,
    read: Template,
    mine: Owner | None,
) -> Fate:
    """What becomes of one. Pure but for the note whose a local stack is, which `mine` asks for."""
    ttl_h = read.ttl_h
    state = found.state(now, ttl_h)
    if state == UNREADABLE:
        problem = found.entry.problem if found.entry else ""
        return Fate(found, False, f"can't be read: {problem}", wrong=True)
    if state == BUSY:
        return Fate(found, False, "a run is changing it now")
    theirs = owner_of(found.stack) if mine else None
    if mine and theirs and not theirs.is_same(mine):
        return Fate(found, False, f"belongs to {theirs}")
    if state == VACANT:
        return _of_a_vacant_slot(found, now, read)
    if not found.branch:
        return Fate(found, False, "nobody knows its branch; see `fab preview.list`", wrong=True)
    if found.note and found.note.doing == "down":
        return Fate(found, True, "its removal was interrupted")
    if found.keep:
        return Fate(found, False, "pinned by --keep")
    return _by_age_and_branch(found, there, now, ttl_h)


def _of_a_vacant_slot(found: Known, now: datetime, read: Template) -> Fate:
    if slot_of(found.stack) > read.slots:
        return Fate(found, True, f"a vacant slot, and preview_slots is {read.slots}")
    end = found.expires(read.ttl_h)
    if end is None:
        return Fate(found, False, "when it became vacant can't be read", wrong=True)
    if end <= now:
        return Fate(found, True, "a slot that has been vacant for too long")
    return Fate(found, False, f"a vacant slot; removed in {lifetime.in_words(end - now)}")


def _by_age_and_branch(
    found: Known,
    there: Branches,
    now: datetime,
    ttl_h: int,
) -> Fate:
    end = found.expires(ttl_h)
    if end and end <= now:
        return Fate(found, True, f"expired {lifetime.in_words(now - end)} ago")
    fate = there.fate(found.branch)
    if fate in (branches.GONE, branches.MERGED):
        return Fate(found, True, f"its branch is {fate}")
    if end is None:
        return Fate(found, False, "when it was updated can't be read", wrong=True)
    unknown = "; whether its branch is gone is unknown" if fate == branches.UNKNOWN else ""
    return Fate(found, False, f"expires in {lifetime.in_words(end - now)}{unknown}")


def plan(read: Template, now: datetime) -> tuple[list[Fate], str]:
    """What would become of every preview, and why branches could not be asked for, if they could
    not."""
    found = known(read.cloud)
    there = _branches(read) if found else Branches({}, {})
    mine = Owner.here(ROOT) if read.cloud == "local" else None
    return [judge(one, there, now, read, mine) for one in found], there.problem


def _branches(read: Template) -> Branches:
    try:
        return making.checkout(read).branches()
    except BranchError as problem:
        return Branches({}, None, frozenset(), str(problem))


def carry_out(
    read: Template,
    fates: Sequence[Fate],
    left: Sequence[str],
    wishes: Wishes,
) -> Swept:
    """Remove what goes; what fails keeps its state and is named."""
    done = Swept(fates, left)
    records = RunRecords.of(read.cloud)
    going = [fate for fate in fates if fate.goes]
    removals = Removals([fate.known for fate in going], records, read, wishes)
    with removals.held():
        removals.deregister()
        removals.destroy()
        for fate, removal in zip(going, removals.all, strict=True):
            _note(fate, removal, done)
        if left:
            done.fixed += leftovers.remove(read.cloud, records)
        for environment in attached.environments((fate.known for fate in fates), read):
            mend(environment, removals, done)
        removals.end()
    return done


def _note(fate: Fate, removal: Removal, done: Swept) -> None:
    """Say what became of one."""
    whose = fate.known.branch or fate.known.stack
    if removal.problem:
        done.failed.append(f"{whose}: {removal.problem}")
    elif removal.stays:
        done.fixed.append(f"{whose} stays: {removal.stays}")
    else:
        stays = f"; {fate.known.stack} stays for the next branch" if removal.kept else ""
        done.fixed.append(f"{whose} is gone ({fate.why}){stays}")


def mend(environment: str, removals: Removals, done: Swept) -> None:
    """Have an environment forget previews that are gone: a rollback of it may have brought one
    back, or a deploy that read the stacks before."""
    try:
        mended = removals.mend(environment)
    except KitError as problem:
        done.failed.append(f"{environment}: {problem}")
        return
    if mended and mended.changed:
        done.fixed.append(str(mended))


def dead_lists(fates: Sequence[Fate], read: Template) -> list[str]:
    """A line for each preview that is gone and that an environment still answers."""
    lines = []
    for environment in attached.environments((fate.known for fate in fates), read):
        try:
            gone = attached.dead(environment)
        except KitError as problem:
            lines.append(f"can't find out which previews {environment} answers: {problem}")
            continue
        lines += [
            f"{environment} answers {name} ({origin}), which is gone"
            for name, origin in gone.items()
        ]
    return lines


def sweep(wishes: Wishes, dry_run: bool, now: datetime) -> Swept:
    """Show what there is to do, then do it, unless `dry_run`. Raises RegistryError where nothing
    could be asked."""
    read = Template.read()
    fates, problem = plan(read, now)
    for fate in fates:
        report.line(str(fate))
    if problem:
        report.line(f"the branches can't be listed: {problem}")
    left = leftovers.found(read.cloud)
    for line in left:
        report.line(f"left   {line}")
    unknown = _tagged(read)
    for line in unknown:
        report.line(f"left   {line}")
    if dry_run:
        for line in dead_lists(fates, read):
            report.line(f"list   {line}")
        return Swept(fates, left, failed=unknown)
    done = carry_out(read, fates, left, wishes)
    done.failed += unknown
    RunRecords.of(read.cloud).swept(deploy.who().partition(" ")[0])
    if read.cloud == "local":
        local_stack.leave_unused()
    return done


def _tagged(read: Template) -> list[str]:
    """What the cloud has of previews without a stack, which a person has to remove: no state says
    in which order."""
    try:
        found = tagged.found(read.config, lambda: {one.stack for one in known(read.cloud)})
    except tagged.TaggedError as problem:
        return [str(problem)]
    return [f"{line}, of no stack: remove it by hand" for line in found]


def ending(swept: Swept, dry_run: bool) -> str:
    """What was done, a line each; the last one sums it up."""
    lines = [f"fixed  {line}" for line in swept.fixed]
    lines += [f"FAILED {line}" for line in swept.failed]
    goes = sum(fate.goes for fate in swept.fates)
    looks = [fate for fate in swept.fates if fate.wrong]
    if dry_run:
        lines.append(f"{goes} of {len(swept.fates)} previews would go; nothing was changed")
    elif not swept.fixed and not swept.failed:
        stay = "1 preview stays" if len(swept.fates) == 1 else f"{len(swept.fates)} previews stay"
        lines.append(f"nothing to do: {stay}")
    else:
        lines.append(f"done: {len(swept.fixed)} fixed, {len(swept.failed)} failed")
    if looks:
        lines.append(f"{len(looks)} of them need attention: see above")
    return "\n".join(lines)
