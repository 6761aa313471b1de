"""The application's secrets, apart from the contract: never in a plan, a log or a readable file."""

from __future__ import annotations

import re
import stat

from infra import exits
from rollout.outputs import ROOT, Outputs

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.ASCII)


class SecretsError(ValueError):
    """The file with the secrets can't be used; never quotes a value."""

    exit_status = exits.USAGE


def read(outputs: Outputs) -> dict[str, str]:
    """The stack's own secret outputs, and over them stacks/<stack>.secrets: `NAME=value` a line, 0600, git-ignored.

    Raises SecretsError for a file that others can read, or a line that is not NAME=value.
    """
    path = ROOT / "stacks" / f"{outputs.contract.environment}.secrets"
    name = f"stacks/{path.name}"
    if not path.exists():
        return dict(outputs.secret_env)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SecretsError(f"{name}: others on this machine can read it; run `chmod 600 {name}`")
    found = dict(outputs.secret_env)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise SecretsError(f"{name}: line {number}: not NAME=value")
        found[match[1]] = match[2]
    return found
