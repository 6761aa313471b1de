"""What previews may leave behind without a stack that says so: found by their names, and listed."""

from __future__ import annotations

from infra.core import previews
from infra.core.owner import Owner, owner_of
from infra.core.stackfile import stack_path
from rollout import local_stack
from rollout.previews import template
from rollout.previews.living import known
from rollout.previews.run_records import BusyError, RunRecords
from rollout.stacks import ROOT


def found(cloud: str) -> list[str]:
    """A line for each thing that belongs to a preview that is no more."""
    lines = []
    for stack in _without_a_stack(cloud):
        lines += [f"{stack}: {trace}" for trace in _traces(cloud, stack)]
    return lines


def remove(cloud: str, records: RunRecords) -> list[str]:
    """Remove them; a line for each preview whose rest is gone, or is another checkout's."""
    lines = []
    for stack in _without_a_stack(cloud):
        theirs = owner_of(stack) if cloud == "local" else None
        if theirs and not theirs.is_same(Owner.here(ROOT)):
            lines.append(f"the rest of {stack} stays: it belongs to {theirs}")
            continue
        try:
            with records.held(stack, 0):
                if stack in _living(cloud):
                    continue  # a run that has ended since made it
                if cloud == "local":
                    local_stack.clear(stack)
                template.forget(stack)
                lines.append(f"the rest of {stack} is gone")
        except BusyError:
            lines.append(f"the rest of {stack} stays: a run is changing it now")
    return lines


def _living(cloud: str) -> set[str]:
    return {one.stack for one in known(cloud)}


def _without_a_stack(cloud: str) -> list[str]:
    named = {path.name for path in stack_path(ROOT, "x").parent.glob("Pulumi.preview-*.yaml")}
    stacks = {name.removeprefix("Pulumi.").removesuffix(".yaml") for name in named}
    if cloud == "local":
        stacks |= local_stack.stacks_with_traces(previews.PREFIX)
    return sorted(stacks - _living(cloud))


def _traces(cloud: str, stack: str) -> list[str]:
    lines = local_stack.traces(stack) if cloud == "local" else []
    if template.has(stack):
        lines.append(f"stacks/Pulumi.{stack}.yaml")
    return lines
