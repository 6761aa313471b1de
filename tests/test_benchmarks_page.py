"""docs/benchmarks.md shows what the bench measures, and does not call a miss a success."""

from __future__ import annotations

import re

import pytest

from infra.core.contract import Contract, ContractError
from infra.core.cross_fields import UNBALANCED
from tests.bench import https, page, previews
from tests.bench.peers import __main__ as peers
from tests.bench.peers import job
from tests.test_render import load

PAGE = page.PAGE.read_text()


def rows(table: str) -> list[list[str]]:
    """The cells of a table of the page, the two lines of its head first."""
    found = re.search(rf"<!-- {table}:[^\n]*-->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)
    assert found, table
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in found[1].splitlines()]


def test_the_page_has_every_cell_of_the_bench() -> None:
    """Each kind of job, number of hosts and delay, in the order in which the bench shows them."""
    head, _, *lines = rows("cells")
    assert page.row(*head) == peers.cells_table([])[0]
    kinds = ("unchanged", "changed")
    measured = [(kind, hosts, ms) for kind in kinds for hosts in peers.HOSTS for ms in peers.DELAYS]
    assert [
        (kind, int(hosts), int(added.split()[0])) for kind, hosts, added, *_ in lines
    ] == measured


def test_the_page_has_every_row_about_https() -> None:
    assert [title for title, *_ in rows("https")[2:]] == list(https.ROWS)
    assert len(rows("https_deploy")) == 3


def test_the_page_has_every_row_about_previews() -> None:
    """And the bench writes the table as it stands there."""
    found = rows("previews")
    assert [title for title, *_ in found[2:]] == list(previews.ROWS.values())
    figures = {}
    for kind, (_, clock, processor, _) in zip(previews.ROWS, found[2:], strict=True):
        figures[kind] = previews.Taken(float(clock.split()[0]), float(processor.split()[0]))
    made = [[cell.strip() for cell in line[1:-1].split("|")] for line in previews.table(figures)]
    assert made == found


def test_a_miss_is_called_a_miss() -> None:
    """The last cell is what the bench makes of the ratio next to it."""
    for kind, hosts, added, *_, ratio, wanted in rows("cells")[2:]:
        cell = peers.Cell(kind, int(hosts), int(added.split()[0]), {})
        assert wanted == page.at_most(float(ratio.split()[0]), cell.wanted)
    for *_, ratio, wanted in rows("floors")[2:]:
        assert wanted == page.at_most(float(ratio.split()[0]), peers.FLOOR)
    for _, ratio, _, wanted in rows("https")[2:]:
        assert wanted == page.at_least(float(ratio.split()[0]), https.WANTED)
    for *_, ratio, wanted in rows("https_deploy")[2:]:
        assert wanted == page.at_most(float(ratio.split()[0]), https.FLOOR)


def test_the_bench_writes_its_tables_where_they_are() -> None:
    """What stands around them stays."""
    written = page.with_table(PAGE, "floors", ["one", "two"])
    assert "-->\none\ntwo\n<!-- end -->" in written
    assert written.startswith(PAGE.split("<!-- floors")[0])


def test_the_bench_deploys_to_backends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its contract has no page's host; elsewhere that is refused."""
    alone = job.through(load("local-ip"), [2222])
    assert [role for role, _ in alone.hosts] == ["backend"]
    monkeypatch.delenv(UNBALANCED, raising=False)
    with pytest.raises(ContractError, match=r"frontend\.hosts: 0 hosts; expected 1 to 64"):
        Contract.from_json(alone.to_json())
    monkeypatch.setenv(UNBALANCED, "1")
    assert Contract.from_json(alone.to_json()) == alone
