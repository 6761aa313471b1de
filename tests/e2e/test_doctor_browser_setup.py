"""`fab doctor --browser` after a set-up without its package: that is installed, and Chromium
asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kit import ROOT, Kit, copy_of_the_checkout
from tests.support.servers import Quiet, answering
from tests.support.terminals import at_a_terminal
from tests.test_exits import unreachable

pytestmark = pytest.mark.browser


@pytest.fixture
def api() -> Iterator[int]:
    """The port of an API that allows every origin, without its headers for OPTIONS."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
            self.send_header("Content-Length", "0")
            self.end_headers()

    with answering(Handler, "127.0.0.2") as port:
        yield port


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout as `make up` leaves it: what runs, and no package for a browser."""
    folder = copy_of_the_checkout(tmp_path / "kit")
    for name in ("Makefile", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".tools").symlink_to((ROOT / ".tools").resolve())
    subprocess.run(["make", "-s", ".venv/run"], cwd=folder, check=True, capture_output=True)
    assert not list(folder.glob(".venv/lib/*/site-packages/playwright"))
    return folder


def test_the_browser_comes_with_one_yes(checkout: Path, api: int, tmp_path: Path) -> None:
    """Asked at a terminal, answered with y: the package is there, Chromium is asked, and the next
    run asks nothing."""
    file = unreachable(tmp_path, "local")
    contract = json.loads(file.read_text())
    contract["backend"]["origin"] = f"http://127.0.0.2:{api}"
    file.write_text(json.dumps(contract))
    command = [
        str(checkout / ".venv/bin/fab"),
        *("doctor", "--browser", "--json", "--outputs", str(file)),
        *("--origin", "http://localhost:5173"),
    ]
    for typed in ("y\n", ""):
        environment = Kit(tmp_path / "home").environment
        done = at_a_terminal(command, typed, checkout, environment, timeout=300)
        assert ("[y/N]" in done.stderr) == bool(typed), done.stderr
        (cell,) = json.loads(done.stdout)["cells"]
        assert cell["chromium"] == "200", done.stdout
