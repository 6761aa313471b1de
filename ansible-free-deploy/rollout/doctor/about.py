"""What stands at the top of a report: which stack was asked, when, by which kit, for which
contract."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from rollout import deploy, made_at


@dataclass(frozen=True)
class About:
    """When the doctor asked (`asked_at`), the kit's `version` and the `commit` of its checkout, and
    when the stack's outputs were written (`contract_at`).

    Times are in UTC, RFC 3339. What is not known is empty.
    """

    asked_at: str = ""
    version: str = ""
    commit: str = ""
    contract_at: str = ""


def about_now(stack: str, file: str | None) -> About:
    """What is known now. `file` is the one that the contract was read from, if it was."""
    return About(
        asked_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=_version(),
        commit=deploy.commit() or "",
        contract_at=made_at.outputs_made_at(stack, file),
    )


def _version() -> str:
    try:
        return version("origin-kit")
    except PackageNotFoundError:  # run from a folder that nothing was installed from
        return ""
