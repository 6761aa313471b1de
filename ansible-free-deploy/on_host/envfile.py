"""Environment files as systemd reads them. Pure; both sides use it."""

from __future__ import annotations

import re
from typing import Mapping  # noqa: UP035 - Python 3.9 on hosts


def environment_text(values: Mapping[str, str]) -> str:
    """Lines for systemd's EnvironmentFile= (systemd.exec(5)): quoted; a POSIX shell reads them
    alike."""
    return "".join(f'{name}="{_escaped(value)}"\n' for name, value in sorted(values.items()))


def _escaped(value: str) -> str:
    return re.sub(r'(["\\$`])', r"\\\1", value)


def environment(text: str) -> dict[str, str]:
    """The values in what `environment_text` has written."""
    found = re.findall(r'^([^=\n]+)="((?:[^"\\]|\\.)*)"$', text, re.MULTILINE | re.DOTALL)
    return {name: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for name, value in found}
