"""Where the contract comes from: a file, a file backend's checkpoint, or the Pulumi CLI; the cheapest that has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra.contract import Contract, ContractError, Json, variables
from infra.local.home import state_dir
from infra.rules import quote

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "origin-kit"


class OutputsError(ValueError):
    """There are no outputs to deploy from; the text says why and the next step."""


def stack_names() -> list[str]:
    """Every stack that has a config file in stacks/."""
    return sorted(path.name.split(".", 1)[1].removesuffix(".yaml") for path in (ROOT / "stacks").glob("Pulumi.*.yaml"))


def chosen_stack(name: str | None) -> str:
    """`name`, else $STACK, else the stack selected in Pulumi, else `local`. Raises OutputsError for an unknown one."""
    stack = name or os.environ.get("STACK") or _selected() or "local"
    if stack not in stack_names():
        raise OutputsError(f"there is no stack {quote(stack)}; stacks/ has {', '.join(stack_names())}")
    return stack


def _selected() -> str | None:
    """What `pulumi stack select` wrote: ~/.pulumi/workspaces/<project>-<sha1 of Pulumi.yaml's path>-workspace.json."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    digest = sha1(str(ROOT / "Pulumi.yaml").encode(), usedforsecurity=False).hexdigest()
    try:
        chosen = json.loads((home / "workspaces" / f"{PROJECT}-{digest}-workspace.json").read_text()).get("stack")
    except (OSError, ValueError):
        return None
    return str(chosen).rsplit("/", 1)[-1] if chosen else None


@dataclass(frozen=True)
class Outputs:
    """What a deploy starts from: the contract, and apart from it the application's secrets by name."""

    contract: Contract
    secret_env: dict[str, str] = field(default_factory=dict, repr=False)


def read(stack: str | None, file: str | None = None) -> Contract:
    """The contract of `stack`. Raises OutputsError where there is none, ContractError where it can't be used."""
    return load(stack, file).contract


def load(stack: str | None, file: str | None = None) -> Outputs:
    """The outputs of `stack` (or of the one that is chosen where none is named), or those in a file.

    A file says itself which stack it is of: one that is named as well has to be the same. Raises as `read` does.
    """
    if file:
        found = _from_file(Path(file))
        if stack and stack != found.contract.environment:
            raise OutputsError(
                f"{file} is the contract of stack {found.contract.environment}, and --stack says {quote(stack)}: "
                "leave --stack out, or name that stack's own file"
            )
        return found
    name = chosen_stack(stack)
    found = _of_stack(name)
    if found.contract.environment != name:
        raise OutputsError(
            f"the state of stack {name} holds the contract of {found.contract.environment}: was it copied or renamed? "
            f"run `fab up --stack {name}`"
        )
    return found


def _of_stack(stack: str) -> Outputs:
    checkpoint = kit_checkpoint(stack)
    if checkpoint.exists():
        return _from_checkpoint(checkpoint, stack)
    if _is_local(stack):
        raise _not_up(stack)
    backend = _backend_url()
    if backend.startswith("file://"):
        base = Path(unquote(urlsplit(backend).path.replace("/~", str(Path.home()), 1)))
        return _from_checkpoint(base / ".pulumi" / "stacks" / PROJECT / f"{stack}.json", stack)
    return _from_cli(stack)


def _from_file(path: Path) -> Outputs:
    try:
        return _of(_load(path))
    except ContractError as problem:
        problem.source(str(path))
        raise


def kit_checkpoint(stack: str) -> Path:
    """The state of a local stack, in the kit's own file backend."""
    return state_dir() / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"


def _is_local(stack: str) -> bool:
    from infra.stackfile import read_config  # YAML, which a deploy of a stack that is up never needs

    return read_config(ROOT, stack).get("cloud") == "local"


def _not_up(stack: str) -> OutputsError:
    return OutputsError(f"stack {stack!r} has no outputs: it is not up; run `fab up --stack {stack}` first")


def _load(path: Path) -> Json:
    try:
        data = json.loads(path.read_text())
    except OSError as problem:
        raise OutputsError(f"{path}: {problem.strerror}; name a file made by `fab outputs > FILE`") from None
    except (ValueError, RecursionError) as problem:
        raise OutputsError(f"{path}: not JSON ({problem}); make it with `fab outputs > FILE`") from None
    if not isinstance(data, dict):
        raise OutputsError(f"{path}: not an object; make it with `fab outputs > FILE`")
    return data


def _of(outputs: Json) -> Outputs:
    """`pulumi stack output --json` has the contract under its name, `fab outputs` is the contract."""
    inner, secrets = outputs.get("contract"), outputs.get("secret_env") or {}
    if secrets == "[secret]":
        raise OutputsError("the file was made without --show-secrets, and this stack has secrets; make it with them")
    contract = Contract.from_json(inner if isinstance(inner, dict) else outputs)
    return Outputs(contract, _secrets(secrets))


def _secrets(given: object) -> dict[str, str]:
    """The secrets by name. Raises ContractError that never quotes a value."""
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise ContractError("secret_env: expected an object of texts by name")
    if found := list(variables("secret_env", given)):
        raise ContractError(found)
    return given


def _from_checkpoint(path: Path, stack: str) -> Outputs:
    if not path.exists():
        raise _not_up(stack)
    outputs = _outputs_in(path)
    if "secret_env" in outputs:
        return _from_cli(stack)  # encrypted here; the CLI has the key
    if "contract" in outputs:
        return _of(outputs)
    raise _not_up(stack)


def _outputs_in(checkpoint: Path) -> Json:
    """The stack's outputs in its state; none where it has none yet."""
    try:
        latest = _load(checkpoint).get("checkpoint", {}).get("latest") or {}
        every = [resource for resource in latest.get("resources") or () if resource["type"] == "pulumi:pulumi:Stack"]
        return dict(every[0].get("outputs") or {}) if every else {}
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        if isinstance(problem, OutputsError):
            raise
        raise OutputsError(f"{checkpoint}: not a state that Pulumi wrote ({problem!r}); see docs/state.md") from None


def _backend_url() -> str:
    if url := os.environ.get("PULUMI_BACKEND_URL"):
        return url
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    try:
        return str(json.loads((home / "credentials.json").read_text()).get("current") or "")
    except (OSError, ValueError):
        return ""


def _from_cli(stack: str) -> Outputs:
    if shutil.which("pulumi") is None:
        raise OutputsError(
            f"stack {stack!r} needs the pulumi CLI to read its outputs, which is not on PATH; "
            "install it (https://www.pulumi.com/docs/install/) or pass --outputs FILE"
        )
    command = ["pulumi", "stack", "output", "--json", "--show-secrets", "--stack", stack, "--non-interactive"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OutputsError(
            f"`{' '.join(command)}` failed: {done.stderr.strip().splitlines()[-1:] or ['no reason given']}"
        )
    try:
        outputs = json.loads(done.stdout)
    except ValueError as problem:
        raise OutputsError(f"`{' '.join(command)}` did not print JSON ({problem}); run it by hand") from None
    if "contract" not in outputs:
        raise _not_up(stack)
    return _of(outputs)


__all__ = ["ContractError", "OutputsError", "chosen_stack", "kit_checkpoint", "read", "stack_names"]


def recorded(stack: str) -> Contract | None:
    """The contract that the stack's state holds, whatever the config says; None where there is none to be read."""
    try:
        return _of_stack(stack).contract
    except (OutputsError, ContractError):
        return None
