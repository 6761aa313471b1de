"""The tutorial's own commands, as a reader types them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import chromium
from tests.support.kit import ROOT

pytestmark = [pytest.mark.machines, pytest.mark.browser, pytest.mark.soak]

TUTORIAL = ROOT / "docs" / "tutorial.md"
STACK_FILE = ROOT / "stacks" / "Pulumi.guestbook.yaml"


def blocks() -> list[str]:
    """Every `sh` block of the page, in order."""
    return re.findall(r"```sh\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The reader's environment; whatever happens, nothing of the stack is left."""
    environment = {
        **os.environ,
        "ORIGIN_KIT_HOME": str(tmp_path / "home"),
        "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
    }
    assert not STACK_FILE.exists(), "somebody's own guestbook is here"
    yield environment
    if STACK_FILE.exists():
        words = ["fab", "down", "--stack", "guestbook", "--yes"]
        subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True)
        STACK_FILE.unlink()


def test_the_commands_of_the_tutorial_work_in_order(reader: dict[str, str], tmp_path: Path) -> None:
    """Every block ends well; where the page says that a command fails, its own `|| true` says so
    too."""
    project = os.path.relpath(tmp_path / "guestbook", ROOT)
    said: list[str] = []
    for block in blocks():
        text = block.replace("../guestbook", project)
        done = subprocess.run(
            ["bash", "-ec", text],
            cwd=ROOT,
            env=reader,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        said.append(done.stdout + done.stderr)
        assert done.returncode == 0, f"{text}\n{said[-1]}"
        if block.startswith("fab up"):
            write_an_entry(said[-1])
    whole = "\n".join(said)
    assert "http://localhost:5173 is not in the contract" in whole
    assert re.search(r"manage.py check fails: RuntimeError: a bad day .*continues to serve", whole)
    assert whole.count("all as intended") == 2
    assert "guestbook is gone" in whole


def write_an_entry(said: str) -> None:
    """What the page asks the reader to do: open the first address, write, and see it."""
    found = re.search(r"^open +(\S+)$", said, re.MULTILINE)
    assert found, said
    with chromium() as browser:
        page = browser.new_page()
        page.goto(found[1])
        page.fill("input[name=text]", "hello")
        page.click("button")
        page.wait_for_selector("li:has-text('hello')")
