"""What a contract and its secrets must hold before any of it becomes nginx, systemd or Python text.

The rules are the contract's own (`infra.core.contract.problems`); one that was put together in
memory is held to them too.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.core import exits
from infra.core.contract import Contract, problems, variables
from infra.core.errors import KitError
from infra.core.variables import LONGEST_TOGETHER, size


class RenderError(KitError):
    """The contract or the secrets can't be rendered; one line each."""

    exit_status = exits.USAGE
    before_cure = "\n"


def demand(contract: Contract, secrets: Mapping[str, str]) -> None:
    """Raise RenderError with everything that must not reach a file."""
    found = [*problems(contract), *variables("secrets", dict(secrets))]
    if not found and _together(contract.application.env, secrets) > LONGEST_TOGETHER:
        found = [
            f"application.env and secrets: more than {LONGEST_TOGETHER >> 20} MiB together; use"
            " files"
        ]
    if found:
        cure = "correct the stack's config, then run `fab up`"
        raise RenderError("\n".join(found), cure=cure)


def _together(*parts: Mapping[str, str]) -> int:
    return sum(size(name, value) for part in parts for name, value in part.items())
