"""The move from one application's name to another, or its removal.

A move takes the old application out of service, gives its user and its data folder the new name
(uid and gid stay, so no file of the application's is touched), and leaves its code until the new
configuration serves. Meanwhile the host is on a copy of the old generation without the application:
nginx answers 502, readable by pages, and a deploy that fails has something to go back to.

/etc/origin-kit/move.json says how to undo it (`on_disk.Move`). It is there from before a move until
the new configuration serves.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping  # noqa: UP035 - Python 3.9 on hosts

from on_host import name_checks, places, timers, two_phase
from on_host.claims import (
    MOVE,
    data_of,
    group_of,
    home_of,
    leads_to_the_kit,
    mark_of,
    others,
    read_mark,
    read_move,
    unfinished_move,
    units_of,
    user_of,
    write_mark,
)
from on_host.files import point, sync, write_durably
from on_host.runtime import Failed, note, run, step
from on_host.services import journal_of

if TYPE_CHECKING:
    from on_host.on_disk import GenerationRecord, Move

# ------------------------------------------------------------------------------------ a ship's part


@contextlib.contextmanager
def entered(app: str, moving: Mapping[str, str]) -> Iterator[None]:
    """The name is the kit's, and marked, while a ship works; a move that it asks for is done first,
    and undone where the ship fails."""
    if unfinished_move(app):
        put_back()
    name_checks.refuse(app, moving)
    here = others(app)
    todo = {name: fate for name, fate in moving.items() if name in here}
    is_new = not mark_of(app).exists()
    if is_new:
        write_mark(app)
    if not todo:
        yield
        return
    way = plan_move(app, todo, is_new)
    try:
        move(way)
        yield
    except two_phase.InDoubt:
        raise  # the new name serves, and whether it stays is known by the next run
    except BaseException as problem:
        take_back(way, problem)
        raise
    note_shipped(way)


def note_shipped(way: Move) -> None:
    """The ship has committed: the move stands, and from the deploy on nothing is undone."""
    shipped: Move = {**way, "shipped": True}
    write_move(shipped)


def write_move(way: Move) -> None:
    """Write the journal of a move durably."""
    write_durably(MOVE, json.dumps(way).encode(), 0o600)
    sync(places.KIT)


def finish_open_move(app: str) -> None:
    """The release that a move was made for has been committed by a later run: so is the move."""
    way = read_move()
    if way is not None and way["to"] == app:
        note_shipped(way)


def put_back() -> None:
    """Put back in service what was moved and does not serve yet."""
    way = read_move()
    if way is not None:
        note("unmove", f"puts {', '.join(way['moving'])} back in service")
        unmove(way)


def plan_move(app: str, todo: dict[str, str], is_new: bool) -> Move:
    """All that a move changes, as it is now."""
    active = []
    for name in todo:
        for unit in units_of(name):
            if run("systemctl", "is-active", "-q", unit).returncode == 0:
                active.append(unit)
    current = None
    if application_of(places.CONFIGURATION) in todo:
        current = str(places.CONFIGURATION.readlink())
    return {
        "to": app,
        "moving": todo,
        "fresh": is_new,
        "links": {str(path): str(path.readlink()) for path in links_of(todo)},
        "active": active,
        "current": current,
    }


def application_of(generation: Path) -> str | None:
    """The name of the application that a generation configures."""
    try:
        text = (generation / "nginx/origin-kit.conf").read_text()
    except OSError:
        return None
    found = re.search(r"/opt/([a-z][a-z0-9-]*)/current", text)
    return found[1] if found else None


def links_of(names: Mapping[str, str]) -> list[Path]:
    """The kit's links to the units of these applications."""
    units = {unit for name in names for unit in units_of(name)}
    links = []
    for path in sorted((places.ROOT / "etc/systemd/system").rglob("*")):
        if path.name in units and leads_to_the_kit(path):
            links.append(path)
    return links


def without_application(generation: Path) -> Path:
    """A copy of a generation that runs nginx as it does, and no application."""
    copy = generation.with_name(f"{generation.name}-moved")
    if copy.is_dir():
        shutil.rmtree(str(copy))
    shutil.copytree(str(generation), str(copy), symlinks=True)
    record: GenerationRecord = json.loads((copy / "generation.json").read_text())
    record["id"] = copy.name
    for unit in take_out_application(record):
        (copy / unit).unlink()
    write_durably(copy / "generation.json", json.dumps(record).encode())
    sync(copy.parent)
    return copy


def take_out_application(record: GenerationRecord) -> list[str]:
    """Take what the application runs by, timers included, out of the record of a generation: the
    paths of these files."""
    units = list(record["units"].get("gunicorn", ()))
    for timer in record["units"].get(timers.SERVICE, ()):
        units += [timer, timers.service_of(timer)]
    gone = [f"systemd/{unit}" for unit in units]
    record["files"] = [file for file in record["files"] if file["path"] not in gone]
    record["links"] = [link for link in record["links"] if link["target"] not in gone]
    taken = ("gunicorn", timers.SERVICE)
    record["units"] = {name: own for name, own in record["units"].items() if name not in taken}
    for service in taken:
        record["fingerprints"].pop(service, None)
    return gone


def move(way: Move) -> None:
    """Take the old applications out of service and give the new one what it keeps."""
    step("move", f"takes {', '.join(way['moving'])} out of service")
    write_move(way)
    for name in way["moving"]:
        for unit in units_of(name):
            run("systemctl", "stop", unit)
        remove_socket(places.ROOT / "run" / f"{name}.sock")
    for place in way["links"]:
        remove_file(Path(place))
    if way["current"]:
        copy = without_application(places.CONFIGURATION.resolve())
        point(places.CONFIGURATION, f"generations/{copy.name}")
    run("systemctl", "daemon-reload")
    for name, fate in way["moving"].items():
        nobody_works_as(name)
        if fate == "renamed":
            step("rename", f"gives {name}'s user and data to {way['to']}")
            rename(name, way["to"])
    write_mark(way["to"], former=way["moving"])


def remove_file(path: Path) -> None:
    """Remove a file durably; one that is gone already is fine."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync(path.parent)


def remove_socket(path: Path) -> None:
    """Remove what systemd leaves of a socket unit that has stopped."""
    if path.is_socket():
        path.unlink()


def nobody_works_as(name: str) -> None:
    """Raise Failed where a process of this user is left: it would go on writing where nobody looks
    any more."""
    user = user_of(name)
    if user is None:
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == user.pw_uid:
                command = (folder / "comm").read_text().strip()
                raise Failed(
                    f"process {folder.name} ({command}) of user {name} still runs; end it, then run"
                    " this again"
                )


def rename(old: str, new: str) -> None:
    """Give user, group and data folder the new name; ids and everything below the folder stay. Safe
    to repeat."""
    if user_of(old) and not user_of(new):
        must_run("usermod", "--login", new, "--home", str(data_of(new)), old)
    if group_of(old) and not group_of(new):
        must_run("groupmod", "--new-name", new, old)
    before, after = data_of(old), data_of(new)
    if os.path.lexists(str(before)) and not os.path.lexists(str(after)):
        before.rename(after)
        sync(after.parent)


def must_run(*command: str) -> None:
    """Run a program. Raises Failed where it fails."""
    done = run(*command)
    if done.returncode:
        raise Failed(f"`{' '.join(command)}` fails on this host", done.stdout)


def take_back(way: Move, problem: BaseException) -> None:
    """Undo a move after its ship failed; where that fails too, say both."""
    try:
        put_back()
    except (Failed, OSError) as second:
        raise Failed(
            f"{problem}; going back to {', '.join(way['moving'])} failed too: {second}"
        ) from problem


def unmove(way: Move) -> None:
    """Put everything back as the move's journal says; safe to repeat. What the ship has put next to
    it stays."""
    for name, fate in way["moving"].items():
        if fate == "renamed":
            rename(way["to"], name)
    if way["current"]:
        point(places.CONFIGURATION, way["current"])
    for place, target in way["links"].items():
        point(Path(place), target)
    run("systemctl", "daemon-reload")
    if way["fresh"]:
        remove_file(mark_of(way["to"]))
    else:
        write_mark(way["to"])
    if not user_of(way["to"]) and not os.path.lexists(str(data_of(way["to"]))):
        remove_file(home_of(way["to"]) / "current")  # a ship that finds it would have nothing to do
    failed = [unit for unit in way["active"] if run("systemctl", "start", unit).returncode]
    remove_file(MOVE)
    if failed:
        raise Failed(f"{failed[0]} does not start again; see `fab logs`", journal_of(failed[0]))


# ---------------------------------------------------------------------------------- a deploy's part


def forget_former(app: str) -> None:
    """The new configuration serves: remove the code, and where it was asked for the data, of the
    names before.

    What can't be removed now is reported, and the next deploy tries again.
    """
    if not unfinished_move(app):
        remove_file(MOVE)  # from here on nothing is undone
    moved = read_mark(app).get("former", {})
    if not moved:
        return
    try:
        for name, fate in moved.items():
            forget(name, fate)
        forget_generations()
    except (Failed, OSError) as problem:
        names = ", ".join(moved)
        note(
            "former",
            f"can't remove all of {names} yet: {problem}; the next deploy tries again",
        )
        return
    write_mark(app)


def forget(name: str, fate: str) -> None:
    """Remove what is left of a former application; its user and data only where it is "removed"."""
    note("former", f"removes what is left of {name}")
    if fate == "removed":
        nobody_works_as(name)
        if user_of(name):
            must_run("userdel", name)
        remove_tree(data_of(name))
    remove_tree(home_of(name))
    remove_file(mark_of(name))


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, never through a link: neither this one nor one below
    it (shutil.rmtree holds every folder open)."""
    if os.path.lexists(str(folder)):
        shutil.rmtree(str(folder))


def forget_generations() -> None:
    """Remove the generations of other applications: they hold their secrets, and nothing can go
    back to them."""
    current = os.path.realpath(str(places.CONFIGURATION))
    app = application_of(places.CONFIGURATION)
    if app is None:
        return
    for folder in places.GENERATIONS.glob("*"):
        if str(folder) != current and application_of(folder) != app:
            remove_tree(folder)
