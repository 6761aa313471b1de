"""Both Debians that hosts may have: the core story from up to down on each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kit import OLD, Kit, Stack
from tests.support.sampling import sampled

pytestmark = pytest.mark.machines

# What each release brings, so that nobody takes one for the other.
BRINGS = {"bookworm": ("12", "3.11", "1.22"), "trixie": ("13", "3.13", "1.26")}
ASK = '. /etc/os-release; python3 -V; nginx -v 2>&1; echo "Debian $VERSION_ID"'


# The host's own is what all other stories run on: with them once more is for the long tests.
OWN = [name for name in BRINGS if f"VERSION_CODENAME={name}" in Path("/etc/os-release").read_text()]


@pytest.fixture(params=sampled(BRINGS, [name for name in BRINGS if name not in OWN]))
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stack(release: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.of(Kit(tmp_path_factory.mktemp(release) / "home")) as made:
        made.usual = {"image": release}
        made.write()
        yield made


def warnings_of(stack: Stack) -> list[str]:
    """What nginx has to say of its configuration on each host beyond "ok", and units about their
    files."""
    question = (
        "nginx -t -c /etc/nginx/origin-kit-main.conf 2>&1 | grep -v 'syntax is ok' | grep -v 'test"
        " is successful'; journalctl -b -q -o cat _PID=1 | grep -iE"
        " '(nginx|shop|origin-kit)[a-z-]*\\.(service|socket):[0-9]+:'"
    )
    return [
        line
        for _, host in stack.contract.hosts
        for line in stack.kit.ssh(host, question, False).splitlines()
    ]


def test_the_core_story_on_each_debian(stack: Stack, release: str) -> None:
    """Up, nothing to do, an edit, a ship, a rollback, a stop that is seen, doctor, down; and no
    warning of any tool."""
    said = stack.fab("up").stdout
    assert "done" in said
    assert "nothing to do" in stack.fab("up").stdout
    debian, python, nginx = BRINGS[release]
    for role, host in stack.contract.hosts:
        answer = stack.kit.ssh(host, ASK)
        assert (
            f"Debian {debian}" in answer
            and f"Python {python}" in answer
            and f"nginx/{nginx}" in answer
        ), role
    assert warnings_of(stack) == []

    stack.write(extra_origins=[OLD], workers=3)
    assert "restarted gunicorn, nginx" in stack.fab("deploy").stdout
    assert "all as intended" in stack.fab("doctor").stdout
    assert stack.fab("status").stdout.count("as the contract says") == 2
    assert "unchanged" in stack.fab("ship").stdout
    assert "changed" in stack.fab("rollback").stdout
    stack.fab("deploy")

    backend = stack.contract.backend.hosts[0]
    stack.kit.ssh(backend, "systemctl stop shop.service")
    assert "shop.service=inactive" in stack.fab("status", status=1).stdout
    stack.fab("deploy", "--restart")
    assert stack.fab("status").stdout.count("as the contract says") == 2
    assert "gunicorn" in stack.fab("logs").stdout
    assert warnings_of(stack) == []
    assert f"{stack.name} is gone" in stack.fab("down", "--yes").stdout
    assert list(stack.kit.home.glob("*")) == []
