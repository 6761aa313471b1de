"""Make the Python environment that a release runs in, from the wheels that were sent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import subprocess
import sys
from pathlib import Path

from on_host import places, wheelfiles
from on_host.files import point, sync
from on_host.orders import SHIP_ORDERS
from on_host.release import manifest
from on_host.release.folders import remove
from on_host.release.state import is_complete_venv, lock_of, names_in
from on_host.runtime import Failed, last_lines, run, step
from on_host.user import IS_ROOT

COMPILE_S = 600


def for_the_application_alone(folder: Path) -> None:
    """Let only root and the application's user read a folder; nginx and others can't enter."""
    if IS_ROOT:
        os.chown(str(folder), 0, pwd.getpwnam(places.user()).pw_gid)
    folder.chmod(0o750)


def venv_for(lock: str) -> Path:
    """The unmodified environment for this lock, or an unused name for a new one.

    The scripts in an environment hold its path, so a new one can't be moved to the place of a
    modified one that still serves.
    """
    names = [name for name in names_in(places.venvs()) if lock_of(name) == lock]
    for name in names:
        if is_complete_venv(name):
            return places.venvs() / name
    name = lock
    number = 1
    while name in names:
        number += 1
        name = f"{lock}-{number}"
    return places.venvs() / name


def lead_releases_to(venv: Path) -> None:
    """Lead the releases of the same lock to an environment that replaces a modified one."""
    for name in names_in(places.releases()):
        link = places.releases() / name / "venv"
        if link.is_symlink() and lock_of(link.readlink().name) == lock_of(venv.name):
            point(link, f"../../venvs/{venv.name}")


def make_venv(venv: Path, wheels: Path) -> None:
    """Make a virtual environment from the wheels that were sent. Raises Failed.

    No network is used, and no code of the wheels runs. The interpreter is a link to the system's;
    root does not run it, because with wheels in it, it runs their `*.pth`.
    """
    files = ordered_wheels(wheels)
    step("venv", f"installs {len(files)} packages")
    try:
        made = run(sys.executable, "-I", "-m", "venv", "--without-pip", str(venv), cwd="/")
        if made.returncode:
            raise Failed(
                "`python3 -m venv` fails on this host; install python3-venv there, then ship again",
                last_lines(made.stdout),
            )
        wheelfiles.install(files, venv)
        leave_hint_for_manage_by_hand(venv)
        byte_compile(venv / "lib")
        for_the_application_alone(venv)
        manifest.write(venv)
        (venv / ".complete").touch()
        sync(venv)
    except wheelfiles.WheelRefused as problem:
        remove(venv)
        raise Failed(
            f"a wheel is refused: {problem}; pin another version of it, or leave it out"
        ) from problem
    except BaseException:
        remove(venv)
        raise


# `site` reads this when an interpreter of this environment starts, and runs lines that begin with
# `import`.
_BY_HAND = (
    "import os, sys; "
    'getattr(sys, "orig_argv", ())[1:2] == ["manage.py"] '
    'and os.environ.get("DJANGO_SETTINGS_MODULE") != "origin_kit_settings" '
    'and sys.stderr.write("manage.py: this runs without the settings and variables of the service; '
    'write `sudo origin-kit-manage COMMAND`, or `fab manage -- COMMAND` from your machine\\n")\n'
)


def leave_hint_for_manage_by_hand(venv: Path) -> None:
    """Leave a line in the environment that names the command to use instead of
    `../venv/bin/python manage.py`."""
    for folder in (venv / "lib").glob("python3*/site-packages"):
        (folder / "origin_kit_by_hand.pth").write_text(_BY_HAND)


def ordered_wheels(folder: Path) -> list[Path]:
    """The wheels that were sent. Raises Failed where they are not exactly those of the orders."""
    sent = {path.name: path for path in sorted(folder.glob("*"))}
    if not sent:
        raise Failed("the Python environment of this release is no longer here; ship again")
    ordered = SHIP_ORDERS.get("wheels") or {}
    different = sorted(sent.keys() ^ ordered.keys())
    if different:
        raise Failed(
            f"{different[0]} is not among the wheels of the orders, or missing; ship again"
        )
    for name, path in sent.items():
        if sha256_of(path) != ordered[name]:
            raise Failed(f"{name} is not the wheel that was locked (another SHA-256); ship again")
    return list(sent.values())


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def byte_compile(folder: Path) -> None:
    """Compile the folder's modules now, since the application's user can't write there.

    Files that are not Python 3 are ignored, and modules that are not compiled in time are only
    slower to start. The system's own interpreter reads the sources and runs none of them; `-S`
    ignores `*.pth`.
    """
    command = [sys.executable, "-I", "-S", "-m", "compileall", "-q", "-j", "0", str(folder)]
    with contextlib.suppress(subprocess.TimeoutExpired):
        run(*command, cwd="/", timeout=COMPILE_S)
