"""After the environment's own verbs have changed its hosts: previews that came or went meanwhile,
and those that a rollback has brought back."""

from __future__ import annotations

from on_host import protocol
from rollout import deploy
from rollout.outputs import Outputs
from rollout.previews import registry, words
from rollout.previews.attach import Attached, attach
from rollout.previews.permitted import permitted


def settle(found: Outputs, *, wait_s: int = deploy.WAIT_S) -> Attached | None:
    """Have the environment answer the previews that there are now, where those are others than
    `found` was deployed with; None where they are the same. Raises as `attach` does."""
    contract = found.contract
    if not contract.takes_previews:
        return None
    now, _ = permitted(contract, registry.live(contract.environment).origins)
    if now.attached == contract.attached:
        return None
    return attach(contract.environment, wait_s=wait_s)


def brought_back(found: Outputs) -> list[str]:
    """A line for each preview that is gone and that the backend hosts answer all the same."""
    contract = found.contract
    if not contract.takes_previews:
        return []
    live = registry.live(contract.environment)
    lines: list[str] = []
    for outcome in deploy.run_on_all_hosts(found, protocol.RUNNING, only="backend"):
        runs = outcome.result["contract"] or {}
        gone = live.gone(runs.get("attached", {}))
        lines += [words.gone(name, origin) for name, origin in gone.items()]
    return list(dict.fromkeys(lines))
