"""The application's user and its data on a host, and what runs there as that user.

Everything below /var/lib/<app> is the application's: root makes the folder and gives it away, and
whatever looks into it runs as the application's user.
"""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import Any

from on_host import claims, confined, places
from on_host.as_user import text
from on_host.orders import SHIP_ORDERS
from on_host.runtime import Failed, last_lines, run, step

IS_ROOT = os.geteuid() == 0


def prepare_user() -> None:
    """The application's own user, and the data that outlives every release. What exists stays as it
    is."""
    step("user", "makes sure of the user and of its data")
    make_user()
    # Below this folder everything is the application's, links included: nothing there is touched by
    # root.
    done = in_data("data", "prepare")
    if done.returncode:
        raise Failed(
            f"{places.data()} can't be prepared as user {places.user()}; see its owner and mode",
            last_lines(done.stdout),
        )


def make_user() -> None:
    """The user, and its folder, in which there may be nothing yet."""
    if IS_ROOT and not claims.user_of(places.user()):
        made = run(
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            str(places.data()),
            "--shell",
            "/usr/sbin/nologin",
            places.user(),
        )
        if made.returncode:
            raise Failed(
                f"the user {places.user()} can't be made; is the name taken by a group?",
                made.stdout,
            )
    if not places.data().exists():
        places.data().mkdir(parents=True)
    if IS_ROOT:
        owner = pwd.getpwnam(places.user())
        os.chown(str(places.data()), owner.pw_uid, owner.pw_gid)
    places.data().chmod(0o711)  # nginx passes through to media, and can't list what else is there


def as_user(*command: str, **more: Any) -> confined.Ended:
    """Run as the application's user, within its service's limits; `more` is what `Confined.run`
    takes."""
    if not _place:
        unit = SHIP_ORDERS.get("unit") or ""
        _place.append(
            confined.Confined(
                places.app(),
                places.user(),
                unit,
                places.private(),
            )
        )
    return _place[0].run(*command, **more)


def apart(what: str, data: Path | None = None, over: Path | None = None) -> confined.Confined:
    """A place for the application's user of its own, next to whatever else runs for it; `data` and
    `over` are as in `Confined`."""
    service = places.CONFIGURATION / "systemd" / f"{places.app()}.service"
    unit = f"origin-kit-{what}-{places.app()}-{os.getpid()}"
    text_of_unit = service.read_text() if service.exists() else ""
    return confined.Confined(
        places.app(),
        places.user(),
        text_of_unit,
        places.RUN / unit,
        unit,
        data,
        over,
    )


_place: list[confined.Confined] = []  # where the application's code runs, from the first command on


def in_data(program: str, action: str, *words: str, **more: Any) -> confined.Ended:
    """Run a program of `on_host.as_user` on the data folder, by the system's own Python, as the
    application's user."""
    return as_user(
        sys.executable,
        "-I",
        "-c",
        text(program),
        action,
        str(places.data()),
        *words,
        **more,
    )
