"""Eight branches of awkward names at once: each page reads its own backend and no other; what is
pushed, deleted, swept and removed; nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import Environment, chromium
from tests.support.kit import Kit
from tests.support.repository import Repository, left, repository

pytestmark = [pytest.mark.machines, pytest.mark.browser, pytest.mark.soak]
NAMES = (
    "feature/Größe",
    "feature-größe",
    "UPPER/Case",
    "x" * 200,
    "1-digits.and_more",
    "a/-dash-first",
    "日本語",
    "emoji-😀+x#1=2@3",
)
READ = """async (url) => {
    try { return (await fetch(url + "/api/products/")).status } catch (problem) { return 0 }
}"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """All eight, made at the same time, each by a command of its own."""
    folder = tmp_path_factory.mktemp("previews")
    with repository(Kit(folder / "home"), folder / "checkout") as made:
        for number, name in enumerate(NAMES):
            made.branch(name, f"branch {number}")
        together(made, "up", NAMES)
        yield made


def together(made: Repository, verb: str, names: tuple[str, ...]) -> None:
    """`fab preview.VERB --branch NAME` for each, side by side."""
    with ThreadPoolExecutor(len(names)) as pool:
        list(
            pool.map(
                lambda name: made.fab(f"preview.{verb}", "--branch", name, timeout=1500), names
            )
        )


def test_each_page_reads_its_own_backend_and_no_other(here: Repository) -> None:
    """In Chromium; every title is its branch's."""
    listed = here.listed()
    assert {name: listed[name]["state"] for name in NAMES} == dict.fromkeys(NAMES, "up")
    origins = [listed[name]["origin"] for name in NAMES]
    apis = [listed[name]["api"] for name in NAMES]
    assert len({*origins, *apis}) == 2 * len(NAMES)
    environments = [Environment(here.kit, name, here.contract(name)) for name in NAMES]
    with chromium(*environments) as browser:
        for number, origin in enumerate(origins):
            page = browser.new_page()
            page.goto(origin)
            assert page.title() == f"branch {number}"
            read = [page.evaluate(READ, api) for api in apis]
            assert read == [200 if other == number else 0 for other in range(len(NAMES))]
            page.close()


def test_a_push_two_deletions_and_a_sweep(here: Repository) -> None:
    """The other five stay as they are, to the process."""
    before = here.listed()
    pushed, gone = NAMES[0], NAMES[1:3]
    commit = here.branch(pushed, "pushed again")
    here.fab("preview.up", "--branch", pushed)
    for name in gone:
        here.git("branch", "-qD", name)
    pids = {name: here.kit.pids(before[name]["name"]) for name in NAMES}
    said = here.fab("preview.sweep").stdout
    for name in gone:
        assert f"fixed  {name} is gone (its branch is gone)" in said
    after = here.listed()
    assert set(after) == set(NAMES) - set(gone)
    assert after[pushed]["commit"] == commit
    for name in NAMES[3:]:
        assert (after[name]["commit"], after[name]["state"]) == (before[name]["commit"], "up")
        assert here.kit.pids(before[name]["name"]) == pids[name]
    for name in gone:
        assert not [line for line in left(here.kit.home) if before[name]["name"] in line]


def test_nothing_is_left_of_any(here: Repository) -> None:
    together(here, "down", tuple(here.listed()))
    assert left(here.kit.home) == []
    assert not list((here.folder / "stacks").glob("Pulumi.preview-*"))
