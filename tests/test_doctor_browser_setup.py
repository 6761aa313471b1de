"""`fab doctor --browser` where Chromium, or the package that drives it, is not installed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from rollout.doctor import browser_setup
from rollout.doctor.browser import BrowserError
from rollout.question import QuestionError
from tests.support.kit import FAB, ROOT
from tests.support.terminals import at_a_terminal
from tests.test_exits import unreachable

COMMAND = "make chromium"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with what `fab` needs, and no Chromium."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "realpath", "git", "ssh", "cat", "chmod", "printf"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    return programs


def make(programs: Path, script: str) -> None:
    """A `make` of this test's own, which notes its words."""
    path = programs / "make"
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> "{programs}/words"\n{script}\n')
    path.chmod(0o755)


def chromium_appears(programs: Path) -> str:
    return f'printf "#!/bin/sh\\n" > "{programs}/chromium"; chmod 755 "{programs}/chromium"'


def on_a_terminal(typed: str, *words: str) -> tuple[int, str, str]:
    """Status, stdout and what the terminal showed (stderr) of `fab WORDS` with `typed` at it."""
    done = at_a_terminal([FAB, *words], typed)
    return done.returncode, done.stdout, done.stderr


def doctor(tmp_path: Path, *words: str) -> list[str]:
    return ["doctor", "--browser", "--outputs", str(unreachable(tmp_path, "local")), *words]


def test_without_a_terminal_the_command_is_named(bare: Path, tmp_path: Path) -> None:
    """Status 3, before anything was asked: what is missing and what installs it."""
    done = at_a_terminal([FAB, *doctor(tmp_path)], typed=None)
    assert done.returncode == 3
    assert "--browser needs Chromium, not installed here" in done.stderr
    assert f"run `{COMMAND}`, or leave --browser out" in done.stderr
    assert "nothing answers" not in done.stdout


def test_who_says_yes_gets_it_installed_and_goes_on(bare: Path, tmp_path: Path) -> None:
    """One command: it installs, then the doctor asks as usual."""
    make(bare, chromium_appears(bare))
    status, said, _ = on_a_terminal("y\n", *doctor(tmp_path))
    assert "Install now (`make chromium`)? [y/N]" in said
    assert (bare / "words").read_text() == f"-s -C {ROOT} chromium\n"
    assert status == 4 and "nothing could be asked" in said


def test_with_json_the_question_goes_to_stderr(bare: Path, tmp_path: Path) -> None:
    """What a program reads stays JSON."""
    make(bare, f"echo installs; {chromium_appears(bare)}")
    status, said, shown = on_a_terminal("y\n", *doctor(tmp_path, "--json"))
    assert status == 4 and json.loads(said)["findings"][0]["code"] == "nothing-answers"
    assert "[y/N]" in shown and "installs" in shown


@pytest.mark.parametrize(
    ("typed", "script", "words"),
    [
        ("n\n", "exit 0", "--browser needs Chromium, not installed here; run `make chromium`"),
        ("\n", "exit 0", "--browser needs Chromium, not installed here; run `make chromium`"),
        ("y\n", "exit 3", "`make chromium` failed (status 3)"),
        ("y\n", "exit 0", "`make chromium` did not install Chromium"),
    ],
)
def test_what_stays_missing_is_status_4(
    bare: Path, tmp_path: Path, typed: str, script: str, words: str
) -> None:
    """It was not wanted, or it failed: one message with the next step."""
    make(bare, script)
    status, _, said = on_a_terminal(typed, *doctor(tmp_path))
    assert status == 4 and words in said


def test_a_computer_without_make_says_so(bare: Path, tmp_path: Path) -> None:
    status, _, said = on_a_terminal("y\n", *doctor(tmp_path))
    assert status == 4 and "`make chromium` could not start" in said


def test_the_package_alone_may_be_missing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are named where both are missing."""
    monkeypatch.setitem(sys.modules, "playwright", None)
    assert browser_setup.missing() == ["Chromium", "the package playwright"]
    (bare / "chromium").symlink_to("/bin/true")
    assert browser_setup.missing() == ["the package playwright"]
    with pytest.raises(QuestionError, match="the package playwright"):
        browser_setup.provide()
    assert QuestionError.exit_status == 3 and BrowserError.exit_status == 4
