"""Local machines are one checkout's, outlive the cache, and are taken down without what is somebody
else's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kit import FAB, Kit, Stack, copy_of_the_checkout

pytestmark = pytest.mark.machines
SHARED_CACHE = Path(os.environ.get("ORIGIN_KIT_CACHE") or "/var/cache/origin-kit")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An environment with a cache of its own, since it is going to be deleted."""
    folder = tmp_path_factory.mktemp("owned")
    for whole in [*SHARED_CACHE.glob("images/*-*[0-9a-f]"), *SHARED_CACHE.glob("wheels/[0-9a-f]*")]:
        place = folder / "cache" / whole.relative_to(SHARED_CACHE)
        place.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--link", str(whole), str(place)], check=True)
    with Stack.of(Kit(folder / "home", {"ORIGIN_KIT_CACHE": str(folder / "cache")})) as made:
        made.fab("up")
        yield made


@pytest.fixture(scope="module")
def other(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another checkout, whose stack of the same name wants other machines."""
    checkout = copy_of_the_checkout(tmp_path_factory.mktemp("other"))
    path = checkout / "stacks" / stack.path.name
    path.write_text(path.read_text().replace("config:", "config:\n  origin-kit:memory_mb: 384", 1))
    return checkout


def fab(stack: Stack, checkout: Path, *words: str, status: int = 0) -> str:
    """`fab WORDS` in another checkout, over the same home; all that it says."""
    environment = {**stack.kit.environment, "PYTHONPATH": str(checkout)}
    command = [FAB, words[0], "--stack", stack.name, *words[1:]]
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def note(stack: Stack, text: str = "") -> str:
    """Data on the backend: written if there is a text, then read."""
    write = f"echo {text} > /var/lib/shop/note; sync /var/lib/shop/note; " if text else ""
    return stack.kit.ssh(stack.contract.backend.hosts[0], f"{write}cat /var/lib/shop/note").strip()


@pytest.mark.soak
def test_another_checkout_s_stack_is_not_touched(stack: Stack, other: Path) -> None:
    """Its `up` would replace the machines, its `down` remove them: both are refused, as is whatever
    changes a host. Looking is allowed, and says whose it is."""
    note(stack, "first")
    running = stack.processes()
    for words in (("up",), ("down", "--yes"), ("deploy",), ("ship",), ("rollback",)):
        said = fab(stack, other, *words, status=2)
        assert f"stack '{stack.name}' belongs to" in said
        assert f"and this is root in {other}; nothing was changed" in said
        assert "--take-over" in said
    assert f"NOT of this checkout (root in {other})" in fab(stack, other, "status")
    assert f"NOT of this checkout (root in {other})" in fab(
        stack, other, "plan", "--json", status=4
    )
    assert stack.processes() == running
    assert note(stack) == "first"
    assert "NOT of" not in stack.fab("status").stdout
    assert "nothing to do" in stack.fab("up").stdout


@pytest.mark.soak
def test_a_stack_is_taken_over_only_when_asked_to(stack: Stack, other: Path) -> None:
    """With --take-over it is the other checkout's, machines and data as they are; the first one is
    kept out then."""
    running = stack.processes()
    shutil.copy(stack.path, other / "stacks")
    assert "nothing to do" in fab(stack, other, "up", "--take-over")
    assert "belongs to root in" in stack.fab("deploy", status=2).stderr
    assert "belongs to root in" in stack.fab("down", "--yes", status=2).stderr
    assert "nothing to do" in stack.fab("up", "--take-over").stdout
    assert stack.processes() == running
    assert "belongs to root in" in fab(stack, other, "down", "--yes", status=2)


@pytest.mark.soak
def test_the_cache_may_be_deleted_at_any_time(stack: Stack) -> None:
    """The machines run on, nothing is to do, a killed one starts again with its data, and no image
    is built."""
    note(stack, "kept")
    running = stack.processes()
    shutil.rmtree(stack.kit.variables["ORIGIN_KIT_CACHE"])
    assert stack.processes() == running
    assert "nothing to do" in stack.fab("up").stdout
    for process in stack.kit.pids("backend-1"):
        os.kill(process, signal.SIGKILL)
    assert "has changed: running: true → false" in stack.fab("up", "--engine", "embedded").stdout
    assert note(stack) == "kept"
    assert not Path(stack.kit.variables["ORIGIN_KIT_CACHE"], "images").exists()


@pytest.mark.soak
def test_an_open_home_is_closed_and_foreign_files_in_it_stay(stack: Stack) -> None:
    """A verb that only looks closes it; `down` removes what the kit made, says what it leaves, and
    keeps its mark so that the next `up` goes on there."""
    home = stack.kit.home
    home.chmod(0o755)
    stack.fab("status")
    assert home.stat().st_mode & 0o777 == 0o700
    (home / "machines/mine.txt").write_text("x")
    assert f"leaves {home}/machines, which is not the kit's" in stack.fab("down", "--yes").stdout
    assert {path.name for path in home.rglob("*")} == {".origin-kit-home", "machines", "mine.txt"}
    assert str(home) not in Path("/proc/self/mounts").read_text()
    (home / "machines/mine.txt").unlink()
    stack.fab("down", "--yes")
    assert not home.exists()
