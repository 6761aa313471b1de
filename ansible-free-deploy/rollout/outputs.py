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

from infra.contract import Contract, ContractError, Json
from infra.local.home import state_dir

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
        raise OutputsError(f"there is no stack {stack!r}; stacks/ has {', '.join(stack_names())}")
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


def read(stack: str, file: str | None = None) -> Contract:
    """The contract of `stack`. Raises OutputsError where there is none, ContractError where it can't be read."""
    return load(stack, file).contract


def load(stack: str, file: str | None = None) -> Outputs:
    """The outputs of `stack`, or those in a file. Raises as `read` does."""
    if file:
        return _of(_load(Path(file)))
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
        data = json.loads(path.read_bytes())
    except OSError as problem:
        raise OutputsError(f"{path}: {problem.strerror}; name a file made by `fab outputs > FILE`") from None
    except ValueError as problem:
        raise OutputsError(f"{path}: not JSON ({problem}); make it with `fab outputs > FILE`") from None
    if not isinstance(data, dict):
        raise OutputsError(f"{path}: not an object; make it with `fab outputs > FILE`")
    return data


def _of(outputs: Json) -> Outputs:
    """`pulumi stack output --json` has the contract under its name, `fab outputs` is the contract."""
    inner, secrets = outputs.get("contract"), outputs.get("secret_env") or {}
    if secrets == "[secret]":
        raise OutputsError("the file was made without --show-secrets, and this stack has secrets; make it with them")
    if not isinstance(secrets, dict):
        raise OutputsError("the output `secret_env` is not a map of NAME: value; run `fab up` or `pulumi up` again")
    return Outputs(Contract.from_json(inner if isinstance(inner, dict) else outputs), secrets)


def _from_checkpoint(path: Path, stack: str) -> Outputs:
    if not path.exists():
        raise _not_up(stack)
    latest = _load(path).get("checkpoint", {}).get("latest") or {}
    for resource in latest.get("resources") or ():
        if resource["type"] == "pulumi:pulumi:Stack":
            outputs = resource.get("outputs") or {}
            if "secret_env" in outputs:
                return _from_cli(stack)  # encrypted here; the CLI has the key
            if "contract" in outputs:
                return _of(outputs)
    raise _not_up(stack)


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
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise OutputsError(
            f"`{' '.join(command)}` failed: {done.stderr.strip().splitlines()[-1:] or ['no reason given']}"
        )
    outputs = json.loads(done.stdout)
    if "contract" not in outputs:
        raise _not_up(stack)
    return _of(outputs)


__all__ = ["ContractError", "OutputsError", "chosen_stack", "kit_checkpoint", "read", "stack_names"]
