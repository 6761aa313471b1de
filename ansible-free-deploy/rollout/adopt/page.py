"""Whether a built page asks its own host for what the backend serves. Only reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rollout.adopt.values import Setting
from rollout.release.source import walk

_ASKS = re.compile(
    r"(?:\bfetch|\baxios(?:\.\w+)?|\.(?:get|post|put|patch|delete)|\bEventSource|\burl|\bbaseURL|\bbaseUrl|\buri)\s*(?:\(|:|=)\s*"
    r"([\"'`])(/(?!/)[\w.{}$/@-]*)"
)
_BYTES = 4_000_000


def relative_calls(page: Path) -> list[Setting]:
    """The first address of each file of a page that begins with a slash and is no file of the page;
    none for a page that reads config.json, which says where the backend is."""
    texts = {
        name: (page / name).read_bytes()[:_BYTES].decode(errors="replace")
        for name in sorted(walk(page))
        if name.endswith((".js", ".mjs", ".html"))
    }
    if any("config.json" in text for text in texts.values()):
        return []
    return [found for name, text in texts.items() for found in _first(page, name, text)]


def _first(page: Path, name: str, text: str) -> Iterator[Setting]:
    for match in _ASKS.finditer(text):
        address = match[2]
        if address != "/" and not (page / address.strip("/")).exists():
            yield Setting(address, f"{name}:{text.count(chr(10), 0, match.start()) + 1}")
            return
