"""Contracts of previews, from those of environments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from infra.core.contract import Contract, Preview
from infra.core.previews import name_of

BRANCH = "feature/x"
PREVIEW = name_of(BRANCH)


def preview_of(contract: Contract, allowed_from: tuple[str, ...] = (), **changes: Any) -> Contract:
    """The same as the contract of a preview."""
    return replace(
        contract,
        environment=PREVIEW,
        kind="preview",
        production=False,
        branch=BRANCH,
        preview=Preview(allowed_from=allowed_from),
        **changes,
    )
