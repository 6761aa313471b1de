"""A release under its own name, complete, while the one before serves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from on_host import places
from on_host.disk import note_full
from on_host.files import sync
from on_host.orders import ORDERS
from on_host.release import manifest
from on_host.release.folders import discard, remove
from on_host.release.state import (
    complete_releases,
    forget_thorough_results,
    is_complete_venv,
    names_in,
    used_venvs,
)
from on_host.release.unpack import unpack
from on_host.release.venv import (
    byte_compile,
    for_the_application_alone,
    make_venv,
    run_in,
    venv_for,
)
from on_host.runtime import Failed, step


def sweep() -> None:
    """Remove what an earlier run has left unfinished."""
    for folder in (places.releases(), places.venvs()):
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.partial"):
            discard(leftover)
    for name in set(names_in(places.venvs())) - used_venvs():
        if not is_complete_venv(name):
            discard(places.venvs() / name)
    remove(places.staged())
    remove(places.private())


def stage() -> Path:
    """The release under its own name, with the environment that it runs in.

    Where it replaces one that serves and was changed, it has another name until `put`.
    """
    final, partial = (
        places.releases() / str(ORDERS["id"]),
        places.releases() / "{}.partial".format(ORDERS["id"]),
    )
    if ORDERS["id"] in complete_releases():
        return final
    serves = places.current_id() == ORDERS["id"]
    if final.exists() and not serves:
        discard(final)
    if not ORDERS["digest"]:
        raise Failed("release {} is no longer here; ship again".format(ORDERS["id"]))
    try:
        unpack(partial)
        if ORDERS["role"] == "backend":
            prepare_backend(partial)
            for_the_application_alone(partial / "app")
        record = {
            key: ORDERS.get(key)
            for key in ("id", "role", "label", "commit", "revision", "lock", "who")
        }
        (partial / "release.json").write_text(json.dumps(record, indent=1) + "\n")
        manifest.write(
            partial
        )  # what a power cut takes of it from here on is missed by the next ship
    except BaseException:
        note_full()
        shutil.rmtree(str(partial), ignore_errors=True)
        raise
    if serves:
        return partial
    partial.rename(final)
    return final


def put(release: Path) -> None:
    """A release that has passed its checks, and whose contents are noted; one that replaces a
    changed one takes its place."""
    if not (release / manifest.NAME).exists():  # an older kit has unpacked it
        manifest.write(release)
    forget_thorough_results()
    if release.suffix == ".partial":
        step("replace", "replaces release {}, which was changed here".format(ORDERS["id"]))
        os.sync()
        exchange(release, release.with_suffix(""))
        sync(places.releases())
        shutil.rmtree(str(release))


def exchange(one: Path, other: Path) -> None:
    """Each gets the other's name, at once: `current` leads to a whole release all the time
    (renameat2(2))."""
    import ctypes

    here, exchange_both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange_both):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def prepare_backend(partial: Path) -> None:
    venv = venv_for(str(ORDERS["lock"]))
    if not (venv / ".complete").exists():
        make_venv(venv, partial / "wheels")
        run_in(venv)
    for_the_application_alone(
        venv
    )  # its user may be another one than when the environment was made
    shutil.rmtree(str(partial / "wheels"), ignore_errors=True)
    (partial / "venv").symlink_to(f"../../venvs/{venv.name}")
    step("compile", "compiles the project")
    byte_compile(partial / "app")
