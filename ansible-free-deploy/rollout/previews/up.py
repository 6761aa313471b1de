"""`fab preview.up`: a branch's preview made or updated, and attached where it has no backend of its
own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from infra.core import exits, owner, previews
from infra.core.errors import KitError
from infra.core.settings import Settings
from rollout import cloudstack, engines, local_stack, release, report
from rollout import up as steps
from rollout.acme import beforehand, limits
from rollout.acme.beforehand import LimitError
from rollout.previews import attached, guard, lifetime, making, places, seed, slots, template
from rollout.previews.attach import attach
from rollout.previews.branches import Checkout, Wanted
from rollout.previews.living import Known, known, of_branch
from rollout.previews.making import Template
from rollout.previews.registry import Entry
from rollout.previews.run_records import RunRecords
from rollout.release import handed_over
from rollout.stacks import ROOT


class UnreadableError(KitError):
    """There is a stack of this name that can't be read: nothing is made over it."""

    exit_status = exits.UNREACHABLE


@dataclass(frozen=True)
class Wishes:
    """What the command line says. `branch`: None for the one that is checked out; `wait_s`: how
    long to wait for another run on the same preview; `built`: a file of `fab build`; `destroy`: the
    machines of a slot go as well."""

    branch: str | None = None
    keep: bool = False
    engine: str | None = None
    take_over: bool = False
    wait_s: float = 600
    built: Path | None = None
    destroy: bool = False


@dataclass(frozen=True)
class Made:
    """A preview that is up. `result` is None where another run had put a later commit there."""

    settings: Settings
    result: steps.Result | None


def up(wishes: Wishes) -> Made:
    """Make or update the branch's preview. Run again, it goes on where it was interrupted.

    Raises what refuses it before anything is touched (BranchError, BranchNameError, TemplateError,
    SettingsError, DeniedError, FullError, UnreadableError, GuardError, LimitError, ReleaseError),
    BusyError for another run that takes too long, and what every step of `fab up` and `attach`
    raise.
    """
    began = datetime.now(UTC)
    if wishes.built:
        handed_over.read(wishes.built)  # what is wrong with it is said before anything is made
    read = Template.read()
    repository = making.checkout(read)
    branch = making.check_branch(repository.chosen(wishes.branch))
    backend = making.attached_backend(read)
    own = previews.name_of(branch)
    wanted = repository.wanted(branch)
    usual = read.settings(own, making.values(branch, wanted.commit, wishes.keep, backend))
    guard.refuse_before(usual, previews.TEMPLATE)
    records = RunRecords.of(read.cloud)
    with _place(records, usual, read, wishes) as found:
        wanted = repository.wanted(branch)  # somebody may have pushed while this waited
        keep = wishes.keep or found.keep
        values = making.values(branch, wanted.commit, keep, backend)
        values |= making.serials(found, usual)
        settings = read.settings(found.stack, values)
        if _is_later(found, wanted, began, repository):
            records.end(found.stack)
            return Made(settings, None)
        if found.entry is None:
            _count_certificates(settings, records)
        take_over = wishes.take_over or _is_vacant(found)
        slots.taken(found, read, wishes.engine, wishes.wait_s)
        read.write(found.stack, values)
        result = _make(settings, replace(wishes, take_over=take_over), read, repository, wanted)
        _attach(settings, attached.environments_of(found, read), wishes)
        seed.run_once(result.contract, settings.preview_seed)
        records.end(found.stack)
        return Made(settings, result)


def _make(
    settings: Settings,
    wishes: Wishes,
    read: Template,
    repository: Checkout,
    wanted: Wanted,
) -> steps.Result:
    report.step("preview", f"{settings.branch} at {wanted.commit[:12]} → {settings.stack}")
    if settings.cloud == "local":
        local_stack.wait_until_free(settings.stack, wishes.wait_s)
    else:
        provider = template.secrets_provider(read.text)
        cloudstack.ensure(settings.stack, engines.environment(settings), provider)
    from_git = wishes.built is None and not wanted.is_here
    with release.unpacked(repository.top, wanted.commit) if from_git else nullcontext() as commit:
        return steps.create(
            settings, wishes.engine, wishes.take_over, slots.DISPOSABLE, {}, commit, wishes.built
        )


def _attach(settings: Settings, before: Sequence[str], wishes: Wishes) -> None:
    """Have the environment that the preview is attached to answer it, and those that it was
    attached to `before` no longer. Raises as `attach` does."""
    if settings.attach_to:
        done = attach(settings.attach_to, needed=settings.stack, wait_s=int(wishes.wait_s))
        report.step("preview", str(done))
    for environment in before:
        if environment != settings.attach_to:
            attached.deregister(environment, frozenset([settings.stack]), wishes.wait_s)


def _count_certificates(settings: Settings, records: RunRecords) -> None:
    """Say that the CA's weekly limit is near. Raises LimitError where it would be passed."""
    try:
        said = beforehand.check(settings, limits.read(), time.time())
    except LimitError:
        records.end(settings.stack)
        raise
    if said:
        report.step("certificates", said)


def refuse_unreadable(entry: Entry | None) -> None:
    """Raises UnreadableError for a stack that is there and can't be read: it may hold a preview."""
    if entry and entry.problem:
        raise UnreadableError(
            f"{entry.stack} can't be read: {entry.problem}",
            cure="nothing was changed; docs/previews.md, When something is wrong, has causes",
        )


def refuse_other_owner(cloud: str, stack: str, wishes: Wishes) -> None:
    """Raises OwnerError for a local preview of another checkout or user, before anything is noted
    of it."""
    if cloud == "local" and not wishes.take_over:
        owner.refuse_other(stack, owner.Owner.here(ROOT))


def _is_vacant(found: Known) -> bool:
    """Whether it is a slot that this branch is the next one to have."""
    return bool(found.entry and found.entry.is_vacant)


def _is_later(
    found: Known,
    wanted: Wanted,
    began: datetime,
    repository: Checkout,
) -> bool:
    """Whether another run has put a commit of this branch there, since this one began, that
    contains ours; a line says so."""
    if found.entry is None or found.note or _is_vacant(found):
        return False
    there = str(found.entry.noted.get("commit") or "")
    at = lifetime.parsed(found.entry.updated)
    if not there or at is None or there == wanted.commit or at < began.replace(microsecond=0):
        return False
    is_later = repository.is_ancestor(wanted.commit, there)
    if is_later:
        report.line(f"{found.branch} is up at a later commit, {there[:12]}, already")
    return is_later


# -------------------------------------------------------------------------------------- which stack


@contextmanager
def _place(
    records: RunRecords,
    usual: Settings,
    read: Template,
    wishes: Wishes,
) -> Iterator[Known]:
    """The branch's preview as it was, held; from here it has a note that it is under way. Raises
    FullError where there is no place for it, UnreadableError, BusyError, and OwnerError for another
    checkout's."""
    wait_s = wishes.wait_s
    while True:
        stack = _reserved(records, usual, wait_s)
        with records.held(stack, wait_s, lambda text: report.step("preview", text)):
            with records.choosing(wait_s):
                now = known(usual.cloud)
                mine = _chosen(now, usual) == stack
                found = of_branch(now, stack) or Known(stack)
                if mine:
                    refuse_unreadable(found.entry)
                    if not _is_vacant(found):
                        refuse_other_owner(usual.cloud, stack, wishes)
                    answering = {*attached.environments_of(found, read), usual.attach_to} - {""}
                    records.begin(stack, usual.branch, "up", ROOT, sorted(answering))
            if mine:
                yield found
                return


def _reserved(records: RunRecords, usual: Settings, wait_s: float) -> str:
    """The stack that the branch has or gets; a free one is noted, so that nobody else takes it."""
    with records.choosing(wait_s):
        now = known(usual.cloud)
        stack = _chosen(now, usual)
        found = of_branch(now, stack)
        if found is None or found.is_vacant:
            records.begin(stack, usual.branch, "up", ROOT)
    return stack


def _chosen(now: list[Known], usual: Settings) -> str:
    living = [one.place for one in now]
    own = previews.name_of(usual.branch)
    return places.choose(usual.branch, own, living, usual.preview_slots, usual.preview_max)
