"""docs/transaction.md has a row for every step that the code announces, in the order in which it
comes by."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

import pytest

from on_host import states
from rollout import program
from tests.e2e import test_ship_transaction, test_transaction
from tests.support.kit import ROOT

PAGE = (ROOT / "docs" / "transaction.md").read_text()
TABLES = ("a deploy", "a ship", "a certificate", "going back", "other changes")
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


@pytest.mark.parametrize("table", ["a deploy", "a ship", "a certificate"])
def test_every_row_of_the_crash_matrix_is_whole(table: str) -> None:
    """What the step does, what a kill leaves, who finishes it: no cell is empty."""
    found = re.search(rf"<!-- steps of {table} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert found
    for line in found[1].splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert len(cells) == 4 and all(cells), line


def table(name: str) -> list[list[str]]:
    """The rows of one table of the page, cell by cell."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert found, name
    lines = found[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_questions_on_the_page_are_those_of_the_protocol() -> None:
    """Each with its answers, in the same order."""
    shown = {}
    for question, _, answers in table("questions"):
        kind = question.strip("`").partition(":")[0]
        shown[kind] = tuple(re.findall(r"`([a-z]+)(?::NAMES)?`", answers.replace("a `yield`", "")))
    assert shown == states.ANSWERS


@pytest.mark.parametrize(
    ("name", "transitions"), [("a host", states.HOST), ("the journal", states.JOURNAL)]
)
def test_the_states_on_the_page_are_those_of_the_code(
    name: str, transitions: Mapping[str, Mapping[str, str]]
) -> None:
    """Every state with every transition, in the same order."""
    shown = {}
    for state, events in table(f"states of {name}"):
        shown[state.strip("`")] = re.findall(r"`([a-z]+)` → `([a-z]+)`", events)
    assert list(shown) == list(transitions)
    assert shown == {state: list(after.items()) for state, after in transitions.items()}


def test_every_state_can_be_reached_and_left() -> None:
    """From where a host and a journal begin; only `left` is the end."""
    for start, transitions in (("working", states.HOST), ("none", states.JOURNAL)):
        reached: set[str] = {start}
        for _ in transitions:
            for state, after in transitions.items():
                if state in reached:
                    reached.update(after.values())
        assert reached == set(transitions)
    assert [state for state, after in states.HOST.items() if not after] == ["left"]
