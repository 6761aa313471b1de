"""The Python environment that a release runs in, made of the wheels that came along."""

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
from on_host.orders import ORDERS
from on_host.release import manifest
from on_host.release.folders import remove
from on_host.release.state import is_complete_venv, lock_of, names_in
from on_host.runtime import Failed, last_lines, run, step
from on_host.user import IS_ROOT

COMPILE_S = 600


def for_the_application_alone(folder: Path) -> None:
    """Code and its environment are read by the application's user; nginx and others can't enter."""
    if IS_ROOT:
        os.chown(str(folder), 0, pwd.getpwnam(places.user()).pw_gid)
    folder.chmod(0o750)


def venv_for(lock: str) -> Path:
    """The environment for this lock that is as it was made, or a name for a new one: scripts in it
    hold its path, so it can't be moved to where a changed one still serves."""
    names = [name for name in names_in(places.venvs()) if lock_of(name) == lock]
    whole = [name for name in names if is_complete_venv(name)]
    free = (
        name
        for name in (lock, *(f"{lock}-{number}" for number in range(2, 1000)))
        if name not in names
    )
    return places.venvs() / (whole[0] if whole else next(free))


def run_in(venv: Path) -> None:
    """Lead the releases that are here to an environment that replaces a changed one of the same
    lock."""
    for name in names_in(places.releases()):
        link = places.releases() / name / "venv"
        if link.is_symlink() and lock_of(link.readlink().name) == lock_of(venv.name):
            point(link, f"../../venvs/{venv.name}")


def make_venv(venv: Path, wheels: Path) -> None:
    """A virtual environment of the wheels that came along; nothing is asked of any network, and
    nothing of them runs.

    Its interpreter is a link to the system's. Root does not run it: with wheels in it, it runs
    their `*.pth`.
    """
    files = ordered_wheels(wheels)
    step("venv", f"installs {len(files)} packages")
    try:
        made = run(sys.executable, "-I", "-m", "venv", "--without-pip", str(venv), cwd="/")
        if made.returncode:
            raise Failed(
                "python3 -m venv fails on this host; is python3-venv installed there?",
                last_lines(made.stdout),
            )
        wheelfiles.install(files, venv)
        tell_who_runs_manage_by_hand(venv)
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


# Read by `site` when an interpreter of this environment starts: a line that begins with `import` is
# run.
_BY_HAND = (
    "import os, sys; "
    'getattr(sys, "orig_argv", ())[1:2] == ["manage.py"] '
    'and os.environ.get("DJANGO_SETTINGS_MODULE") != "origin_kit_settings" '
    'and sys.stderr.write("manage.py: this runs without the settings and variables of the service; '
    'write `sudo origin-kit-manage COMMAND`, or `fab manage -- COMMAND` from your machine\\n")\n'
)


def tell_who_runs_manage_by_hand(venv: Path) -> None:
    """Leave a line in the environment that says what to write in place of `../venv/bin/python
    manage.py`."""
    for folder in (venv / "lib").glob("python3*/site-packages"):
        (folder / "origin_kit_by_hand.pth").write_text(_BY_HAND)


def ordered_wheels(folder: Path) -> list[Path]:
    """The wheels that came along, if they are those of the orders, by name and to the byte. Else
    raises Failed."""
    found = {path.name: path for path in sorted(folder.glob("*"))}
    if not found:
        raise Failed("the Python environment of this release is no longer here; ship again")
    ordered = ORDERS.get("wheels") or {}
    if other := sorted(found.keys() ^ ordered.keys()):
        raise Failed(f"{other[0]} is not among the wheels of the orders, or missing; ship again")
    for name, path in found.items():
        if sha256_of(path) != ordered[name]:
            raise Failed(f"{name} is not the wheel that was locked (another SHA-256); ship again")
    return list(found.values())


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def byte_compile(folder: Path) -> None:
    """The application's user can't write here, so it is done now; files that are no Python 3 are
    nobody's concern.

    The system's own interpreter reads the sources and runs none of them; `-S` leaves `*.pth` alone.
    """
    with contextlib.suppress(
        subprocess.TimeoutExpired
    ):  # what is not compiled is only slower to start
        run(
            sys.executable,
            "-I",
            "-S",
            "-m",
            "compileall",
            "-q",
            "-j",
            "0",
            str(folder),
            cwd="/",
            timeout=COMPILE_S,
        )
