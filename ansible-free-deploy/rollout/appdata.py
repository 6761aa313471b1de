"""The application's user and its data on a host, and what runs there as that user.

Standard library only (Python >= 3.9), like every text that runs on a host. Everything below /var/lib/<app> is the
application's: root makes the folder and gives it away, and whatever looks into it runs as the application's user.
"""

from __future__ import annotations

import os
import pwd
import sys
from typing import Any

from rollout import confined
from rollout.onhost import PAYLOAD, ROOT, Failed, last_lines, run, step

APP = str(PAYLOAD.get("app", ""))
USER = str(PAYLOAD.get("user", APP))
DATA = ROOT / "var/lib" / APP
PRIVATE = ROOT / "run" / f"origin-kit-code-{APP}"
IS_ROOT = os.geteuid() == 0


def prepare_user() -> None:
    """The application's own user, and the data that outlives every release. What exists stays as it is."""
    step("user", "makes sure of the user and of its data")
    make_user()
    # Below this folder everything is the application's, links included: nothing there is touched by root.
    done = in_data(PREPARE_DATA)
    if done.returncode:
        raise Failed(f"{DATA} can't be prepared as user {USER}; see its owner and mode", last_lines(done.stdout))


def make_user() -> None:
    """The user, and its folder, in which there may be nothing yet."""
    if IS_ROOT and not user_exists():
        made = run(
            "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(DATA),
            "--shell", "/usr/sbin/nologin", USER,
        )  # fmt: skip
        if made.returncode:
            raise Failed(f"the user {USER} can't be made; is the name taken by a group?", made.stdout)
    if not DATA.exists():
        DATA.mkdir(parents=True)
    if IS_ROOT:
        owner = pwd.getpwnam(USER)
        os.chown(str(DATA), owner.pw_uid, owner.pw_gid)
    DATA.chmod(0o711)  # nginx passes through to media, and can't list what else is there


PREPARE_DATA = """
import os, secrets, sys
os.chdir(sys.argv[1])
os.makedirs("media", exist_ok=True)
os.chmod("media", 0o755)
if not os.path.exists("secret_key"):
    new = os.open(".secret_key.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    os.write(new, secrets.token_urlsafe(48).encode())
    os.fsync(new)
    os.rename(".secret_key.new", "secret_key")
os.chmod("secret_key", 0o600)
"""


def user_exists() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def as_user(*command: str, **more: Any) -> confined.Ended:
    """Run as the application's user, within its service's limits; `more` is what `Confined.run` takes."""
    if not _place:
        unit = PAYLOAD.get("unit") or ""
        _place.append(confined.Confined(APP, USER, unit, PRIVATE))
    return _place[0].run(*command, **more)


_place: list[confined.Confined] = []  # where the application's code runs, from the first command on


def in_data(script: str, *words: str, **more: Any) -> confined.Ended:
    """Run lines of this text in the data folder, by the system's own Python, as the application's user."""
    return as_user(sys.executable, "-I", "-c", script, str(DATA), *words, **more)
