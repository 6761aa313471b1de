"""What holds data is not lost in passing: an edit of the config shows in plan, and up asks before
it replaces."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.support.kit import Kit, Stack

pytestmark = pytest.mark.machines
ENGINES = [
    "embedded",
    pytest.param(
        "pulumi",
        marks=pytest.mark.skipif(
            shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH"
        ),
    ),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.of(Kit(tmp_path_factory.mktemp("losses") / "home")) as made:
        made.fab("up", "--engine", "embedded")
        made.kit.ssh(
            made.contract.backend.hosts[0], "echo two hundred orders > /var/lib/shop/orders"
        )
        yield made


def orders(stack: Stack) -> str:
    return stack.kit.ssh(
        stack.contract.backend.hosts[0], "cat /var/lib/shop/orders || true", check=False
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_more_memory_comes_to_machines_that_run(stack: Stack, engine: str) -> None:
    """Shown by plan with the key, done by up without a restart, gone from the plan then."""
    running = stack.processes()
    stack.write(memory_mb=640 if engine == "embedded" else 704)
    shown = stack.fab("plan", "--engine", engine).stdout
    assert "backend-1    would update the machine: memory_mb changed" in shown
    assert stack.fab("plan", "--check", "--engine", engine, status=1).stdout == shown
    stack.fab("up", "--engine", engine)
    assert stack.processes() == running
    assert orders(stack) == "two hundred orders\n"
    assert "infrastructure: unchanged" in stack.fab("plan", "--check", "--engine", engine).stdout
    left = stack.kit.home.glob("machines/*/machine.json")
    assert all(
        f'"memory_mb": {640 if engine == "embedded" else 704}' in path.read_text() for path in left
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_another_network_is_asked_about_before_anything(stack: Stack, engine: str) -> None:
    """It would replace both machines: plan says so, up with nobody there stops and names the
    options, all stays."""
    running = stack.processes()
    stack.write(subnet=f"10.214.{os.getpid() % 250}.0/24", memory_mb=768)
    shown = stack.fab("plan", "--engine", engine).stdout
    assert "network      would replace the Network" in shown
    assert shown.count("; WHAT IT HOLDS IS LOST") == 2
    refused = stack.fab("up", "--engine", engine, status=3)
    for name in ("frontend-1", "backend-1"):
        assert f"{name:<12} would replace the machine" in refused.stdout
        assert f"--allow-replace {name}" in refused.stderr
    assert (
        stack.fab("up", "--engine", engine, "--allow-replace", "frontend-1", status=3).stderr.count(
            "--allow"
        )
        == 1
    )
    assert stack.processes() == running
    assert orders(stack) == "two hundred orders\n"
    assert all(
        '"memory_mb": 768' not in path.read_text()
        for path in stack.kit.home.glob("machines/*/machine.json")
    )


@pytest.mark.soak
def test_what_is_allowed_by_name_is_replaced(stack: Stack) -> None:
    """The last of these stories: the data goes, as it was said."""
    stack.write(subnet=f"10.214.{os.getpid() % 250}.0/24")
    allowed = ("--allow-replace", "frontend-1", "--allow-replace", "backend-1")
    assert (
        "replaces it: wanted_subnet changed"
        in stack.fab("up", "--engine", "embedded", *allowed).stdout
    )
    assert stack.contract.backend.hosts[0].address.startswith("10.214.")
    assert orders(stack) == ""
