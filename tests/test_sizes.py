"""Files of more than 400 lines and functions of more than 40, docstrings not counted, are split,
or the first line says why not."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.kit import ROOT

MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 400, 40
REASON = "long because "

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[str]:
    """Every file of the kit's own code, relative to the top."""
    found = []
    for folder in ("infra", "ansible-free-deploy"):
        found += [str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")]
    return sorted(found)


def length(function: Function) -> int:
    """The lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def too_long(text: str) -> Iterator[str]:
    """What is too long in a file, and has no reason on its first line."""
    lines = text.splitlines()
    if len(lines) > MOST_LINES_OF_A_FILE and REASON not in lines[0]:
        yield f"{len(lines)} lines"
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, Function) or length(node) <= MOST_LINES_OF_A_FUNCTION:
            continue
        if REASON not in lines[node.lineno - 1]:
            yield f"line {node.lineno}: {node.name} has {length(node)} lines"


@pytest.mark.parametrize("path", sources())
def test_nothing_is_too_long_without_a_reason(path: str) -> None:
    """The reason stands on the first line: `# long because …`."""
    assert list(too_long((ROOT / path).read_text())) == []


def function(lines: int, comment: str = "") -> str:
    body = "    pass\n" * (lines - 1)
    return f'def f():{comment}\n    """Not counted,\n    on two lines."""\n{body}'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (function(40), []),
        (function(41), ["line 1: f has 41 lines"]),
        (function(41, "  # long because it is a table"), []),
        ("pass\n" * 400, []),
        ("pass\n" * 401, ["401 lines"]),
        ('"""Long; long because one story."""\n' + "pass\n" * 400, []),
    ],
)
def test_what_is_too_long_is_found(text: str, found: list[str]) -> None:
    """The limits themselves are allowed."""
    assert list(too_long(text)) == found
