"""The origins of attached previews in the contract of the environment that answers them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.core.contract import Contract


def attach(contract: Contract, found: Mapping[str, str]) -> Contract:
    """The contract of an environment to which exactly these previews are attached: `found` is the
    origin of each page, by the name of its stack.

    An origin that the environment's config lists itself stays the config's: it is never noted as a
    preview's, so no preview's end takes it away.
    """
    before = set(contract.attached.values())
    own = [origin for origin in contract.cors.allowed_origins if origin not in before]
    attached = {name: found[name] for name in sorted(found) if found[name] not in own}
    allowed = tuple(dict.fromkeys([*own, *attached.values()]))
    return replace(
        contract,
        attached=attached,
        cors=replace(contract.cors, allowed_origins=allowed),
    )
