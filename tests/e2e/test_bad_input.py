"""What goes wrong on a normal day: one clear message, a status, and a next run that works."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Host
from tests.support.kit import ROOT, Kit, Stack, a_copy_of_the_example

pytestmark = pytest.mark.machines


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Both streams; a traceback is a bug."""
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    return text


def contract_with(stack: Stack, folder: Path, **changes: Any) -> str:
    """A contract file whose backend host is changed so."""
    contract = json.loads(stack.fab("outputs").stdout)
    contract["backend"]["hosts"][0] |= changes
    path = folder / "contract.json"
    path.write_text(json.dumps(contract))
    return str(path)


def backend(stack: Stack) -> Host:
    return stack.contract.backend.hosts[0]


def test_a_wrong_host_key_stops_everything(stack: Stack, tmp_path: Path) -> None:
    """The frontend's key where the backend's should be: nothing is sent there."""
    other = list(stack.contract.frontend.hosts[0].host_keys)
    text = said(
        stack.fab("deploy", "--outputs", contract_with(stack, tmp_path, host_keys=other), status=4)
    )
    assert "backend-1" in text
    assert "its host key is not the one in the contract" in text


def test_a_wrong_user_is_named(stack: Stack, tmp_path: Path) -> None:
    text = said(
        stack.fab("deploy", "--outputs", contract_with(stack, tmp_path, user="ubuntu"), status=4)
    )
    assert "for user ubuntu" in text


def test_a_closed_port_is_named(stack: Stack, tmp_path: Path) -> None:
    text = said(
        stack.fab("deploy", "--outputs", contract_with(stack, tmp_path, port=2222), status=4)
    )
    assert "port 2222 refused the connection" in text


def test_a_port_in_use_is_named_and_nothing_changes(stack: Stack) -> None:
    """Who holds it, by name and process id; freed, the same command works."""
    host = stack.contract.frontend.hosts[0]
    program = 'import socket,time; s = socket.create_server(("0.0.0.0", 80)); time.sleep(600)'
    stack.kit.ssh(
        host,
        "systemctl stop nginx.socket nginx.service && "
        f"systemd-run -q --unit blocker /usr/bin/python3 -c '{program}' && "
        "until ss -Hlnt sport = :80 | grep -q .; do sleep 0.05; done",
    )
    text = said(stack.fab("deploy", status=1))
    assert "port 80 is taken by python3 (pid" in text
    stack.kit.ssh(host, "systemctl stop blocker")
    stack.fab("deploy")
    assert "as the contract says" in stack.fab("status").stdout


@pytest.fixture
def project() -> Iterator[Path]:
    with a_copy_of_the_example() as copy:
        yield copy


def test_a_broken_project_leaves_the_old_release_serving(stack: Stack, project: Path) -> None:
    """Its own traceback, shortened, and the setting that named it; then how to undo it."""
    before = stack.fab("status").stdout
    settings = project / "shop" / "settings.py"
    settings.write_text(settings.read_text() + "\nimport nothing_of_that_name\n")
    stack.write(backend_path=str(project.relative_to(ROOT)))
    done = stack.fab("ship", status=1)
    text = done.stdout + done.stderr
    assert "shop.settings" in text
    assert "No module named 'nothing_of_that_name'" in text
    assert len(done.stderr.splitlines()) < 20
    assert "backend_path changed: run `fab ship`" in stack.fab("status", status=1).stdout
    stack.write()
    assert stack.fab("status").stdout == before
    assert "unchanged" in stack.fab("ship").stdout


def test_a_host_without_room_keeps_what_it_has(stack: Stack, project: Path) -> None:
    """A full disk stops a ship with a word about the disk; with room again it goes through."""
    (project / "shop" / "large.bin").write_bytes(b"\0" * (4 << 20))
    stack.write(backend_path=str(project.relative_to(ROOT)))
    host = backend(stack)
    stack.kit.ssh(host, "mkdir -p /opt/shop && mount -t tmpfs -o size=1m tmpfs /opt/shop/releases")
    try:
        text = said(stack.fab("ship", status=1))
        assert "disk is full" in text
    finally:
        stack.kit.ssh(host, "umount /opt/shop/releases")
        stack.write()
    assert "as the contract says" in stack.fab("status").stdout


@pytest.mark.soak
def test_an_operator_without_room_gets_a_message(tmp_path: Path) -> None:
    """The kit's home on a full file system: no machine, no mount, no half-written state is left.
    (By the embedded engine: the CLI can't write its own state either, and says so in words of its
    own.)"""
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(home)], check=True)
    try:
        with Stack.of(Kit(home / "kit")) as made:
            text = said(made.fab("up", "--engine", "embedded", status=1))
            assert "No space left on device" in text
        left = [
            line
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if str(home / "kit") in line
        ]
        assert left == []
    finally:
        subprocess.run(["umount", str(home)], check=True)
