"""What the operator sees, with and without a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from rollout import report, verb
from tests.support.kit import FAB, ROOT

COLOUR = re.compile(r"\x1b\[[\d;]*(?:3[0-7]|4[0-7]|9[0-7]|10[0-7]|[34]8)[\d;]*m")
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
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=follower,
        stderr=follower,
        env=environment,
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
    """A bar with elapsed time for each, lines of steps above them, and nothing of the bars
    stays."""
    text = on_a_terminal(WORK)
    assert "Traceback" not in text
    assert "━" in text
    assert "0:00:0" in text
    for host in ("host-1", "host-2", "host-3"):
        assert f"  {host:<12} installs it" in text
        assert f"  {host:<12} starts it" in text
    assert "all done" in text


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bars are the only thing in colour, and with NO_COLOR they are not either."""
    assert COLOUR.search(on_a_terminal(WORK))
    monkeypatch.setenv("NO_COLOR", "1")
    text = on_a_terminal(WORK)
    assert "━" in text and not COLOUR.search(text)


def test_without_a_terminal_there_are_only_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WORK)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
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


def test_a_table_is_aligned_as_it_is_shown() -> None:
    """An escape sequence is made visible before widths are counted, so it moves no other cell."""
    assert report.table(("a", "b"), [("\x1b[2J", "y")]).splitlines() == [
        "a        b",
        "\\x1b[2J  y",
    ]


# ------------------------------------------------------------------------------------- hostile text

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxet\u2066\u2028over\rwritten\x08\x00\x7f\ud800"


def evil_in(text: str) -> list[str]:
    """Characters that a terminal acts on, or that a person can't see."""
    return [
        character for character in text if character not in "\n\t" and not character.isprintable()
    ]


def test_what_a_terminal_acts_on_is_made_visible() -> None:
    """Escape sequences, other control characters, direction overrides and separators show as Python
    writes them."""
    assert (
        report.harmless(EVIL)
        == r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxet\u2066\u2028over\rwritten\x08\x00\x7f\ud800"
    )


def test_what_people_write_stays() -> None:
    """Lines, tabs and every language; a line that ends as Windows does is a line."""
    text = "größe\tשלום\nمرحبا 你好 👩‍💻\n"
    assert report.harmless(text) == text
    assert report.harmless("one\r\ntwo") == "one\ntwo"


def test_nothing_that_is_printed_acts_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A line, a step, a table, an error; a cell and a step can't begin lines of their own in a
    table."""
    report.line(EVIL)
    report.line(EVIL, sys.stderr)
    report.step("host", EVIL)
    report.line(report.table((EVIL, "b"), [("one\ntwo", EVIL)]))
    with report.busy("host") as begin:
        begin(EVIL)
    said = capsys.readouterr()
    assert evil_in(said.out + said.err) == []
    assert "one\\ntwo" in said.out


def test_json_stays_exact(capsys: pytest.CaptureFixture[str]) -> None:
    """It has such characters escaped already: what a program reads is what the host wrote."""
    report.line(json.dumps({"text": EVIL}))
    assert json.loads(capsys.readouterr().out) == {"text": EVIL}


def test_a_bar_shows_any_text() -> None:
    """What a host does is text, and neither markup nor an escape sequence."""
    program = f"""
        import time
        from rollout import report
        with report.busy("host-1") as begin:
            for text in ("[/red] [bold", {EVIL!r}):
                begin(text)
                time.sleep(0.3)
        with report.progress("host-2") as advance:
            advance(0.5, {EVIL!r})
            time.sleep(0.3)
    """
    said = on_a_terminal(program)
    assert "[/red] [bold" in said
    assert "\x1b]0;owned" not in said and "\x1b[2J" not in said and "\u202e" not in said


def test_an_error_is_shown_harmless(tmp_path: Path) -> None:
    """What a file or a host says reaches the terminal by the error's message: the verb's last
    words."""
    file = tmp_path / "outputs\x1b[2J.json"
    file.write_text('{"contract": 1, "\\u001b[31m\\u202e": 0}')
    done = subprocess.run(
        [FAB, "plan", "--outputs", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "unknown to this kit" in done.stderr
    assert evil_in(done.stdout + done.stderr) == []


def test_an_unreadable_file_s_name_is_shown_harmless() -> None:
    """The name of a file can be hostile text as well."""

    def refused(_: object) -> None:
        raise PermissionError(13, "Permission denied", f"/srv/{EVIL}")

    with pytest.raises(Exit) as caught:
        verb.verb()(refused).body(None)
    assert "permission denied; run this as the owner of the file" in str(caught.value.message)
    assert evil_in(str(caught.value.message)) == []
