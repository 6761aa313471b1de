"""The stack's config as text. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from rollout.adopt.classes import VARIABLE
from rollout.adopt.environment import Read
from rollout.adopt.findings import OWN_KEY

_SECRET = re.compile(r"SECRET|PASSW|TOKEN|KEY|DSN|CREDENTIAL|DATABASE_URL|BROKER_URL|REDIS_URL")
_KINDS = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "list": "a,b,c",
    "json": "JSON",
}
_COMMENTS = {
    "extra_origins": "Carried over; remove those that no page comes from any more.",
    "allowed_patterns": "Patterns of the project. Each allows many origins.",
    "app_origins": "What apps and extensions send; any app with that scheme can read answers.",
    "image": "This host's own Debian has another Python than the project's requires-python.",
    "connect_src": "Other servers that the page calls.",
    "csp": "The policy in the page's own <meta>, which then leaves the page.",
    "domain": "Cookies need both hosts under one domain.",
    "allow_headers": "The default ones, and the project's own.",
}
_TODO = (
    "  # TODO: the folder that your build writes, with an index.html. `fab up` asks for it.",
    "  # origin-kit:frontend_path: ../frontend/dist",
)


def text(
    values: Mapping[str, Any],
    offered: Mapping[str, Any],
    reads: Sequence[Read],
    stack: str,
) -> str:
    """`stacks/Pulumi.<stack>.yaml`, as short and commented as those of the kit.

    `offered` are keys that stand there as comments.
    """
    lines = [
        "# Written by `fab adopt`. Two machines on this host, known by their addresses; other"
        " clouds: see stacks/.",
        "config:",
    ]
    for key, value in values.items():
        if key != "env":
            lines += _commented(key, value, "")
    if "frontend_path" not in values:
        lines += _TODO
    for key, value in offered.items():
        lines += _commented(key, value, "# ")
    asked = [read for read in reads if read.name not in OWN_KEY]
    lines += _environment(asked, values.get("env", {}), stack)
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    dumped = yaml.safe_dump(
        value,
        default_flow_style=True,
        width=100_000,
        allow_unicode=True,
    )
    return f"origin-kit:{key}: " + dumped.removesuffix("...\n").strip()


def _commented(key: str, value: Any, mark: str) -> Iterator[str]:
    if key in _COMMENTS:
        yield f"  # {_COMMENTS[key]}"
    yield f"  {mark}{_line(key, value)}"


def _environment(
    reads: Sequence[Read],
    given: Mapping[str, str],
    stack: str,
) -> Iterator[str]:
    """The variables that the file sets, and those that the settings look up, by what is needed."""
    secret: list[str] = []
    plain: list[Read] = []
    others: list[str] = []
    for read in reads:
        if read.name in given:
            continue
        if _SECRET.search(read.name):
            secret.append(read.name)
        elif read.required:
            plain.append(read)
        else:
            others.append(read.name)
    yield from _given(given)
    if plain:
        yield "  # The settings don't load without these: fill them in, and remove the #."
        if not given:
            yield "  # origin-kit:env:"
        yield from map(_needed, plain)
    if secret:
        yield f"  # Secrets go to stacks/{stack}.secrets (NAME=value a line, mode 0600):"
        yield from _wrapped(secret)
    if others:
        yield "  # The settings look at these too, and load without them:"
        yield from _wrapped(others)


def _given(given: Mapping[str, str]) -> Iterator[str]:
    if not given:
        return
    if VARIABLE in given:
        yield "  # The class of django-configurations that a host runs."
    if given.keys() - {VARIABLE}:
        yield "  # DEBUG is off while the settings are read, too."
    yield "  origin-kit:env:"
    for name, value in given.items():
        yield f"    {name}: {json.dumps(value, ensure_ascii=False)}"


def _needed(read: Read) -> str:
    """No value is offered: an empty one is a value too, and mostly a wrong one."""
    unless = f"  (unless {read.unless})" if read.unless else ""
    return f"  #   {read.name}: <{_KINDS.get(read.kind, 'text')}>{unless}"


def _wrapped(names: list[str], width: int = 100) -> Iterator[str]:
    line = "  #  "
    for name in names:
        if len(line) + len(name) > width:
            yield line
            line = "  #  "
        line += f" {name}"
    yield line
