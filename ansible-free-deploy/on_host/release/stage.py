"""Put a release under its own name, complete, while the previous one serves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from on_host import places
from on_host.disk import note_full
from on_host.files import exchange, sync
from on_host.orders import ORDERS, SHIP_ORDERS
from on_host.release import manifest
from on_host.release.folders import discard, remove
from on_host.release.site import warn_of_kept_names
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
    lead_releases_to,
    make_venv,
    venv_for,
)
from on_host.runtime import Failed, step

if TYPE_CHECKING:
    from on_host.on_disk import ReleaseRecord


def sweep() -> None:
    """Remove what an interrupted run left."""
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
    """The folder of the release, with the environment that it runs in.

    Where it replaces a modified release that serves, it has another name until `put`.
    """
    name = SHIP_ORDERS["id"]
    final = places.releases() / name
    partial = places.releases() / f"{name}.partial"
    if name in complete_releases():
        return final
    serves = places.current_id() == name
    if final.exists() and not serves:
        discard(final)
    if not SHIP_ORDERS["digest"]:
        raise Failed(f"release {name} is no longer here; ship again")
    try:
        fill(partial)
    except BaseException:
        note_full()
        shutil.rmtree(str(partial), ignore_errors=True)
        raise
    if serves:
        return partial
    partial.rename(final)
    return final


def fill(partial: Path) -> None:
    """Unpack the release into `partial`, prepare it, and record what it holds.

    Damage after that, by a power cut for example, is found by the next ship.
    """
    unpack(partial)
    if ORDERS["role"] == "backend":
        prepare_backend(partial)
        for_the_application_alone(partial / "app")
    else:
        warn_of_kept_names(partial)
    record: ReleaseRecord = {
        "id": SHIP_ORDERS["id"],
        "role": SHIP_ORDERS["role"],
        "label": SHIP_ORDERS.get("label"),
        "commit": SHIP_ORDERS.get("commit"),
        "revision": SHIP_ORDERS.get("revision"),
        "lock": SHIP_ORDERS.get("lock"),
        "who": SHIP_ORDERS["who"],
    }
    (partial / "release.json").write_text(json.dumps(record, indent=1) + "\n")
    manifest.write(partial)


def put(release: Path) -> None:
    """Put a release that has passed its checks in its place.

    Only a release that replaces a modified one is still missing.
    """
    if not (release / manifest.NAME).exists():  # it was unpacked by an older kit
        manifest.write(release)
    forget_thorough_results()
    if release.suffix == ".partial":
        step("replace", f"replaces release {SHIP_ORDERS['id']}, which was changed on this host")
        os.sync()
        exchange(release, release.with_suffix(""))  # `current` leads to a whole one all the time
        sync(places.releases())
        shutil.rmtree(str(release))


def prepare_backend(partial: Path) -> None:
    """Give the release an environment for its lock, and compile it."""
    venv = venv_for(str(SHIP_ORDERS["lock"]))
    if not (venv / ".complete").exists():
        make_venv(venv, partial / "wheels")
        lead_releases_to(venv)
    # The application's user may be another one than when the environment was made.
    for_the_application_alone(venv)
    shutil.rmtree(str(partial / "wheels"), ignore_errors=True)
    (partial / "venv").symlink_to(f"../../venvs/{venv.name}")
    step("compile", "compiles the project")
    byte_compile(partial / "app")
