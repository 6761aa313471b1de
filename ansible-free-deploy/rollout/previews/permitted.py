"""Which of the previews that ask for it an environment's contract may answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from infra.core import exits, previews
from infra.core.contract import Contract
from infra.core.contract_checks import problems
from infra.core.errors import KitError

Origins = Mapping[str, str]  # of pages, by the names of the previews' stacks

_CURE = "set `attachable: true` in its config and deploy it to let previews attach"


class DeniedError(KitError):
    """No preview may attach to this environment, or not this one; nothing was changed."""

    exit_status = exits.USAGE


def refuse_closed(contract: Contract) -> None:
    """Raise DeniedError where no preview may attach to this environment."""
    if not contract.takes_previews:
        raise DeniedError(f"{contract.environment} is production", cure=_CURE)


def permitted(contract: Contract, found: Origins) -> tuple[Contract, dict[str, str]]:
    """The contract with these previews attached, and those that its rules refuse, each with the
    reason. One that is refused keeps none of the others out."""
    alone = previews.attach(contract, {})
    if not contract.takes_previews:
        why = f"{contract.environment} is production: {_CURE}"
        return alone, dict.fromkeys(found, why)
    known = set(problems(alone))
    refused: dict[str, str] = {}
    for name, origin in found.items():
        whole = problems(previews.attach(alone, {name: origin}))
        if new := [text for text in whole if text not in known]:
            refused[name] = new[0]
    taken = {name: origin for name, origin in found.items() if name not in refused}
    return previews.attach(contract, taken), refused
