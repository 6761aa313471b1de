"""What a contract and its secrets must hold before any of it becomes nginx, systemd or Python text.

The rules are the contract's own (`infra.core.contract_checks.problems`); one that was put together
in memory is held to them too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.core import exits
from infra.core.contract import Contract
from infra.core.contract_checks import problems, variables
from infra.core.errors import KitError
from infra.core.variables import LONGEST_TOGETHER, size
from rollout.render.frontend import policy

LONGEST_POLICY = 4000  # nginx reads 4096 bytes between two quotes


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
    found = found or list(_policy(contract))
    if found:
        cure = "correct the stack's config, then run `fab up`"
        raise RenderError("\n".join(found), cure=cure)


def _policy(contract: Contract) -> Iterator[str]:
    """The page's policy, where its parts are too long together."""
    length = len(policy(contract))
    if length > LONGEST_POLICY:
        yield (
            f"page: the Content-Security-Policy has {length} characters, nginx reads"
            f" {LONGEST_POLICY}; shorten csp, or list fewer in connect_src, frame_ancestors and"
            " backend_aliases"
        )


def _together(*parts: Mapping[str, str]) -> int:
    return sum(size(name, value) for part in parts for name, value in part.items())
