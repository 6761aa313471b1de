"""Where the contract comes from: hosts from the outputs, what is wanted of them from the config; or
all from a file.

Outputs are read from a file backend's checkpoint or asked of the Pulumi CLI, whatever is cheaper.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra.core import backend, exits, wanted
from infra.core.contract import Contract, ContractError, Host, Json
from infra.core.contract_checks import variables
from infra.core.home import tighten
from infra.core.keys import SECRETS
from infra.core.owner import Owner, owner_of, take
from infra.core.rules import quote
from infra.core.settings import SettingsError
from infra.core.topology import ROLES
from rollout import pulumi_cli
from rollout.stacks import PROJECT, ROOT, chosen_stack
from rollout.state_files import (
    OutputsError,
    checkpoint_of,
    is_local,
    kit_checkpoint,
    kit_has,
    not_up,
    outputs_in,
    read_object,
)

_LEAVES = "its removal has begun; finish it with `fab preview.down --branch {}`"


@dataclass(frozen=True)
class Outputs:
    """What a deploy starts from: the contract, and apart from it the application's secrets by name.

    `infrastructure` is what the hosts were made from (see infra/core/wanted.py), `pending` the keys
    of the config that need other infrastructure, `made_from` what each role's release should be
    made from (nothing where no config was read), `problem` why the config can't be used where that
    was asked for. `standby` is the machine that will serve as a host, by the host's name, while
    that is replaced. `unanswered` are previews that are not attached though they ask for it, or may
    do so, each with the reason.
    """

    contract: Contract
    secret_env: dict[str, str] = field(default_factory=dict, repr=False)
    infrastructure: Json = field(default_factory=dict)
    pending: tuple[wanted.Pending, ...] = ()
    made_from: Mapping[str, Json] = field(default_factory=dict)
    problem: str = ""
    standby: dict[str, Host] = field(default_factory=dict)
    unanswered: Mapping[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What a person has to know of these outputs, a line each."""
        lines = [self.problem] if self.problem else []
        cure = f"run `fab up --stack {self.contract.environment}`"
        for change in self.pending:
            lines.append(f"{change}: needs other infrastructure: {cure}")
        for name, why in self.unanswered.items():
            lines.append(f"the preview {name} is not attached: {why}")
        return lines


def read(stack: str | None, file: str | None = None) -> Contract:
    """The contract of `stack`. Raises OutputsError where there is none, ContractError where it
    can't be used."""
    return load(stack, file).contract


def load(
    stack: str | None,
    file: str | None = None,
    strict: bool = True,
) -> Outputs:
    """What is wanted of the hosts of `stack` (or of the stack that is chosen where none is named):
    the hosts come from its outputs, the rest from its config. A file says itself which stack it is
    of, and all comes from it.

    Raises as `read` does; SettingsError and StackFileError for a config with mistakes, unless not
    `strict`: then the outputs count as they are, and `problem` says so.
    """
    if file:
        found = _from_file(Path(file))
        if stack and stack != found.contract.environment:
            raise OutputsError(
                f"{file} is the contract of stack {found.contract.environment}, and --stack says"
                f" {quote(stack)}: leave --stack out, or name that stack's own file"
            )
        return found
    name = chosen_stack(stack)
    found = _of_stack(name)
    if found.contract.environment != name:
        backend.refuse_renamed(name)
        raise OutputsError(
            f"the state of stack {name} holds the contract of {found.contract.environment}: was it"
            f" copied or renamed? run `fab up --stack {name}`"
        )
    return _wanted(found, name, strict)


def ready(found: Outputs) -> Outputs:
    """The same outputs. Raises OutputsError where the config needs other infrastructure than there
    is."""
    if not found.pending:
        return found
    stack = found.contract.environment
    changes = "\n".join(f"  {change}" for change in found.pending)
    raise OutputsError(
        f"stacks/Pulumi.{stack}.yaml needs other infrastructure: run `fab up --stack {stack}`;"
        f" nothing was changed\n{changes}"
    )


def _wanted(found: Outputs, stack: str, strict: bool) -> Outputs:
    # YAML: what reads its outputs from a file never needs it.
    from infra.core.stackfile import StackFileError
    from rollout import settings

    try:
        config = settings.read(stack)
    except (SettingsError, StackFileError) as problem:
        if strict:
            raise
        return replace(found, problem=f"{problem}\nfor now the outputs of the last `fab up` count")
    there = wanted.applied(found.contract, found.infrastructure)
    waits = wanted.pending(config, there)
    asked = wanted.contract(config, found.contract, there, waits)
    contract, unanswered = _with_previews(asked)
    secret_env = found.secret_env if config.cloud == "local" else _secrets_in_config(stack)
    made_from = {role: wanted.made_from(config, role) for role in ROLES}
    return replace(
        found,
        contract=contract,
        pending=waits,
        made_from=made_from,
        secret_env=secret_env,
        unanswered=unanswered,
    )


def _with_previews(contract: Contract) -> tuple[Contract, dict[str, str]]:
    """The contract with the origins of the live previews that are attached to this environment, and
    those that are not answered, each with the reason."""
    if not contract.takes_previews:
        return contract, {}
    from rollout.previews import registry
    from rollout.previews.permitted import permitted

    live = registry.live(contract.environment)
    attached, refused = permitted(contract, live.origins)
    leaves = {name: _LEAVES.format(name) for name in sorted(live.going)}
    return attached, {**live.unknown, **refused, **leaves}


def _secrets_in_config(stack: str) -> dict[str, str]:
    """The secrets that the stack's config holds now, by name: those in the outputs are from the
    last `pulumi up`. Those of HTTPS have names of their own."""
    from infra.core.stackfile import stack_values

    if not any(_secret_of(key) for key in stack_values(ROOT, stack)):
        return {}
    values = {}
    for key, entry in _ask_cli("config", stack=stack).items():
        name = _secret_of(key)
        if name:
            values[name] = entry["value"]
    return _secrets(values)


def _secret_of(key: str) -> str:
    """The name of the secret that a key of the config holds; empty for any other key."""
    name = key.removeprefix(f"{PROJECT}:")
    if name.startswith("env."):
        return name.removeprefix("env.")
    return name if name in SECRETS else ""


def _of_stack(stack: str) -> Outputs:
    if kit_has(stack):
        tighten()
        found = _from_checkpoint(kit_checkpoint(stack), stack)
        return replace(found, infrastructure={"cloud": "local", **found.infrastructure})
    if is_local(stack):
        raise not_up(stack)
    checkpoint = checkpoint_of(stack)
    if checkpoint:
        return _from_checkpoint(checkpoint, stack)
    return _from_cli(stack)


def _from_file(path: Path) -> Outputs:
    try:
        return _of(read_object(path), recorded=False)
    except ContractError as problem:
        problem.where = str(path)
        raise


def load_to_change(
    stack: str | None,
    file: str | None = None,
    strict: bool = True,
) -> Outputs:
    """As `load`, for a verb that changes hosts. Raises OwnerError for a local stack of another
    checkout or user."""
    found = load(stack, file, strict)
    name = found.contract.environment
    if file is None and kit_has(name):
        take(name, Owner.here(ROOT))
    return found


def whose(named: str | None, file: str | None = None) -> str:
    """A line that says whose a local stack is; empty for any other, or an environment read from a
    file."""
    if file is not None:
        return ""
    stack = chosen_stack(named)
    theirs = owner_of(stack) if kit_has(stack) else None
    if theirs is None:
        return ""
    mine = Owner.here(ROOT)
    if theirs.is_same(mine):
        return f"stack {stack} of {theirs}"
    return f"stack {stack} of {theirs}: NOT of this checkout ({mine}); what follows is about theirs"


def _of(outputs: Json, recorded: bool = True) -> Outputs:
    """`pulumi stack output --json` has the contract under its name, `fab outputs` is the
    contract. `recorded`: it says what there is; what is wanted comes from the config."""
    secrets = outputs.get("secret_env") or {}
    of_https = outputs.get("secret_https") or {}
    if "[secret]" in (secrets, of_https):
        raise OutputsError(
            "the file was made without --show-secrets, and this stack has secrets",
            cure="make it with them",
        )
    inner = outputs.get("contract")
    if not isinstance(inner, dict):
        inner = outputs
    infrastructure = outputs.get("infrastructure")
    if not isinstance(infrastructure, dict):
        infrastructure = {}
    return Outputs(
        contract=Contract.from_json(inner, recorded),
        secret_env={**_secrets(secrets), **_secrets(of_https)},
        infrastructure=infrastructure,
        standby=_standby(outputs.get("standby") or {}),
    )


def _standby(given: object) -> dict[str, Host]:
    """The machines that will serve as hosts, by the hosts' names. Raises ContractError."""
    if not isinstance(given, dict):
        raise ContractError("standby: expected an object of hosts by name")
    return {name: Host.from_json(f"standby.{name}", host) for name, host in given.items()}


def _secrets(given: object) -> dict[str, str]:
    """The secrets by name. Raises ContractError that never quotes a value."""
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise ContractError("secret_env: expected an object of texts by name")
    if found := list(variables("secret_env", given)):
        raise ContractError(found)
    return given


def _from_checkpoint(path: Path, stack: str) -> Outputs:
    if not path.exists():
        raise not_up(stack)
    outputs = outputs_in(path)
    if "secret_env" in outputs or "secret_https" in outputs:
        return _from_cli(stack)  # encrypted here; the CLI has the key
    if "contract" in outputs:
        return _of(outputs)
    raise not_up(stack)


def _from_cli(stack: str) -> Outputs:
    outputs = _ask_cli("stack", "output", stack=stack)
    if "contract" not in outputs:
        raise not_up(stack)
    return _of(outputs)


def _ask_cli(*words: str, stack: str) -> Json:
    """What `pulumi WORDS` says of the stack, secrets decrypted. Raises OutputsError where it
    can't."""
    if not pulumi_cli.is_installed():
        raise OutputsError(
            f"stack {stack!r} needs the pulumi CLI to read its outputs and secrets, which is not on"
            " PATH",
            cure=f"install it ({pulumi_cli.INSTALL}) or pass --outputs FILE",
            exit_status=exits.UNREACHABLE,
        )
    done = pulumi_cli.run(*words, "--json", "--show-secrets", "--stack", stack)
    if done.returncode and "no stack named" in done.stderr:
        raise not_up(stack)
    if done.returncode:
        raise OutputsError(pulumi_cli.failure(done), exit_status=exits.UNREACHABLE)
    try:
        return dict(json.loads(done.stdout))
    except (ValueError, TypeError) as problem:
        raise OutputsError(
            f"`{' '.join(done.args)}` did not print JSON ({problem})",
            cure="run it by hand",
            exit_status=exits.UNREACHABLE,
        ) from None


def recorded_here(stack: str) -> Contract | None:
    """The same from a file alone, where the state is one on this machine: nothing is asked. Raises
    OutputsError and ContractError for one that can't be read."""
    checkpoint = checkpoint_of(stack)
    if checkpoint is None or not checkpoint.exists():
        return None
    contract = outputs_in(checkpoint).get("contract")
    return Contract.from_json(contract, recorded=True) if contract else None


def recorded(stack: str) -> Contract | None:
    """The contract that the stack's state holds, whatever the config says; None where there is none
    to be read."""
    try:
        return _of_stack(stack).contract
    except (OutputsError, ContractError):
        return None
