"""Read Pulumi.yaml and stacks/Pulumi.<stack>.yaml as the Pulumi CLI does. No pulumi import."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.core import exits
from infra.core.errors import KitError
from infra.core.keys import SECRETS
from infra.core.previews import TEMPLATE, secrets_file

PROJECT_FILE = "Pulumi.yaml"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe one, in C where it is built. A date stays the text that it is: no key is one."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        start: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class StackFileError(KitError):
    """A file of the project that can't be read; the text names the file, the line where there is
    one, and the cure."""

    exit_status = exits.USAGE


def project(root: Path) -> dict[str, Any]:
    """Pulumi.yaml as it stands."""
    return _mapping(root / PROJECT_FILE, PROJECT_FILE)


def stack_path(root: Path, stack: str) -> Path:
    """The config file of a stack, in the project's `stackConfigDir`."""
    return _path_in(root, project(root), stack)


def _path_in(root: Path, described: Mapping[str, Any], stack: str) -> Path:
    return root / str(described.get("stackConfigDir", ".")) / f"Pulumi.{stack}.yaml"


def read_config(root: Path, stack: str) -> dict[str, str]:
    """This project's own keys (without the namespace), every value a string: defaults of the
    schema, then the stack's.

    Secrets of a cloud (`env.NAME` and those of HTTPS, encrypted) are left out: who needs them asks
    the Pulumi CLI. Raises StackFileError for a missing or broken file and for other encrypted
    values, which only that CLI can read.
    """
    described = project(root)
    prefix = f"{described['name']}:"
    schema = described.get("config") or {}
    values = {}
    for key, entry in schema.items():
        if isinstance(entry, Mapping) and "default" in entry:
            values[key] = entry["default"]
    own = {}
    path = _path_in(root, described, stack)  # Pulumi.yaml is long: read once
    for key, value in _values(root, path, stack).items():
        if key.startswith(prefix) or ":" not in key:
            own[key.removeprefix(prefix)] = value
    for name, value in own.items():
        is_encrypted = isinstance(value, dict) and set(value) == {"secure"}
        if not is_encrypted:
            values[name] = value
        elif own.get("cloud") == "local" or not _is_secret(name):
            raise StackFileError(
                f"{name}: is encrypted",
                where=str(path.relative_to(root)),
                cure=(
                    "only the Pulumi CLI can read it (on the local cloud put secrets into"
                    f" stacks/{secrets_file(stack)})"
                ),
            )
    return {key: as_text(value) for key, value in values.items()}


def _is_secret(name: str) -> bool:
    """Whether this is the name of a secret: no key of the schema, and encrypted on a cloud."""
    return name.startswith("env.") or name in SECRETS


def stack_values(root: Path, stack: str) -> dict[str, Any]:
    """The `config:` of a stack's file, keys as written. Raises StackFileError as `read_config`
    does."""
    return _values(root, stack_path(root, stack), stack)


def _values(root: Path, path: Path, stack: str) -> dict[str, Any]:
    name = str(path.relative_to(root))
    if not path.exists():
        known = sorted(
            {
                found.name.split(".", 1)[1].removesuffix(".yaml")
                for found in path.parent.glob("Pulumi.*.yaml")
            }
            - {TEMPLATE}
        )
        raise StackFileError(
            f"there is no stack {stack!r} ({name} is missing)",
            cure=f"there is {', '.join(known) or 'none yet'}",
        )
    config = _mapping(path, name).get("config") or {}
    if not isinstance(config, dict):
        raise StackFileError("config: must be a map of keys to values", where=name)
    return {str(key): value for key, value in config.items()}


def with_key(text: str, key: str, value: str | None) -> str:
    """The text of a stack's config with this key at this value (YAML, on one line), or without it;
    every other byte stays. Raises StackFileError where it has no place for it."""
    lines = text.splitlines(keepends=True)
    place = _first(lines, rf"[ \t]+{re.escape(key)}[ \t]*:")
    if place is not None:
        indent = " " * _indent(lines[place])
        instead = [] if value is None else [f"{indent}{key}: {value}\n"]
        lines[place : _end_of_block(lines, place)] = instead
    elif value is not None:
        _insert(lines, key, value)
    return "".join(lines)


def _insert(lines: list[str], key: str, value: str) -> None:
    """Add a line right below `config:`, as deep as the first key there. Raises StackFileError."""
    head = _first(lines, r"config:\s*$")
    if head is None or head + 1 >= len(lines):
        raise StackFileError(
            "there is no line `config:` to write after", cure=f"add `{key}: {value}` yourself"
        )
    below = _first(lines[head + 1 :], r"\s*[^\s#]")
    depth = 2 if below is None else _indent(lines[head + 1 + below])
    indent = " " * depth
    lines.insert(head + 1, f"{indent}{key}: {value}\n")


def _first(lines: list[str], pattern: str) -> int | None:
    """The number of the first line that begins like this."""
    for number, line in enumerate(lines):
        if re.match(pattern, line):
            return number
    return None


def _end_of_block(lines: list[str], start: int) -> int:
    """The number of the first line after `start` that is not indented below it."""
    end = start + 1
    while end < len(lines) and lines[end].strip():
        if _indent(lines[end]) <= _indent(lines[start]):
            break
        end += 1
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def as_text(value: Any) -> str:
    """A value as Pulumi hands it to a program: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _mapping(path: Path, name: str) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(), Loader=_Loader)
    except OSError as problem:
        raise StackFileError(
            str(problem.strerror),
            where=name,
            cure="run this from the project's folder",
        ) from None
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise StackFileError(
            f"line {line}: not YAML: {problem.problem}",
            where=name,
            cure="check indentation and quotes there",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise StackFileError(f"not YAML: {problem}", where=name) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise StackFileError("must be a map of keys to values", where=name)
    return data
