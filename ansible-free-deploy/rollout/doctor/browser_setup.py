"""What `fab doctor --browser` needs and `make up` does not install: a Chromium, and the package
that drives it."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
from typing import TextIO

from rollout import question
from rollout.doctor.browser import BrowserError, installed
from rollout.stacks import ROOT

COMMAND = "make chromium"
_CURE = f"run `{COMMAND}`, or leave --browser out"


def missing() -> list[str]:
    """What is not there, in words."""
    found = []
    if not installed():
        found.append("Chromium")
    if importlib.util.find_spec("playwright") is None:
        found.append("the package playwright")
    return found


def provide(stream: TextIO | None = None) -> None:
    """Install what is missing, if the person at the terminal says yes; what they read goes to
    `stream` (by default stdout).

    Raises QuestionError where there is no terminal, BrowserError where it is still missing at the
    end.
    """
    absent = missing()
    if not absent:
        return
    needs = f"--browser needs {' and '.join(absent)}, not installed here"
    answer = question.ask(
        f"{needs}. Install now (`{COMMAND}`)? [y/N] ", f"{needs}; {_CURE}", stream
    )
    if answer.lower() not in ("y", "yes"):
        raise BrowserError(needs, cure=_CURE)
    _install(stream)
    importlib.invalidate_caches()
    absent = missing()
    if absent:
        raise BrowserError(f"`{COMMAND}` did not install {' and '.join(absent)}", cure=_CURE)


def _install(stream: TextIO | None) -> None:
    try:
        done = subprocess.run(
            ["make", "-s", "-C", str(ROOT), COMMAND.split()[1]],
            stdout=stream,
            check=False,
        )
    except OSError as problem:
        raise BrowserError(f"`{COMMAND}` could not start: {problem.strerror}") from None
    if done.returncode:
        raise BrowserError(f"`{COMMAND}` failed (status {done.returncode})", cure=_CURE)
