"""The commands of the README and of the page of verbs, as a reader types them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kit import ROOT

pytestmark = pytest.mark.machines


def commands() -> list[str]:
    """Every command line of the two pages, in order: `sh` blocks and the verbs' table."""
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "verbs.md").read_text()
    blocks = [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line
    ]
    return blocks + re.findall(r"^\| `(fab [a-z]+)` \|", text, re.MULTILINE)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The reader's environment; whatever happens, `make down` at the end."""
    home = tmp_path_factory.mktemp("reader") / "home"
    path = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
    environment = {**os.environ, "ORIGIN_KIT_HOME": str(home), "PATH": path}
    yield environment
    subprocess.run(["make", "down"], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert not home.exists()
    (ROOT / "report.html").unlink(missing_ok=True)


def test_the_commands_of_the_readme_work_in_their_order(reader: dict[str, str]) -> None:
    """All but `make test`, which is what runs this, and what belongs to a cloud that is not
    here."""
    mine = [line for line in commands() if line != "make test" and not line.startswith("pulumi")]
    assert mine[0] == "make up"
    assert {"fab plan", "fab deploy", "fab ship", "fab status", "fab outputs", "fab down"} <= set(
        mine
    )
    for line in mine:
        # Nothing came before a first deploy, and a local stack has no cloud's image: rightly
        # refused.
        status = 2 if line in ("fab rollback", "fab images") else 0
        line = f"{line} --yes" if line == "fab down" else line  # with nobody there it would not ask
        done = subprocess.run(
            line, shell=True, cwd=ROOT, env=reader, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, f"{line}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        if line == mine[0]:
            table(done.stdout, reader)


def table(first: str, reader: dict[str, str]) -> None:
    """Role, address, origin, state, and the two URLs to open; the second `make up` finds nothing to
    do."""
    second = subprocess.run(
        ["make", "up"], cwd=ROOT, env=reader, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(
        r"role +address +origin +state\nbackend +[0-9.]+ +http://[0-9.]+ +changed", first
    )
    assert re.search(r"open  (http://[0-9.]+/)\napi   (http://[0-9.]+/)", first)
    assert re.search(
        r"backend +[0-9.]+ +http://[0-9.]+ +unchanged\nfrontend +[0-9.]+ +http://[0-9.]+"
        r" +unchanged",
        second,
    )
    assert "nothing to do" in second


def test_no_file_of_the_tests_stays_among_the_stacks() -> None:
    """Stack files of tests are named so that git ignores them, and are removed."""
    assert "Pulumi.test-" in Path(ROOT, ".gitignore").read_text()
