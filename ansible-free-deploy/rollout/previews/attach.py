"""Have an environment's backend answer exactly the previews that are attached to it now.

It starts from what the hosts of that environment run, and changes nothing but the list of attached
origins: the environment's config and its secrets are not read. A host refuses the change where
another one came first, and then this begins again from what runs then.

    1. each backend host says which contract it runs, which generation that is, and the names of its
       secrets
    2. the stacks say which previews there are
    3. each host compares what it runs with what this checkout would render of the same contract: a
       difference stops here
    4. each host gets the contract with the new list, for the generation of step 1 alone
    5. the stacks are read again: a preview that came or went meanwhile begins at 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.core.contract import Contract, Host
from on_host import protocol
from on_host.certificates.given import CERTIFICATE
from on_host.protocol import DeployOrders, StatusOrders
from rollout import change, deploy, report
from rollout.change import ChangeError
from rollout.previews import registry
from rollout.previews.permitted import DeniedError, permitted
from rollout.previews.registry import Live
from rollout.previews.running import (
    AttachError,
    Running,
    is_overtaken,
    on_backends,
    running_of,
)
from rollout.render import render

TRIES = 20  # each lost one is another change of the same environment that came first
_OLDER = "generations/"


@dataclass(frozen=True)
class Attached:
    """What became of the list. `origins` is the new one; `added` and `removed` are those that
    changed, and `refused` those that the environment's own rules deny, each with the reason; by
    the stack's name."""

    environment: str
    origins: Mapping[str, str]
    added: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return bool(self.added or self.removed)

    def __str__(self) -> str:
        parts = [f"now answers {name} ({origin})" for name, origin in self.added.items()]
        parts += [f"no longer answers {name} ({origin})" for name, origin in self.removed.items()]
        return f"{self.environment} {', '.join(parts) or 'answers the same previews as before'}"


def attach(
    environment: str,
    *,
    needed: str = "",
    leaving: frozenset[str] = frozenset(),
    wait_s: int = deploy.WAIT_S,
) -> Attached:
    """Have the environment's backend answer the live previews that are attached to it, without
    those that are `leaving`; a preview that is `needed` has to be among them.

    Raises DeniedError where a preview that is needed may not attach, AttachError where the list
    can't be changed now, ChangeError where a host failed, OutputsError as `hosts_of` does.
    """
    first: Running | None = None
    for _ in range(TRIES):
        running = running_of(environment, wait_s=wait_s)
        first = first or running
        found = _found(running, registry.live(environment), leaving)
        wanted, refused = permitted(running.contract, found)
        _refuse_missing(running.contract, needed, found, refused)
        if wanted.attached != running.attached:
            if not _deploy(running, wanted, wait_s):
                report.step(environment, "another change came first; starts again from it")
                continue
            if _found(running, registry.live(environment), leaving) != found:
                continue
        return _difference(environment, first.attached, wanted.attached, refused)
    raise AttachError(
        f"{environment} was changed by others {TRIES} times in the meantime; its list of previews"
        " is unchanged",
        cure="run this again",
    )


def _found(running: Running, live: Live, leaving: frozenset[str]) -> dict[str, str]:
    """The origins to answer, by the stack's name. A preview whose state can't be read stays what it
    was: nobody knows that it is gone."""
    kept = {name: text for name, text in running.attached.items() if name in live.unknown}
    found = {**kept, **live.origins}
    return {name: text for name, text in found.items() if name not in leaving}


def _refuse_missing(
    contract: Contract,
    needed: str,
    found: Mapping[str, str],
    refused: Mapping[str, str],
) -> None:
    """Raise DeniedError where the preview that is needed would not be answered."""
    if not needed:
        return
    if needed in refused:
        raise DeniedError(
            f"{needed} can't be attached to {contract.environment}: {refused[needed]}"
        )
    if needed not in found:
        raise DeniedError(
            f"no stack says that {needed} is attached to {contract.environment}",
            cure=f"run `fab up --stack {needed}` first",
        )


def _difference(
    environment: str,
    before: Mapping[str, str],
    now: Mapping[str, str],
    refused: Mapping[str, str],
) -> Attached:
    """What changed since this began, whoever changed it."""
    added = {name: text for name, text in now.items() if before.get(name) != text}
    removed = {name: text for name, text in before.items() if now.get(name) != text}
    return Attached(environment, now, added, removed, refused)


# ------------------------------------------------------------------------------------- the change


def _deploy(running: Running, wanted: Contract, wait_s: int) -> bool:
    """Have the hosts hold `wanted` in the place of what they run; False where another change came
    first. Raises AttachError where that would change more than the list, ChangeError where a host
    failed."""
    if not _still_runs(running):
        return False
    transaction = change.new_transaction()
    together = len(running.contract.backend.hosts) > 1

    def orders(role: str, host: Host) -> DeployOrders:
        names = dict.fromkeys(running.secrets[host.name], "")
        generation = render(wanted, role, host, names)
        return {
            **deploy.orders(wanted, role),
            "deploy": transaction,
            "together": together,
            "wait_s": wait_s,
            "generation": generation.to_json(),
            "keeps_secrets": True,
            "expects": running.generations[host.name],
            "probes": deploy.probes(wanted, role, generation),
        }

    outcomes = on_backends(wanted, protocol.DEPLOY, orders, changes=True)
    _, failures = change.split(outcomes)
    if not failures:
        return True
    if all(map(is_overtaken, failures)):
        return False
    raise ChangeError(failures)


def _still_runs(running: Running) -> bool:
    """Whether the hosts hold that, and nobody is changing it. Raises AttachError where this
    checkout would render it differently: then more would change than the list."""
    contract = running.contract

    def orders(role: str, host: Host) -> StatusOrders:
        names = dict.fromkeys(running.secrets[host.name], "")
        outline = render(contract, role, host, names).outline()
        return {**deploy.orders(contract, role), "outline": outline}

    outcomes = on_backends(contract, protocol.STATUS, orders, changes=False)
    answers, failures = change.split(outcomes)
    if failures:
        raise ChangeError(failures)
    for name, answer in answers:
        if answer["generation"] != running.generations[name] or answer["unfinished"]:
            return False
        differs = [path for path in answer["differs"] if not _is_no_rendering(path)]
        if differs:
            raise AttachError(_differs(contract.environment, name, differs))
    return True


def _is_no_rendering(path: str) -> bool:
    """Whether it differs for another reason than how a contract is rendered: a certificate that is
    not served yet, or secrets of an older generation that a killed run has left."""
    return path == CERTIFICATE or path.startswith(_OLDER)


def _differs(environment: str, name: str, paths: Sequence[str]) -> str:
    named = [path for path in paths if path != "current"]
    shown = f" ({named[0]})" if named else ""
    return (
        f"{name} runs a configuration that this checkout would render differently{shown}: another"
        " version of the kit, or an edit by hand; nothing was changed. Run `fab deploy --stack"
        f" {environment}` from its own checkout first"
    )
