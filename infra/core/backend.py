"""Local stacks keep their state in the kit's own file backend, whichever engine runs and whatever
the login."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra.core.home import LocalCloudError, home, state_dir


def url() -> str:
    """The backend of local stacks, as Pulumi writes it."""
    return f"file://{state_dir()}"


def refuse_other(stack: str) -> None:
    """Raises LocalCloudError where the program runs over another backend: a second state would take
    the machines in (their names are the same), and a `destroy` of that one would remove them."""
    current = _current()
    if _folder(current) == state_dir().resolve():
        return
    raise LocalCloudError(
        f"stack {stack} is local, and its state is not in"
        f" {current or 'the backend that you are logged in to'}",
        cure=f"nothing was changed. {_right_way(stack)}",
    )


def _right_way(stack: str) -> str:
    if not (home() / "passphrase").exists():
        return f"Run `fab up --stack {stack}`, which uses the kit's own"
    return _run_these(f"pulumi up --stack {stack}")


def _run_these(command: str) -> str:
    passphrase = home() / "passphrase"
    export = f"export PULUMI_BACKEND_URL={url()} PULUMI_CONFIG_PASSPHRASE_FILE={passphrase}"
    return f"Run these two:\n  {export}\n  {command}"


def refuse_renamed(stack: str) -> None:
    """Raises LocalCloudError for what `pulumi stack rename` leaves: the machines of a local stack
    are known by its name for life, so under another one all of them would be replaced."""
    former = _made_as(stack) - {stack}
    if former:
        before = sorted(former)[0]
        raise LocalCloudError(
            f"stack {stack} was {before}, and its machines are known by that name; nothing was"
            " changed. Rename it back. "
            + _run_these(f"pulumi stack rename {before} --stack {stack}")
        )


def _made_as(stack: str) -> set[str]:
    """The names of the stack that its machines and its network were made with."""
    found = set()
    for path in state_dir().glob(f".pulumi/stacks/*/{stack}.json"):
        try:
            latest = json.loads(path.read_text())["checkpoint"].get("latest") or {}
            resources = latest.get("resources") or ()
            named = [
                one["inputs"].get("stack") for one in resources if "dynamic/local:" in one["type"]
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # whoever reads the state itself says what is wrong with it
        found |= {name for name in named if isinstance(name, str)}
    return found


def _current() -> str:
    """What Pulumi takes: the variable, else the login."""
    if chosen := os.environ.get("PULUMI_BACKEND_URL"):
        return chosen
    pulumi = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    try:
        return str(json.loads((pulumi / "credentials.json").read_text()).get("current") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _folder(backend: str) -> Path | None:
    """The folder of a file backend."""
    if not backend.startswith("file://"):
        return None
    # file://~ and file://relative have their first part where a URL has its host.
    parts = urlsplit(backend)
    return Path(unquote(parts.netloc + parts.path)).expanduser().resolve()
