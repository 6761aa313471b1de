"""How the application's code is run: the limits, the end of it, and what becomes of what it leaves
behind.

Below a root of a test's own no systemd looks after it, and a command is a plain process; the unit
itself is tried on a real machine by tests/e2e/test_hostile_app.py.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from on_host import confined, places
from on_host.confined import Confined, limits
from on_host.runtime import Failed

PYTHON = (
    "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
)  # one that anybody may run
UNIT = """\
# ProtectHome=no in a comment
[Unit]
Description=a
[Service]
Type=notify
User=shop
ExecStart=/x
EnvironmentFile=/secrets
WorkingDirectory=/w
RuntimeDirectory=shop
KillMode=mixed
TimeoutStopSec=1
Restart=always
# Comment=1
ProtectSystem=strict
ReadWritePaths=/var/lib/shop
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
[Install]
WantedBy=x
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Confined:
    monkeypatch.setattr(places, "ROOT", tmp_path)
    return Confined("shop", "nobody", UNIT, tmp_path / "private")


def python(place: Confined, code: str, **more: object) -> confined.Ended:
    return place.run(PYTHON, "-c", code, **more)  # type: ignore[arg-type]


def test_the_service_s_limits_are_used_and_not_its_start() -> None:
    """Whatever the unit says of user and limits, in its order, and nothing of how it starts and
    stops."""
    assert limits(UNIT) == [
        "User=shop",
        "ProtectSystem=strict",
        "ReadWritePaths=/var/lib/shop",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
    ]
    assert limits("") == []


def test_the_order_of_limits_kit_unit_least(place: Confined) -> None:
    """Values and secrets are in a file, and the time limit and the end of the whole group are
    always there."""
    words = place._unit_words([Path("/run/x/environment")], "/opt/shop/releases/a/app", 600)
    given = [word.removeprefix("--property=") for word in words if word.startswith("--property=")]
    assert given.index("ProtectSystem=strict") < given.index("SystemCallFilter=@system-service")
    for line in (
        "KillMode=control-group",
        "RuntimeMaxSec=600",
        "PrivateTmp=true",
        "ProtectProc=invisible",
    ):
        assert given.index(line) > given.index("SystemCallFilter=~@privileged")
    assert "EnvironmentFile=/run/x/environment" in given
    assert not any(line.startswith(("ExecStart", "Restart", "Environment=")) for line in given)


def test_a_command_s_words_and_status_come_back(place: Confined) -> None:
    ended = python(place, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (ended.returncode, set(ended.stdout.split()), ended.late) == (3, {"out", "err"}, False)


def test_the_environment_holds_nothing_of_root_s(
    place: Confined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOTS_OWN", "x")
    said = python(
        place, "import os; print(sorted(os.environ), os.getuid())", env={"MINE": "1"}
    ).stdout
    assert "ROOTS_OWN" not in said
    assert "MINE" in said
    assert os.geteuid() != 0 or " 0" not in said


def test_a_child_with_the_output_open_is_ended(place: Confined, tmp_path: Path) -> None:
    """It would sleep for an hour; the command's own end is the end."""
    began = time.monotonic()
    code = "import os, time\nchild = os.fork()\nif child == 0: time.sleep(3600)\nprint(child)"
    ended = python(place, code)
    assert time.monotonic() - began < 30
    assert ended.returncode == 0
    child = Path("/proc", ended.stdout.strip(), "stat")
    end = time.monotonic() + 10
    while child.exists() and child.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_command_that_hangs_ends_at_its_limit(place: Confined) -> None:
    ended = python(place, "import time; print('begun', flush=True); time.sleep(3600)", limit_s=0.5)
    assert (ended.late, ended.limit_s, ended.stdout) == (True, 0.5, "begun\n")
    assert ended.returncode != 0


def test_a_flood_of_words_keeps_its_end_only(place: Confined) -> None:
    """Tracebacks are at the end; a gigabyte before it costs no memory."""
    ended = python(place, "print('x' * 3_000_000); print('the end')")
    assert len(ended.stdout) <= confined.KEPT
    assert ended.stdout.endswith("the end\n")


def test_what_it_says_steers_no_terminal(place: Confined) -> None:
    """It ends up on the operator's screen; lines and tabs stay."""
    assert (
        python(place, r"print('a\tb\x1b]0;title\x07\x9b31m\r\nc')").stdout == "a\tb]0;title31m\nc\n"
    )


def test_what_is_handed_over_is_bounded(place: Confined, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file gets the standard output, up to the limit; what it says of errors comes back as
    text."""
    code = "import sys; print('x' * 1000); print('said', file=sys.stderr)"
    with tempfile.TemporaryFile() as out:
        assert python(place, code, into=out).stdout == "said\n"
        assert out.tell() == 1001
        monkeypatch.setattr(confined, "MOST_HANDED_OVER", 500)
        with pytest.raises(Failed, match="hands over more than"):
            python(place, code, into=out)
