"""docs/benchmarks.md: its tables, which `UPDATE_DOCS=1 make bench` writes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from tests.support.kit import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def row(*cells: object) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def head(*cells: object) -> list[str]:
    """The two lines that a table begins with."""
    return [row(*cells), row(*["---"] * len(cells))]


def at_most(ratio: float, wanted: float) -> str:
    """The last cell of a row whose ratio should be small."""
    return f"≤ {wanted} {_mark(ratio <= wanted)}"


def at_least(ratio: float, wanted: float) -> str:
    """The last cell of a row whose ratio should be large."""
    return f"≥ {wanted} {_mark(ratio >= wanted)}"


def _mark(reached: bool) -> str:
    return "ok" if reached else "**MISSED**"


def with_table(page: str, name: str, lines: Sequence[str]) -> str:
    """The page with these lines in place of the table of this name."""
    found = re.search(rf"(<!-- {name}:[^\n]*-->\n).*?(\n<!-- end -->)", page, flags=re.DOTALL)
    assert found, name
    return page[: found.start()] + found[1] + "\n".join(lines) + found[2] + page[found.end() :]


def update(**tables: Sequence[str]) -> None:
    """Write these tables into the page, where UPDATE_DOCS asks for it."""
    if not os.environ.get("UPDATE_DOCS"):
        return
    text = PAGE.read_text()
    for name, lines in tables.items():
        text = with_table(text, name, lines)
    PAGE.write_text(text)
