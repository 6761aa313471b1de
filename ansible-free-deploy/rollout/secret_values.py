"""The secrets of the application and of HTTPS, apart from the contract: never in a plan, a log or a
readable file."""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path

from infra.core import exits, variables
from infra.core.errors import KitError
from infra.core.keys import SECRETS
from infra.core.keys.previews import PASSWORD
from infra.core.previews import secrets_file
from rollout import stacks
from rollout.outputs import Outputs

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([^\n]*)", re.ASCII)

# bcrypt reads 72 bytes (crypt(5)), and browsers differ in how they write anything but ASCII.
_SHORTEST = 8
_LONGEST = 72
_PASSWORD = re.compile(rf"[!-~](?:[ -~]{{{_SHORTEST - 2},{_LONGEST - 2}}}[!-~])", re.ASCII)


class SecretsError(KitError):
    """The file with the secrets can't be used; never quotes a value."""

    exit_status = exits.USAGE

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


def read(outputs: Outputs) -> dict[str, str]:
    """The application's secrets, by the name of their variable. Raises SecretsError as `_all`
    does."""
    everything = _all(outputs)
    return {name: everything[name] for name in everything if name not in SECRETS}


def of_https(outputs: Outputs) -> dict[str, str]:
    """The secrets of HTTPS (`infra.core.keys.SECRETS`) that the stack has, by name; no application
    gets them. Raises SecretsError as `_all` does."""
    everything = _all(outputs)
    return {name: everything[name] for name in everything if name in SECRETS}


def of_host(outputs: Outputs, role: str) -> dict[str, str]:
    """What a host of the role gets: a backend the application's secrets, the page of a preview
    its password, any other page nothing. Raises SecretsError as `_all` does, and for a password
    that is none."""
    if role == "backend":
        return read(outputs)
    return password(outputs)


def password(outputs: Outputs) -> dict[str, str]:
    """The password of a preview's page by its name; empty for every other environment, and where
    everybody may open it. Raises as `of_host` does."""
    if outputs.contract.preview is None:
        return {}
    found = _all(outputs).get(PASSWORD)
    if found is None:
        return {}
    if not _PASSWORD.fullmatch(found):
        raise SecretsError(
            f"{PASSWORD}: expected {_SHORTEST} to {_LONGEST} characters of printable ASCII, which"
            " every browser sends alike"
        )
    return {PASSWORD: found}


def names_for_host(outputs: Outputs, role: str) -> dict[str, str]:
    """The names of what `of_host` gives, for whoever needs no value: each value is empty."""
    if role == "backend":
        return dict.fromkeys(names(outputs), "")
    return dict.fromkeys(known_password(outputs), "")


def known_password(outputs: Outputs) -> dict[str, str]:
    """What `password` gives; empty where the secrets can't be used."""
    try:
        return password(outputs)
    except SecretsError:
        return {}


def file_of(stack: str) -> Path:
    """The file with a stack's secrets on this machine."""
    return stacks.ROOT / "stacks" / secrets_file(stack)


def _all(outputs: Outputs) -> dict[str, str]:
    """The stack's own secrets, and over them those of its file: `NAME=value` a line, 0600,
    git-ignored.

    Raises SecretsError for a file that others can read, or with every line of it that can't be
    taken as it is; GuardError for a preview that has something of another environment.
    """
    contract = outputs.contract
    found = {
        **outputs.secret_env,
        **in_file(file_of(contract.environment)),
    }
    if contract.preview is not None:
        from rollout.previews import guard  # which reads secrets itself

        guard.refuse(contract.environment, contract.application.env, found)
    return found


def in_file(path: Path) -> dict[str, str]:
    """The secrets in a file; none where there is no file. Raises as `_all` does."""
    name = f"stacks/{path.name}"
    if not path.exists():
        return {}
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SecretsError(f"{name}: others on this machine can read it; run `chmod 600 {name}`")
    try:
        return parse(path.read_bytes())
    except SecretsError as problem:
        raise SecretsError([f"{name}: {line}" for line in problem.problems]) from None


def names(outputs: Outputs) -> frozenset[str]:
    """The names of the application's secrets, for whoever needs no value; those of the stack alone
    where the file can't be used."""
    try:
        return frozenset(read(outputs))
    except SecretsError:
        return frozenset(outputs.secret_env) - frozenset(SECRETS)


def parse(data: bytes) -> dict[str, str]:
    """The values by name. A line ends with a line feed and with nothing else; blank ones and those
    with # are skipped.

    Raises SecretsError with one line for each that is not exactly NAME=value.
    """
    found: dict[str, str] = {}
    problems = []
    for number, raw in enumerate(data.split(b"\n"), 1):
        try:
            read = _line(raw)
        except SecretsError as problem:
            problems.append(f"line {number}: {problem}")
            continue
        if read and read[0] in found:
            problems.append(f"line {number}: {read[0]} stands above already; keep one of the two")
        elif read:
            found[read[0]] = read[1]
    if problems:
        raise SecretsError(problems)
    return found


def _line(raw: bytes) -> tuple[str, str] | None:
    """Name and value; None for a line that holds none. Raises SecretsError, which quotes no
    value."""
    try:
        line = raw.decode()
    except UnicodeDecodeError:
        raise SecretsError("not UTF-8; save the file as UTF-8") from None
    if line.startswith("\ufeff"):
        raise SecretsError("begins with a byte order mark; save the file as UTF-8 without one")
    if line.endswith("\r"):
        raise SecretsError(
            "ends with a carriage return, as on Windows; save the file with Unix line ends"
        )
    if not line.strip() or line.lstrip().startswith("#"):
        return None
    match = _LINE.fullmatch(line)
    if not match:
        raise SecretsError("not NAME=value")
    if problem := variables.problem(match[1], match[2]):
        raise SecretsError(f"the value of {match[1]} {problem}")
    return match[1], match[2]
