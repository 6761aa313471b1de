"""Ask the project that serves about itself: a program of `as_user` runs in it, as its user."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any, TypeVar

from on_host import places
from on_host.as_user import text
from on_host.confined import Confined
from on_host.runtime import hide

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 30
Form = TypeVar("Form")


def ask(program: str, bounded: Callable[[Any], Form]) -> Form | None:
    """What the program prints as its last line, {"<program>": …}, as `bounded` takes it; None where
    the project can't answer, has lost its files, or answers in another form."""
    code = places.current_folder()
    if code is None:
        return None
    try:
        said = _said(program, code)
    except (OSError, subprocess.SubprocessError):
        return None
    return checked(_answer(program, said), bounded)


def checked(answer: Any, bounded: Callable[[Any], Form]) -> Form | None:
    """Whatever the answer is, it comes from the application: nothing about its form is known.
    `bounded` takes from it what it expects, with bounds, and raises where that is not there."""
    try:
        return bounded(answer)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _said(program: str, code: str) -> str:
    """What the program prints, run by the interpreter of the release in the folder `code`."""
    app = places.app()
    # Not the name that a ship uses: a ship may run at the same time.
    unit = f"origin-kit-asked-{app}-{os.getpid()}"
    service = (places.CONFIGURATION / "systemd" / f"{app}.service").read_text()
    place = Confined(app, app, service, places.RUN / unit, unit)
    done = place.run(
        f"{code}/venv/bin/python",
        "-c",
        text(program),
        cwd=f"{code}/app",
        files=(places.CONFIGURATION / "secrets.env", places.CONFIGURATION / "environment"),
        limit_s=LIMIT_S,
    )
    return done.stdout


def _answer(program: str, said: str) -> Any:
    lines = [line for line in said.splitlines() if line.startswith(f'{{"{program}"')]
    if not lines:
        return None
    try:
        return json.loads(hide(lines[-1]))[program]
    except (ValueError, LookupError):
        return None
