"""The folder in which data is restored, and its exchange with the one that is served.

    /var/lib/.<app>.restored    the scratch folder, next to the data folder: first the restored
                                data, after the exchange what was there before
    /etc/origin-kit/restore.json
                                {"id": of the restore, "state", "before": inode, "who", "since"}

    state      means
    staged     the scratch folder holds restored data, compared with its manifest
    switching  the application is stopped, or about to be. `before` is the inode of the data folder
               that served: who finds it there goes back to serve it, who finds another one keeps
               that, which is whole

The exchange is one system call (renameat2 with RENAME_EXCHANGE): a host that loses power has the
one folder or the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from on_host import audit, claims, files, places
from on_host.as_user import text
from on_host.confined import Confined, Ended
from on_host.files import sync, write_durably
from on_host.orders import ORDERS
from on_host.runtime import Failed, last_lines, note, run
from on_host.services import await_workers, restart_service
from on_host.user import IS_ROOT, apart

if TYPE_CHECKING:
    from on_host.on_disk import RestoreMark

MARK = places.KIT / "restore.json"
STAGED, SWITCHING = "staged", "switching"


def scratch() -> Path:
    """The folder in which data is restored."""
    return places.data().with_name(f".{places.app()}.restored")


def read() -> RestoreMark:
    """The mark; empty where nothing is restored."""
    try:
        found: RestoreMark = json.loads(MARK.read_text())
    except FileNotFoundError:
        return {}
    return found


def write(restore: str, state: str) -> None:
    """Note durably how far a restore has come."""
    mark: RestoreMark = {
        "id": restore,
        "state": state,
        "before": places.data().stat().st_ino,
        "who": ORDERS.get("who", ""),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    write_durably(MARK, json.dumps(mark).encode(), 0o600)
    sync(places.KIT)


def forget() -> None:
    """Nothing is restored here any more."""
    with contextlib.suppress(FileNotFoundError):
        MARK.unlink()
        sync(places.KIT)


def is_open() -> bool:
    """Whether a restore was killed here in the middle of its exchange."""
    return read().get("state") == SWITCHING


# ------------------------------------------------------------------------------- the scratch folder


def make_scratch() -> None:
    """An empty scratch folder of the application's user, in the place of what is there."""
    remove_scratch()
    scratch().mkdir(mode=0o711)
    if IS_ROOT:
        owner = pwd.getpwnam(places.user())
        os.chown(str(scratch()), owner.pw_uid, owner.pw_gid)


def remove_scratch() -> None:
    """Remove it with all that is in it; what the application wrote goes by its own user."""
    if not os.path.lexists(str(scratch())):
        return
    done = put("empty", scratch())
    if done.returncode:
        raise Failed(f"{scratch()} can't be emptied; remove it", last_lines(done.stdout))
    scratch().rmdir()


def put(action: str, folder: Path, *words: str, **more: object) -> Ended:
    """Run `put_data` on a folder as the application's user, who may write to it."""
    return _writing_to(folder).run(
        sys.executable,
        "-I",
        "-c",
        text("put_data"),
        action,
        str(folder),
        *words,
        **more,  # type: ignore[arg-type]
    )


def _writing_to(folder: Path) -> Confined:
    return apart("restore", folder)


# ------------------------------------------------------------------------------------ the exchange


def exchange() -> None:
    """Exchange the scratch folder and the data folder, in one step and durably."""
    os.sync()  # a power cut afterwards finds every file whole
    files.exchange(scratch(), places.data())
    sync(places.data().parent)


def refuse_mount_point() -> None:
    """Raise Failed where the data folder is a file system of its own: it can't be exchanged."""
    data = places.data()
    if data.stat().st_dev != data.parent.stat().st_dev:
        raise Failed(
            f"{data} is a file system of its own, which no restore can exchange at once; mount it"
            f" at {data.parent} or a folder above, then run this again"
        )


def stop() -> None:
    """Stop the application and its timers: its socket first, which would start it again."""
    for unit in claims.units_of(places.app()):
        run("systemctl", "stop", unit)


def start() -> None:
    """Start the application, wait for its workers, and start its timers. Raises Failed where the
    workers don't come up."""
    run("systemctl", "start", f"{places.app()}.socket")
    restart_service()
    await_workers()
    for unit in claims.units_of(places.app()):
        if unit.endswith(".timer"):
            run("systemctl", "start", unit)


def has_exchanged() -> bool:
    """Whether the data folder is another one than before the restore that is marked."""
    return places.data().stat().st_ino != read()["before"]


def finish() -> None:
    """Forget what was there before, but for the copies that ships have made there."""
    carried = _writing_to(places.data().parent).run(
        sys.executable,
        "-I",
        "-c",
        text("put_data"),
        "carry",
        str(places.data()),
        str(scratch()),
    )
    if carried.returncode:
        note("note", f"copies of ships stay in {scratch()}: {last_lines(carried.stdout, 1)}")
    else:
        remove_scratch()
    forget()


def settle() -> None:
    """Finish or undo what a killed restore has left; with the host's lock."""
    if not is_open():
        return
    mark = read()
    note("recover", "ends a restore that was killed here")
    kept = has_exchanged()
    if kept:
        finish()
    else:
        remove_scratch()
        forget()
    try:
        start()
    except Failed as problem:
        note("recover", f"{places.app()} does not come up: {problem}")
    word = "kept the restored data" if kept else "kept the data from before"
    audit.write(f"{word} of a restore that was killed", mark["id"], "restore")
