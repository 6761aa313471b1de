"""Where the hosts of an environment are: from its recorded outputs, without its config and its
secrets."""

from __future__ import annotations

from pathlib import Path

from infra.core.contract import Contract, Json
from rollout import pulumi_cli, state_files
from rollout.previews import registry
from rollout.previews.registry import RegistryError
from rollout.stacks import backend_url
from rollout.state_files import NotUpError

# How the CLI refuses without a terminal where nobody has logged in.
_NOT_LOGGED_IN = "PULUMI_ACCESS_TOKEN must be set"


def hosts_of(environment: str) -> Contract:
    """The contract that the environment's state holds: what counts of it are the hosts.

    Raises NotUpError where there is none, OutputsError where the state can't be read, ContractError
    for an invalid one.
    """
    found = _outputs(environment)
    if "contract" not in found:
        raise _not_up(environment)
    return Contract.from_json(found["contract"], recorded=True)


def _outputs(environment: str) -> Json:
    """The outputs in the environment's state, those that are secret as they are kept there."""
    path = _checkpoint(environment)
    if path is None:
        return _of_the_cli(environment)
    if not path.exists():
        raise _not_up(environment)
    return state_files.outputs_in(path)


def _of_the_cli(environment: str) -> Json:
    """The same from the CLI, where it can be asked."""
    if not backend_url() and not pulumi_cli.is_installed():
        raise _not_up(environment)
    try:
        return registry.outputs_of(environment)
    except RegistryError as problem:
        if "no stack named" in str(problem):
            raise _not_up(environment) from None
        if _NOT_LOGGED_IN in str(problem):
            raise _not_up(
                environment, " on this machine, and the Pulumi CLI is not logged in"
            ) from None
        raise


def _checkpoint(environment: str) -> Path | None:
    """The state's file; None where only the CLI can read it."""
    if state_files.kit_has(environment):
        return state_files.kit_checkpoint(environment)
    path = state_files.checkpoint_of(environment)
    if path and path.with_suffix(".json.gz").exists():
        return None
    return path


def _not_up(environment: str, where: str = "") -> NotUpError:
    cure = f"run `fab up --stack {environment}` from its own checkout"
    if where:
        cure += ", or `pulumi login` where its state is"
    return NotUpError(
        f"it is not up{where}, so that nothing can be attached to it",
        where=f"environment {environment}",
        cure=cure,
    )
