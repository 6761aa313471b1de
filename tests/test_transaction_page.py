"""docs/transaction.md has a row for every step that the code announces, in the order in which it
comes by."""

from __future__ import annotations

import ast
import re

import pytest

from rollout import program
from tests.e2e import test_ship_transaction, test_transaction
from tests.support.kit import ROOT

PAGE = (ROOT / "docs" / "transaction.md").read_text()
TABLES = ("a deploy", "a ship", "going back", "other changes")
SERVICES = ("gunicorn", "nginx")
# How `restart` names its steps: f"{prefix}-{name}".
PREFIXES = ("restart", "back")
# Steps of a ship that only some ships come by.
SOMETIMES = {"venv", "backup", "replace"}


def announced(text: str) -> set[str]:
    """The names that a module gives to `step`; one that is put together counts for every
    service."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "step"
        ):
            continue
        name = node.args[0]
        if isinstance(name, ast.Constant):
            found.add(str(name.value))
        else:
            assert ast.unparse(name) == "f'{prefix}-{name}'", (
                f"a new way to name a step: {ast.unparse(name)}"
            )
            found |= {f"{prefix}-{service}" for prefix in PREFIXES for service in SERVICES}
    return found


def steps(pattern: str) -> set[str]:
    """The steps of the modules whose path matches."""
    texts = [
        text
        for path, text in program.sources().items()
        if re.fullmatch(f"on_host/({pattern})[.]py", path)
    ]
    assert texts, pattern
    return {name for text in texts for name in announced(text)}


def rows(table: str) -> list[str]:
    """The first cells of one table of the page."""
    found = re.search(rf"<!-- steps of {table} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert found, table
    return re.findall(r"^\| `([a-z-]+)` \|", found[1], re.MULTILINE)


def test_every_step_of_the_code_has_a_row() -> None:
    """And every row is a step of the code."""
    assert {row for table in TABLES for row in rows(table)} == steps(".*")


def test_the_steps_of_a_deploy_are_those_that_are_killed() -> None:
    """In the order of the crash tests; what goes back has its own table."""
    assert rows("a deploy") == list(test_transaction.STEPS)
    own = steps("configuration/.*|recovery|probe|journal|two_phase")
    assert own <= {*rows("a deploy"), *rows("going back")}


def test_the_steps_of_a_ship_are_those_that_are_killed() -> None:
    """In the order of the crash tests; the page has those too that only some ships come by."""
    assert [row for row in rows("a ship") if row not in SOMETIMES] == list(
        test_ship_transaction.STEPS
    )
    own = steps("release/.*|user|journal|two_phase")
    assert own <= {*rows("a ship"), *rows("going back")}


@pytest.mark.parametrize("table", ["a deploy", "a ship"])
def test_every_row_of_the_crash_matrix_is_whole(table: str) -> None:
    """What the step does, what a kill leaves, who finishes it: no cell is empty."""
    found = re.search(rf"<!-- steps of {table} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert found
    for line in found[1].splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert len(cells) == 4 and all(cells), line


def test_the_questions_on_the_page_are_those_of_the_protocol() -> None:
    """What a host asks, as `handover.ask` sends it."""
    texts = program.sources()["on_host/two_phase.py"]
    asked = set(re.findall(r'handover\.ask\("([a-z-]+)', texts))
    section = PAGE.split("## Two-phase commit")[1].split("\n## ")[0]
    assert asked == set(re.findall(r"^\| `([a-z-]+)", section, re.MULTILINE))
