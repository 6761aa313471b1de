"""Begin a replacement, continue the one that is under way, or take it back."""

from __future__ import annotations

from dataclasses import replace as changed

from infra.core.serials import Serials
from infra.core.settings import Settings
from rollout import engines, outputs
from rollout.outputs import Outputs
from rollout.replace.config import serials_of
from rollout.replace.limits import ReplaceError
from rollout.replace.replacement import Replacement
from rollout.replace.store import Journal, Store


def replace(
    name: str,
    settings: Settings,
    engine: str | None,
    *,
    yes: bool = False,
    abort: bool = False,
    keep_copy: bool = False,
) -> str:
    """Replace the machine of a host, or take that back; what was done, for a person.

    Raises ReplaceError before anything is done; whatever a step raises after what it has said about
    the two machines.
    """
    chosen = engines.choose(settings, engine)
    found = outputs.load_to_change(settings.stack)
    roles = {host.name: role for role, host in found.contract.hosts}
    if name not in roles:
        raise ReplaceError(
            f"there is no host {name}; stack {settings.stack} has {', '.join(roles)}"
        )
    store = Store(settings)
    with store.locked():
        journal = journal_of(store, settings, name, keep_copy)
        work = Replacement(name, roles[name], settings, chosen, store, journal)
        _refuse_other_edits(found)
        if abort:
            return work.take_back()
        if journal is None:
            work.begin(found, yes, keep_copy)
        elif serials_of(settings, name) == Serials(journal.old):
            return work.take_back() + f"; run `fab replace {name}` again to replace it"
        return work.go_on()


def journal_of(
    store: Store,
    settings: Settings,
    name: str,
    keep_copy: bool,
) -> Journal | None:
    """The replacement of this host that is under way. The config alone says so where somebody else
    began it."""
    journal = store.read()
    serials = serials_of(settings, name)
    if journal is not None and journal.host == name:
        known = (journal.old, journal.new, None)
        if serials.serves not in known or serials.other not in known:
            # Somebody else has finished it, and begun another one since.
            store.drop(journal)
            store.forget()
            journal = None
    if journal is None:
        if serials.other is None:
            return None
        old, new = sorted((serials.serves, serials.other))
        return store.write(Journal(name, old, new, keep_copy))
    if journal.host != name:
        raise ReplaceError(
            f"{journal.host} is being replaced: run `fab replace {journal.host}` first"
        )
    if keep_copy and not journal.keep_copy:
        return store.write(changed(journal, keep_copy=True))
    return journal


def _refuse_other_edits(found: Outputs) -> None:
    """Whatever else `fab up` has to do is done before, or after: one thing at a time."""
    others = [f"  {change}" for change in found.pending if change.key != "serials"]
    if others:
        stack = found.contract.environment
        lines = "\n".join(others)
        raise ReplaceError(
            f"stacks/Pulumi.{stack}.yaml asks for other infrastructure as well: run `fab up --stack"
            f" {stack}` first, or set these back:\n{lines}"
        )
