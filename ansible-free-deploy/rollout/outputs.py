"""Where the contract comes from: hosts from the outputs, what is wanted of them from the config; or
all from a file.

Outputs are read from a file backend's checkpoint or asked of the Pulumi CLI, whatever is cheaper.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha1
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra.core import backend, exits, wanted
from infra.core.contract import Contract, ContractError, Host, Json, variables
from infra.core.errors import KitError
from infra.core.home import home, state_dir, tighten, user_name
from infra.core.owner import Owner, owner_of, take
from infra.core.rules import quote
from infra.core.settings import SettingsError
from infra.core.topology import ROLES

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "origin-kit"


class OutputsError(KitError):
    """There are no outputs to deploy from; the text says why and the next step."""

    exit_status = exits.USAGE


class NotUpError(OutputsError):
    """The stack is known, and nothing of it has been made."""

    exit_status = exits.WRONG


def stack_names() -> list[str]:
    """Every stack that has a config file in stacks/."""
    return sorted(
        path.name.split(".", 1)[1].removesuffix(".yaml")
        for path in (ROOT / "stacks").glob("Pulumi.*.yaml")
    )


@dataclass(frozen=True)
class Choice:
    """A stack, and what has chosen it."""

    name: str
    source: str

    def __str__(self) -> str:
        return f"stack {self.name} ({self.source})"


def choose(name: str | None) -> Choice:
    """`name`, else $STACK, else what Pulumi would take ($PULUMI_STACK, then the selected stack),
    else `local`.

    Raises OutputsError for an unknown one, which names who has chosen it.
    """
    chosen = next(choice for choice in _choices(name) if choice.name)
    if chosen.name not in stack_names():
        whose = "" if name else f" ({chosen.source})"
        raise OutputsError(
            f"there is no stack {quote(chosen.name)}{whose}; stacks/ has {', '.join(stack_names())}"
        )
    return chosen


def chosen_stack(name: str | None) -> str:
    """The name of the stack that `choose` chooses."""
    return choose(name).name


def _choices(name: str | None) -> Iterator[Choice]:
    yield Choice(name or "", "--stack")
    yield Choice(os.environ.get("STACK", ""), "$STACK")
    yield Choice(os.environ.get("PULUMI_STACK", "").rsplit("/", 1)[-1], "$PULUMI_STACK")
    yield Choice(_selected(), "selected in Pulumi")
    yield Choice("local", "the default")


def _selected() -> str:
    """What `pulumi stack select` wrote for the backend of now; empty where it wrote nothing."""
    for folder in _project_folders():
        project_file = str(folder / "Pulumi.yaml").encode()
        name = f"{PROJECT}-{sha1(project_file, usedforsecurity=False).hexdigest()}"
        try:
            workspace = json.loads(
                (_pulumi_home() / "workspaces" / f"{name}-workspace.json").read_text()
            )
            by_backend = workspace.get("stacks") or {}
            chosen = by_backend.get(_backend_url()) or workspace.get(
                "stack"
            )  # the second is what older CLIs wrote
        except (OSError, ValueError, AttributeError):
            continue
        if chosen:
            return str(chosen).rsplit("/", 1)[-1]
    return ""


def _project_folders() -> Iterator[Path]:
    """Where this checkout is, first as the shell names it: Pulumi doesn't resolve links in the
    names of its files."""
    here = Path(os.environ.get("PWD", "/"))
    yield from (folder for folder in (here, *here.parents) if folder != ROOT and _is_root(folder))
    yield ROOT


def _is_root(folder: Path) -> bool:
    try:
        return folder.is_absolute() and folder.samefile(ROOT)
    except OSError:
        return False


def _pulumi_home() -> Path:
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


@dataclass(frozen=True)
class Outputs:
    """What a deploy starts from: the contract, and apart from it the application's secrets by name.

    `infrastructure` is what the hosts were made from (see infra/core/wanted.py), `pending` the keys
    of the config that need other infrastructure, `made_from` what each role's release should be
    made from (nothing where no config was read), `problem` why the config can't be used where that
    was asked for. `standby` is the machine that will serve as a host, by the host's name, while
    that is replaced.
    """

    contract: Contract
    secret_env: dict[str, str] = field(default_factory=dict, repr=False)
    infrastructure: Json = field(default_factory=dict)
    pending: tuple[wanted.Pending, ...] = ()
    made_from: Mapping[str, Json] = field(default_factory=dict)
    problem: str = ""
    standby: dict[str, Host] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What a person has to know of these outputs, a line each."""
        stack = self.contract.environment
        waits = [
            f"{one}: needs other infrastructure: run `fab up --stack {stack}`"
            for one in self.pending
        ]
        return [self.problem, *waits] if self.problem else waits


def read(stack: str | None, file: str | None = None) -> Contract:
    """The contract of `stack`. Raises OutputsError where there is none, ContractError where it
    can't be used."""
    return load(stack, file).contract


def load(stack: str | None, file: str | None = None, strict: bool = True) -> Outputs:
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
    raise OutputsError(
        f"stacks/Pulumi.{stack}.yaml needs other infrastructure: run `fab up --stack {stack}`;"
        " nothing was changed\n" + "\n".join(f"  {one}" for one in found.pending)
    )


def _wanted(found: Outputs, stack: str, strict: bool) -> Outputs:
    from infra.core.stackfile import (
        StackFileError,
    )  # YAML: what reads its outputs from a file never needs it
    from rollout import settings

    try:
        config = settings.read(stack)
    except (SettingsError, StackFileError) as problem:
        if strict:
            raise
        return replace(found, problem=f"{problem}\nfor now the outputs of the last `fab up` count")
    there = wanted.applied(found.contract, found.infrastructure)
    waits = wanted.pending(config, there)
    contract = wanted.contract(config, found.contract, there, waits)
    secret_env = found.secret_env if config.cloud == "local" else _secrets_in_config(stack)
    made_from = {role: wanted.made_from(config, role) for role in ROLES}
    return replace(
        found, contract=contract, pending=waits, made_from=made_from, secret_env=secret_env
    )


def _secrets_in_config(stack: str) -> dict[str, str]:
    """The secrets that the stack's config holds now, by name: those in the outputs are from the
    last `pulumi up`."""
    from infra.core.stackfile import stack_values

    prefix = f"{PROJECT}:"
    names = [key.removeprefix(prefix) for key in stack_values(ROOT, stack)]
    if not any(name.startswith("env.") for name in names):
        return {}
    config = _ask_cli("config", stack=stack)
    start = f"{prefix}env."
    return _secrets(
        {
            key.removeprefix(start): one["value"]
            for key, one in config.items()
            if key.startswith(start)
        }
    )


def _of_stack(stack: str) -> Outputs:
    if kit_has(stack):
        tighten()
        found = _from_checkpoint(kit_checkpoint(stack), stack)
        return replace(found, infrastructure={"cloud": "local", **found.infrastructure})
    if _is_local(stack):
        raise _not_up(stack)
    login = _backend_url()
    if login.startswith("file://"):
        base = Path(unquote(urlsplit(login).path.replace("/~", str(Path.home()), 1)))
        return _from_checkpoint(base / ".pulumi" / "stacks" / PROJECT / f"{stack}.json", stack)
    return _from_cli(stack)


def _from_file(path: Path) -> Outputs:
    try:
        return _of(_load(path))
    except ContractError as problem:
        problem.where = str(path)
        raise


def kit_checkpoint(stack: str) -> Path:
    """The state of a local stack, in the kit's own file backend."""
    return state_dir() / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"


def kit_has(stack: str) -> bool:
    """Whether this is a local stack that is up. Raises OutputsError where it may be, and only root
    can tell."""
    path = kit_checkpoint(stack)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        if _is_local(stack):
            raise OutputsError(
                f"only {user_name(home().stat().st_uid)} can read this folder",
                where=str(home()),
                cure="run this with sudo",
                exit_status=exits.UNREACHABLE,
            ) from None
        return False
    return True


def load_to_change(stack: str | None, file: str | None = None, strict: bool = True) -> Outputs:
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


def _is_local(stack: str) -> bool:
    from infra.core.stackfile import read_config

    return read_config(ROOT, stack).get("cloud") == "local"


def _not_up(stack: str) -> NotUpError:
    return NotUpError(
        "no outputs: the stack is not up",
        where=f"stack {stack!r}",
        cure=f"run `fab up --stack {stack}` first",
    )


def _load(path: Path) -> Json:
    try:
        data = json.loads(path.read_bytes())
    except OSError as problem:
        raise OutputsError(
            f"{path}: {problem.strerror}; name a file made by `fab outputs > FILE`"
        ) from None
    except (ValueError, RecursionError) as problem:
        raise OutputsError(
            f"{path}: not JSON ({problem}); make it with `fab outputs > FILE`"
        ) from None
    if not isinstance(data, dict):
        raise OutputsError(f"{path}: not an object; make it with `fab outputs > FILE`")
    return data


def _of(outputs: Json) -> Outputs:
    """`pulumi stack output --json` has the contract under its name, `fab outputs` is the
    contract."""
    inner, secrets = outputs.get("contract"), outputs.get("secret_env") or {}
    if secrets == "[secret]":
        raise OutputsError(
            "the file was made without --show-secrets, and this stack has secrets; make it with"
            " them"
        )
    contract = Contract.from_json(inner if isinstance(inner, dict) else outputs)
    infrastructure, standby = outputs.get("infrastructure"), outputs.get("standby")
    return Outputs(
        contract,
        _secrets(secrets),
        infrastructure if isinstance(infrastructure, dict) else {},
        standby={
            name: Host.from_json(f"standby.{name}", host)
            for name, host in dict(standby or {}).items()
        },
    )


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
        every = [
            resource
            for resource in latest.get("resources") or ()
            if resource["type"] == "pulumi:pulumi:Stack"
        ]
        return dict(every[0].get("outputs") or {}) if every else {}
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        if isinstance(problem, OutputsError):
            raise
        raise OutputsError(
            f"{checkpoint}: not a state that Pulumi wrote ({problem!r}); see docs/state.md"
        ) from None


def _backend_url() -> str:
    if url := os.environ.get("PULUMI_BACKEND_URL"):
        return url
    try:
        return str(
            json.loads((_pulumi_home() / "credentials.json").read_text()).get("current") or ""
        )
    except (OSError, ValueError):
        return ""


def _from_cli(stack: str) -> Outputs:
    outputs = _ask_cli("stack", "output", stack=stack)
    if "contract" not in outputs:
        raise _not_up(stack)
    return _of(outputs)


def _ask_cli(*words: str, stack: str) -> Json:
    """What `pulumi WORDS` says of the stack, secrets decrypted. Raises OutputsError where it
    can't."""
    if shutil.which("pulumi") is None:
        raise OutputsError(
            f"stack {stack!r} needs the pulumi CLI to read its outputs and secrets, which is not on"
            " PATH; install it (https://www.pulumi.com/docs/install/) or pass --outputs FILE",
            exit_status=exits.UNREACHABLE,
        )
    command = ["pulumi", *words, "--json", "--show-secrets", "--stack", stack, "--non-interactive"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    if done.returncode and "no stack named" in done.stderr:
        raise _not_up(stack)
    if done.returncode:
        raise OutputsError(
            f"`{' '.join(command)}` failed:"
            f" {done.stderr.strip().splitlines()[-1:] or ['no reason given']}",
            exit_status=exits.UNREACHABLE,
        )
    try:
        return dict(json.loads(done.stdout))
    except (ValueError, TypeError) as problem:
        raise OutputsError(
            f"`{' '.join(command)}` did not print JSON ({problem}); run it by hand",
            exit_status=exits.UNREACHABLE,
        ) from None


__all__ = ["ContractError", "OutputsError", "chosen_stack", "kit_checkpoint", "read", "stack_names"]


def recorded(stack: str) -> Contract | None:
    """The contract that the stack's state holds, whatever the config says; None where there is none
    to be read."""
    try:
        return _of_stack(stack).contract
    except (OutputsError, ContractError):
        return None
