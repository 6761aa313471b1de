"""The file that holds the state of a stack, and the outputs in it.

A local stack has it in the kit's home; any other where Pulumi is logged in to a folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra.core import exits
from infra.core.contract import Json
from infra.core.errors import KitError
from infra.core.home import home, state_dir, user_name
from rollout.stacks import PROJECT, ROOT, backend_url


class OutputsError(KitError):
    """There are no outputs to deploy from; the text says why and the next step."""

    exit_status = exits.USAGE


class NotUpError(OutputsError):
    """The stack is known, and nothing of it has been made."""

    exit_status = exits.WRONG


def kit_checkpoint(stack: str) -> Path:
    """The state of a local stack, in the kit's own file backend."""
    return state_dir() / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"


def kit_has(stack: str) -> bool:
    """Whether this is a local stack that is up. Raises OutputsError where it may be, and only root
    knows."""
    path = kit_checkpoint(stack)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        if is_local(stack):
            raise OutputsError(
                f"only {user_name(home().stat().st_uid)} can read this folder",
                where=str(home()),
                cure="run this with sudo",
                exit_status=exits.UNREACHABLE,
            ) from None
        return False
    return True


def checkpoint_of(stack: str) -> Path | None:
    """The file that holds the stack's state; None where Pulumi's backend keeps no files here."""
    if kit_has(stack):
        return kit_checkpoint(stack)
    base = file_backend()
    if base is None:
        return None
    return base / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"


def file_backend() -> Path | None:
    """The folder of the backend that Pulumi is logged in to; None for one that keeps no files
    here."""
    login = backend_url()
    if not login.startswith("file://"):
        return None
    folder = urlsplit(login).path.replace("/~", str(Path.home()), 1)
    return Path(unquote(folder))


def is_local(stack: str) -> bool:
    """Whether the stack's config says that its cloud is `local`."""
    from infra.core.stackfile import read_config

    return read_config(ROOT, stack).get("cloud") == "local"


def not_up(stack: str) -> NotUpError:
    """The error for a stack of which nothing has been made."""
    return NotUpError(
        "no outputs: the stack is not up",
        where=f"stack {stack!r}",
        cure=f"run `fab up --stack {stack}` first",
    )


def outputs_in(checkpoint: Path) -> Json:
    """The stack's outputs in its state, secrets encrypted; none where it has none yet."""
    try:
        latest = read_object(checkpoint).get("checkpoint", {}).get("latest") or {}
        for resource in latest.get("resources") or ():
            if resource["type"] == "pulumi:pulumi:Stack":
                return dict(resource.get("outputs") or {})
        return {}
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        if isinstance(problem, OutputsError):
            raise
        raise OutputsError(
            f"not a state that Pulumi wrote ({problem!r})",
            where=str(checkpoint),
            cure="see docs/state.md",
        ) from None


def read_object(path: Path) -> Json:
    """The JSON object in a file. Raises OutputsError where there is none."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as problem:
        raise OutputsError(
            str(problem.strerror),
            where=str(path),
            cure="name a file made by `fab outputs > FILE`",
        ) from None
    except (ValueError, RecursionError) as problem:
        raise OutputsError(
            f"not JSON ({problem})",
            where=str(path),
            cure="make it with `fab outputs > FILE`",
        ) from None
    if not isinstance(data, dict):
        raise OutputsError(
            "not an object",
            where=str(path),
            cure="make it with `fab outputs > FILE`",
        )
    return data
