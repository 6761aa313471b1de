"""Environment files as systemd reads them. Pure; both sides use it."""

from __future__ import annotations

import re
from typing import Mapping  # noqa: UP035 - Python 3.9 on hosts

_NEEDS_ESCAPE = re.compile(r'(["\\$`])')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LINE = re.compile(r'^([^=\n]+)="((?:[^"\\]|\\.)*)"$', re.MULTILINE | re.DOTALL)


def environment_text(values: Mapping[str, str]) -> str:
    """Lines for systemd's EnvironmentFile= (systemd.exec(5)), all quoted.

    A POSIX shell reads the same values from them.
    """
    lines = []
    for name, value in sorted(values.items()):
        escaped = _NEEDS_ESCAPE.sub(r"\\\1", value)
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


def environment(text: str) -> dict[str, str]:
    """The values in a text that `environment_text` has written."""
    values = {}
    for name, escaped in _LINE.findall(text):
        values[name] = _ESCAPED.sub(r"\1", escaped)
    return values
