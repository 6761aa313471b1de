"""What the operator sees, with and without a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap

import pytest

from rollout import report

WORK = """
    import threading, time
    from rollout import report

    report.QUIET_S = 0.05

    def ship(name, seconds):
        with report.progress(name) as advance:
            for number in range(5):
                advance(number / 4, f"part {number}")
                time.sleep(seconds)
        with report.busy(name) as begin:
            begin("installs it")
            time.sleep(seconds)
            begin("starts it")
            time.sleep(seconds)

    hosts = [threading.Thread(target=ship, args=(f"host-{n}", 0.1 * n)) for n in (1, 2, 3)]
    [host.start() for host in hosts]
    [host.join() for host in hosts]
    report.line("all done")
"""


def on_a_terminal(program: str) -> str:
    """Everything that the program writes to a terminal of 100 columns."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        text = b""
        while True:
            try:
                chunk = os.read(leader, 1 << 16)
            except OSError:
                break
            if not chunk:
                break
            text += chunk
    os.close(leader)
    assert process.returncode == 0, text.decode()
    return text.decode()


def test_bars_of_several_hosts_share_the_terminal() -> None:
    """A bar with elapsed time for each, lines of steps above them, and nothing of the bars stays."""
    text = on_a_terminal(WORK)
    assert "Traceback" not in text
    assert "━" in text
    assert "0:00:0" in text
    for host in ("host-1", "host-2", "host-3"):
        assert f"  {host:<12} installs it" in text
        assert f"  {host:<12} starts it" in text
    assert "all done" in text


def test_without_a_terminal_there_are_only_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WORK)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "━" not in done.stdout
    assert "\x1b" not in done.stdout
    assert "  host-3       starts it\n" in done.stdout
    assert "  host-3       100% part 4\n" in done.stdout
    assert done.stdout.endswith("all done\n")


def test_what_is_quick_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with report.progress("release") as advance:
        advance(0.5, "half")
    assert capsys.readouterr().out == ""


def test_a_table_has_columns_as_wide_as_they_need() -> None:
    assert report.table(("a", "long heading"), [("xxxx", "y")]) == "a     long heading\nxxxx  y"
