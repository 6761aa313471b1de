"""Whether a built page asks its own host for what the backend serves. Only reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rollout.adopt.values import Setting
from rollout.release.folders import walk

_ASKS = re.compile(
    r"(?:\bfetch|\baxios(?:\.\w+)?|\.(?:get|post|put|patch|delete)|\bEventSource|\burl|\bbaseURL"
    r"|\bbaseUrl|\buri)\s*(?:\(|:|=)\s*"
    r"([\"'`])(/(?!/)[\w.{}$/@-]*)"
)
_BYTES = 4_000_000


def relative_calls(page: Path) -> list[Setting]:
    """The first address of each file of a page that begins with a slash and is no file of the page.

    None for a page that reads config.json, which says where the backend is.
    """
    calls: list[Setting] = []
    for name in sorted(walk(page)):
        if not name.endswith((".js", ".mjs", ".html")):
            continue
        text = (page / name).read_bytes()[:_BYTES].decode(errors="replace")
        if "config.json" in text:
            return []
        calls += _first(page, name, text)
    return calls


def _first(page: Path, name: str, text: str) -> Iterator[Setting]:
    for match in _ASKS.finditer(text):
        address = match[2]
        if address != "/" and not (page / address.strip("/")).exists():
            line = text.count("\n", 0, match.start()) + 1
            yield Setting(address, f"{name}:{line}")
            return
