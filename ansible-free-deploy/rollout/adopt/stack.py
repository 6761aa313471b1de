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
    "allowed_shapes": "Patterns of the project as shapes. Each lets many origins in.",
    "image": "This host's own Debian has another Python than the project's requires-python.",
    "domain": "Cookies need both hosts under one domain.",
    "allow_headers": "The default ones, and the project's own.",
}


def text(
    values: Mapping[str, Any], offered: Mapping[str, Any], reads: Sequence[Read], stack: str
) -> str:
    """`stacks/Pulumi.<stack>.yaml`, as short and commented as those that come along; `offered` are
    comments in it."""
    todo = (
        []
        if "frontend_path" in values
        else [
            (
                "  # TODO: the folder that your build writes, with an index.html. `fab up` asks"
                " for it."
            ),
            "  # origin-kit:frontend_path: ../frontend/dist",
        ]
    )
    lines = [
        (
            "# Written by `fab adopt`. Two machines on this host, known by their addresses; other"
            " clouds: see stacks/."
        ),
        "config:",
        *(
            line
            for key, value in values.items()
            if key != "env"
            for line in _commented(key, value, "")
        ),
        *todo,
        *(line for key, value in offered.items() for line in _commented(key, value, "# ")),
        *_environment(
            [read for read in reads if read.name not in OWN_KEY], values.get("env", {}), stack
        ),
    ]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    dumped = yaml.safe_dump(value, default_flow_style=True, width=100_000, allow_unicode=True)
    return f"origin-kit:{key}: " + dumped.removesuffix("...\n").strip()


def _commented(key: str, value: Any, mark: str) -> Iterator[str]:
    if key in _COMMENTS:
        yield f"  # {_COMMENTS[key]}"
    yield f"  {mark}{_line(key, value)}"


def _environment(reads: Sequence[Read], given: Mapping[str, str], stack: str) -> Iterator[str]:
    asked = [read for read in reads if read.name not in given]
    secret = [read.name for read in asked if _SECRET.search(read.name)]
    plain = [read for read in asked if read.required and read.name not in secret]
    others = [read.name for read in asked if read not in plain and read.name not in secret]
    if given:
        if VARIABLE in given:
            yield "  # The class of django-configurations that a host runs."
        if given.keys() - {VARIABLE}:
            yield "  # DEBUG is off while the settings are read, too."
        yield "  origin-kit:env:"
        yield from (f"    {name}: {_text(value)}" for name, value in given.items())
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


def _needed(read: Read) -> str:
    """No value is offered: an empty one is a value too, and mostly a wrong one."""
    unless = f"  (unless {read.unless})" if read.unless else ""
    return f"  #   {read.name}: <{_KINDS.get(read.kind, 'text')}>{unless}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _wrapped(names: list[str], width: int = 100) -> Iterator[str]:
    line = "  #  "
    for name in names:
        if len(line) + len(name) > width:
            yield line
            line = "  #  "
        line += f" {name}"
    yield line
