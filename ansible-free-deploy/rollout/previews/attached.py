"""The environments that previews are attached to, as the verbs of previews see them: which ones
they are, which dead previews they list, and what to do where one is not up."""

from __future__ import annotations

from collections.abc import Iterable

from rollout import report
from rollout.previews import registry
from rollout.previews.attach import Attached, attach
from rollout.previews.living import Known
from rollout.previews.making import Template
from rollout.previews.running import running_of
from rollout.state_files import NotUpError


def environments_of(found: Known, read: Template) -> list[str]:
    """The environments whose backends may answer a preview; none for one with its own. It is more
    than one where the template's `attach_to` has changed and a run was interrupted. Where nothing
    is left that says it, the template does."""
    names = set(found.note.environments) if found.note else set()
    recorded = _recorded(found)
    if recorded is None and not names:
        names.add(read.attaches_to)
    names.add(recorded or "")
    return sorted(filter(None, names))


def _recorded(found: Known) -> str | None:
    """The environment that the preview's stack is attached to; empty for one with a backend of its
    own, None where the stack does not say."""
    entry = found.entry
    if entry and entry.contract:
        return entry.contract.attached_to or ""
    if entry and entry.noted:
        return str(entry.noted.get("attach_to") or "")
    return None


def deregister(environment: str, stacks: frozenset[str], wait_s: float) -> None:
    """Have the environment no longer answer these previews, all by one deploy, and say what
    changed. One that is not up answers nobody."""
    try:
        done = attach(environment, leaving=stacks, wait_s=int(wait_s))
    except NotUpError:
        whom = "it was" if len(stacks) == 1 else "they were"
        report.step("preview", f"{environment}, which {whom} attached to, is not up")
        return
    if done.changed:
        report.step("preview", str(done))


def environments(found: Iterable[Known], read: Template) -> list[str]:
    """Every environment that a preview is attached to, and the one of the template, each once."""
    names = {name for one in found for name in environments_of(one, read)}
    return sorted(filter(None, names | {read.attaches_to}))


def dead(environment: str) -> dict[str, str]:
    """Name and origin of each preview that the environment answers and that is gone; none where it
    is not up. Raises as `running_of` does."""
    try:
        running = running_of(environment)
    except NotUpError:
        return {}
    return registry.live(environment).gone(running.attached)


def mend(environment: str, wait_s: float, leaving: frozenset[str]) -> Attached | None:
    """Have the environment answer the live previews alone, without those that are `leaving`; None
    where it is not up. Raises as `attach` does."""
    try:
        return attach(environment, leaving=leaving, wait_s=int(wait_s))
    except NotUpError:
        return None
