"""`fab preview.down`: the preview's origin is refused first, then everything of it goes, its stack
last."""

from __future__ import annotations

from dataclasses import dataclass

from infra.core import exits, previews
from infra.core.errors import KitError
from infra.core.settings import Settings
from rollout import local_stack, report
from rollout.previews import attached, making, slots, template
from rollout.previews.living import Known, known, of_branch
from rollout.previews.making import Template
from rollout.previews.run_records import RunRecords
from rollout.previews.up import Wishes, refuse_other_owner, refuse_unreadable
from rollout.stacks import PROJECT, ROOT


class NotAPreviewError(KitError):
    """The stack is called as previews are and has not the mark of one: nothing is removed."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Gone:
    """What `down` has done: `was_there` says whether there was anything; `slot` is the stack of a
    slot that stays for the next branch."""

    name: str
    was_there: bool
    slot: str = ""

    def __str__(self) -> str:
        if not self.was_there:
            vacant = f"{self.slot} is vacant already; --destroy removes its machines"
            return vacant if self.slot else f"there is no preview of {self.name}"
        stays = f"; {self.slot} stays for the next branch" if self.slot else ""
        return f"the preview of {self.name} is gone{stays}"


def down(wishes: Wishes) -> Gone:
    """Take down the preview of a branch, whatever state it is in; run again, it goes on where it
    was interrupted. A branch may be named by its preview.

    Raises BranchError, UnreadableError, NotAPreviewError, BusyError, OwnerError for another
    checkout's, and what removing and deregistering raise.
    """
    read = Template.read()
    branch = wishes.branch or making.checkout(read).chosen(None)
    stack = _stack(read, branch)
    if not stack:
        return Gone(branch, False)
    records = RunRecords.of(read.cloud)
    with records.held(stack, wishes.wait_s, lambda text: report.step("preview", text)):
        found = of_branch(known(read.cloud), stack) or Known(stack)
        if found.is_vacant and not wishes.destroy:
            return Gone(branch, was_there=False, slot=stack)
        gone = remove(found, branch, records, read, wishes)
    if read.cloud == "local":
        local_stack.leave_unused()
    return gone


def _stack(read: Template, branch: str) -> str:
    """The preview's stack; empty where nothing of it is anywhere."""
    found = of_branch(known(read.cloud), branch)
    if found:
        return found.stack
    try:
        own = branch if previews.is_preview(branch) else previews.name_of(branch)
    except ValueError:
        return ""  # no preview can have this name
    template.forget(own)
    if read.cloud == "local" and local_stack.traces(own):
        return own
    return ""


def remove(
    found: Known,
    branch: str,
    records: RunRecords,
    read: Template,
    wishes: Wishes,
) -> Gone:
    """Remove a preview that is held by this run; what became of it. A sweep does the same for
    several at a time (`removing`)."""
    stack, environments = found.stack, attached.environments_of(found, read)
    only = frozenset([stack])
    settings = begin(found, branch, records, read, wishes)
    for environment in environments:
        attached.deregister(environment, only, wishes.wait_s)
    kept, removed = leave(found, settings, read, wishes)
    # Whoever read the stacks before it went may have written it into the list again.
    for environment in environments:
        attached.deregister(environment, only, wishes.wait_s)
    end(stack, records)
    was_there = kept or removed or found.entry is not None or found.note is not None
    return Gone(branch, was_there, stack if kept else "")


def begin(
    found: Known,
    branch: str,
    records: RunRecords,
    read: Template,
    wishes: Wishes,
) -> Settings:
    """Refuse what is not to be removed, else note that it goes; what `destroy` needs of it."""
    stack = found.stack
    refuse_unreadable(found.entry)
    refuse_other(found, read)
    refuse_other_owner(read.cloud, stack, wishes)
    settings = slots.removed_as(found, read, branch)
    environments = attached.environments_of(found, read)
    records.begin(stack, settings.branch, "down", ROOT, environments)
    if settings.cloud == "local":
        local_stack.wait_until_free(stack, wishes.wait_s)
    return settings


def leave(found: Known, settings: Settings, read: Template, wishes: Wishes) -> tuple[bool, bool]:
    """Have the branch leave: a slot is emptied and stays, unless it is to be destroyed, and all
    else is removed. Whether it stays, and whether there was anything to remove."""
    if slots.stays(found, read) and not wishes.destroy:
        kept = slots.vacate(found, read, wishes.engine, wishes.take_over, wishes.wait_s)
        if kept:
            return True, False
    return False, slots.destroy(settings, wishes.engine, wishes.take_over)


def end(stack: str, records: RunRecords) -> None:
    """Nothing of the branch is left: its config and its note go."""
    template.forget(stack)
    records.end(stack)


def refuse_other(found: Known, read: Template) -> None:
    """Raises NotAPreviewError for what is called as a preview is, and is none of this project's."""
    contract = found.entry.contract if found.entry else None
    if contract is None:
        return
    application = read.config.get("application")
    if contract.kind != "preview" or not contract.branch or contract.production:
        why = "it is not a preview"
    elif contract.environment != found.stack or contract.project != PROJECT:
        why = f"its state belongs to {contract.environment} of project {contract.project}"
    elif contract.application.name != application:
        why = f"it belongs to the application {contract.application.name}"
    elif not _is_name_of(found.stack, contract.branch):
        why = f"that is not the name of a preview of {contract.branch}"
    else:
        return
    raise NotAPreviewError(f"{found.stack} was not removed: {why}")


def _is_name_of(stack: str, branch: str) -> bool:
    return bool(previews.slot_of(stack)) or stack == previews.name_of(branch)
