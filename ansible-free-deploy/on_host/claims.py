"""Whose a name is on this host: the kit's mark of what it made, and the move from one application's
name to another.

The application's name is a user, a group, /opt/<app>, /var/lib/<app>, /run/<app> and two units.
What the kit did not make it leaves alone.

    /etc/origin-kit/applications/<app>.json   the mark: root's, written before anything of that name
    is made /etc/origin-kit/move.json                 from before a move until the new configuration
    serves; says the way back

A move takes the old application out of service, gives its user and its data folder the new name
(uid and gid stay, so no file of the application's is touched), and leaves its code until the new
configuration serves. Meanwhile the host is on a copy of the old generation without the application:
nginx answers 502, readable by pages, and a deploy that fails has something to go back to.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from on_host import places, two_phase
from on_host.files import point, sync, write_durably
from on_host.orders import ORDERS, Json
from on_host.runtime import Failed, emit, run, step
from on_host.services import journal_of

MARKS = places.KIT / "applications"
MOVE = places.KIT / "move.json"
OURS = "/etc/origin-kit/"  # where links of the kit's lead
SYSTEM_IDS = range(1, 1000)
NO_SHELL = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")
UNIT_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/transient",
    "run/systemd/generator",
    "run/systemd/generator.early",
    "run/systemd/generator.late",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
# What a ship makes in /opt/<app>; a kit from before the mark is known by it.
HOME_NAMES = {
    "releases",
    "venvs",
    "current",
    "journal.json",
    ".journal.json.new",
    ".current.new",
    "made_from.json",
    ".made_from.json.new",
}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")


def home_of(app: str) -> Path:
    return places.ROOT / "opt" / app


def data_of(app: str) -> Path:
    return places.ROOT / "var/lib" / app


def mark_of(app: str) -> Path:
    return MARKS / f"{app}.json"


def units_of(app: str) -> list[str]:
    return [f"{app}.socket", f"{app}.service"]


def user_of(app: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(app)
    except KeyError:
        return None


def group_of(app: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(app)
    except KeyError:
        return None


# -------------------------------------------------------------------------------------- whose it is


def conflicts(app: str) -> list[str]:
    """What has this name here and is not the kit's, each in a few words; empty where the name may
    be used."""
    if is_ours(app):
        return [*unfit_user(app), *unfit_folders(app), *foreign_units(app)]
    return [*taken_names(app), *foreign_units(app)]


def is_ours(app: str) -> bool:
    """Whether the kit made it: its mark says so, or it is as a kit from before the mark left it."""
    return mark_of(app).is_file() or made_before_the_mark(app)


def made_before_the_mark(app: str) -> bool:
    """A folder in /opt that is root's own and holds releases, and nothing that no ship makes."""
    home = home_of(app)
    if not is_own_folder(home) or not is_own_folder(home / "releases"):
        return False
    if {path.name for path in home.iterdir()} - HOME_NAMES:
        return False
    return all(is_release(path) for path in (home / "releases").iterdir())


def is_release(folder: Path) -> bool:
    """A release that a ship made, or what one that was cut short left."""
    if folder.suffix == ".partial":
        return True
    try:
        record = json.loads(read_own(folder / "release.json"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("id") == folder.name and "role" in record


def read_own(path: Path) -> bytes:
    """A file of root's, bounded: what is looked at may be anybody's, a pipe that never ends
    included."""
    descriptor = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as handle:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(f"{path} is not a file of root's")
        return handle.read(1 << 16)


def is_own_folder(path: Path) -> bool:
    """A folder, and no link to one, that belongs to root (to whoever runs this)."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def taken_names(app: str) -> Iterator[str]:
    user, group = user_of(app), group_of(app)
    if user:
        yield f"user {app} (uid {user.pw_uid}, home {user.pw_dir})"
    elif group:
        yield f"group {app} (gid {group.gr_gid})"
    for place in (
        home_of(app),
        data_of(app),
        places.ROOT / "run" / app,
        places.ROOT / "run" / f"{app}.sock",
    ):
        if os.path.lexists(str(place)):
            yield str(place)


def unfit_user(app: str) -> Iterator[str]:
    """A user of this name that no ship makes: root's or a person's id, a shell, another home, a
    group of others."""
    user = user_of(app)
    if user is None:
        return
    if user.pw_uid not in SYSTEM_IDS or user.pw_gid not in SYSTEM_IDS:
        yield f"user {app} with uid {user.pw_uid} and gid {user.pw_gid}, which are no system user's"
    if user.pw_shell not in NO_SHELL:
        yield f"user {app} with the login shell {user.pw_shell or '/bin/sh'}"
    if user.pw_dir != str(data_of(app)):
        yield f"user {app} with the home {user.pw_dir}"
    group = group_of(app)
    if group is None or group.gr_gid != user.pw_gid or group.gr_mem:
        yield f"user {app}, whose group is not its own"


def unfit_folders(app: str) -> Iterator[str]:
    home, data, user = home_of(app), data_of(app), user_of(ORDERS.get("user", app))
    if os.path.lexists(str(home)) and not is_own_folder(home):
        yield f"{home}, which is not a folder of root's"
    if not os.path.lexists(str(data)):
        return
    found = data.lstat()
    owners = {os.geteuid(), *([user.pw_uid] if user else [])}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        yield f"{data}, which is not a folder of user {app}'s"


def foreign_units(app: str) -> Iterator[str]:
    """Units of this name that are not links of the kit's. One of the kit's in /etc wins over
    whatever is elsewhere."""
    for unit in units_of(app):
        own = places.ROOT / "etc/systemd/system" / unit
        if leads_to_the_kit(own):
            continue
        yield from (str(path) for path in unit_files(unit) if os.path.lexists(str(path)))
    if os.path.lexists(str(places.ROOT / "etc/init.d" / app)):
        yield f"/etc/init.d/{app}"


def unit_files(unit: str) -> Iterator[Path]:
    seen = set()
    for folder in UNIT_FOLDERS:
        real = os.path.realpath(str(places.ROOT / folder))  # /lib is /usr/lib
        if real not in seen:
            seen.add(real)
            yield Path(real, unit)


def leads_to_the_kit(path: Path) -> bool:
    try:
        return str(path.readlink()).startswith(OURS)
    except OSError:
        return False


def others(app: str) -> list[str]:
    """The applications of this kit on this host that have another name, and a user or data; without
    those that a move to `app` has finished with."""
    known = {path.stem for path in MARKS.glob("*.json")}
    asked = {path.name for path in (places.ROOT / "opt").glob("*")} - known - {app}
    known |= {name for name in asked if made_before_the_mark(name)}
    known -= {app, *former(app)}
    return sorted(
        name
        for name in known
        if _NAME.fullmatch(name) and (user_of(name) or data_of(name).is_dir())
    )


def former(app: str) -> list[str]:
    """The names that a move to `app` has finished with; a deploy removes what is left of them."""
    return [str(name) for name in read_mark(app).get("former", {})]


def read_mark(app: str) -> Json:
    try:
        found = json.loads(mark_of(app).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_mark(app: str, **more: object) -> None:
    write_durably(mark_of(app), json.dumps({"application": app, **more}).encode())
    sync(MARKS)


# ----------------------------------------------------------------------------------------- refusals


def refuse(app: str, moving: dict[str, str] | None = None) -> None:
    """Raise Failed where the name is somebody else's here, or another application of the kit's is.

    `moving`: name → what becomes of it, "renamed" or "removed". Silent where a ship has to take a
    move back first.
    """
    if pending(app):
        return
    found = conflicts(app)
    if found:
        raise Failed(
            f"the name {app} is taken here by what this kit did not make: {'; '.join(found)}."
            " Nothing was changed; choose another `application` in the stack's config, or see"
            " docs/operating.md"
        )
    refuse_others(app, moving)
    for name, fate in (moving or {}).items():
        refuse_move(app, name, fate)


def refuse_others(app: str, moving: dict[str, str] | None = None) -> None:
    """Raise Failed where another application of the kit's is here that nothing is said about."""
    left = [name for name in others(app) if name not in (moving or {})]
    if left and not pending(app):
        raise Failed(
            f"this host has application {', '.join(left)} of this kit, and the stack's config says"
            f" {app}; nothing was changed. Choose: set `application: {left[0]}` again; `fab ship"
            f" --rename-from {left[0]}` keeps its data under the new name; `fab ship"
            f" --remove-application {left[0]}` deletes it with its data"
        )


def pending(app: str) -> bool:
    """Whether a move was cut short, or is to another name than this: the next ship takes it
    back."""
    way = read_move()
    return bool(way) and not (way.get("shipped") and way["to"] == app)


def read_move() -> Json:
    """The journal of the move that is under way; empty where none is."""
    try:
        way: Json = json.loads(MOVE.read_text())
    except FileNotFoundError:
        return {}
    return way


def refuse_move(app: str, name: str, fate: str) -> None:
    if name not in others(app):
        if is_ours(app):
            return  # done by an earlier run
        here = ", ".join(others(app)) or "none"
        raise Failed(
            f"there is no application {name} of this kit here (there is: {here}); nothing was"
            " changed"
        )
    if fate == "renamed" and (user_of(app) or os.path.lexists(str(data_of(app)))):
        raise Failed(
            f"{app} has a user or data of its own here, so {name}'s can't become them; nothing was"
            f" changed. To keep {name}'s: set `application: {name}`, run `fab ship"
            f" --remove-application {app}`, then rename again"
        )
    if mounts := mounted_below(data_of(name)):
        raise Failed(
            f"{mounts[0]} is a mount of its own; unmount it, then run this again; nothing was"
            " changed"
        )
    if found := [*unfit_user(name), *unfit_folders(name)]:
        raise Failed(f"{name} is not as this kit made it: {'; '.join(found)}; nothing was changed")


def mounted_below(folder: Path) -> list[str]:
    """Mount points at or below a folder."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [place for place in places if place == str(folder) or place.startswith(f"{folder}/")]


def refuse_foreign_places(generation: Json, app: str) -> None:
    """Raise Failed where the generation's links would replace what somebody else put there."""
    found = [
        link["place"]
        for link in generation["links"]
        if os.path.lexists(link["place"]) and not leads_to_the_kit(Path(link["place"]))
    ]
    found += [
        place
        for place in generation["absent"]
        if Path(place).is_file() and not Path(place).is_symlink()
    ]
    units = generation["units"].get("gunicorn", ())
    if units and f"{app}.service" not in units:
        raise Failed(
            f"generation {generation['id']} is of another application ({units[-1]}), and this is"
            f" {app}"
        )
    if units:
        found += [place for place in foreign_units(app) if place not in found]
    if found:
        raise Failed(
            f"{', '.join(found)}: not this kit's, and a deploy would replace it; nothing was"
            " changed. Move it away (or choose another `application`), then run this again"
        )


def check(generation: Json, app: str) -> None:
    """What a deploy asks before it writes anything."""
    if pending(app):
        way = read_move()
        names = ", ".join(way["moving"])
        raise Failed(
            f"the move from {names} to {way['to']} is unfinished here; run `fab ship`: it puts"
            f" {names} back first"
        )
    refuse(app)
    refuse_foreign_places(generation, app)


# ------------------------------------------------------------------------------------ a ship's part


@contextlib.contextmanager
def entered(app: str, moving: dict[str, str]) -> Iterator[None]:
    """The name is the kit's, and marked, while a ship works; a move that it asks for is done first,
    and undone where the ship fails."""
    if pending(app):
        put_back()
    refuse(app, moving)
    todo = {name: fate for name, fate in moving.items() if name in others(app)}
    fresh = not mark_of(app).exists()
    if fresh:
        write_mark(app)
    if not todo:
        yield
        return
    way = plan_move(app, todo, fresh)
    try:
        move(way)
        yield
    except two_phase.InDoubt:
        raise  # the new name serves, and whether it stays is known by the next run
    except BaseException as problem:
        take_back(way, problem)
        raise
    note_shipped(way)


def note_shipped(way: Json) -> None:
    """The ship has committed: the move stands, and from the deploy on there is no way back."""
    write_durably(MOVE, json.dumps({**way, "shipped": True}).encode(), 0o600)
    sync(places.KIT)


def finish_open_move(app: str) -> None:
    """The release that a move was made for has been committed by a later run: so is the move."""
    way = read_move()
    if way and way["to"] == app:
        note_shipped(way)


def put_back() -> None:
    """What was moved and does not serve yet is as it was before."""
    way = read_move()
    if way:
        emit(step="unmove", text=f"puts {', '.join(way['moving'])} back in service")
        unmove(way)


def plan_move(app: str, todo: dict[str, str], fresh: bool) -> Json:
    """All that a move changes, as it is now."""
    links = {str(path): str(path.readlink()) for path in links_of(todo)}
    units = [unit for name in todo for unit in units_of(name)]
    active = [unit for unit in units if run("systemctl", "is-active", "-q", unit).returncode == 0]
    current = (
        str(places.CONFIGURATION.readlink())
        if application_of(places.CONFIGURATION) in todo
        else None
    )
    return {
        "to": app,
        "moving": todo,
        "fresh": fresh,
        "links": links,
        "active": active,
        "current": current,
    }


def application_of(generation: Path) -> str | None:
    """Whose configuration a generation is."""
    try:
        text = (generation / "nginx/origin-kit.conf").read_text()
    except OSError:
        return None
    found = re.search(r"/opt/([a-z][a-z0-9-]*)/current", text)
    return found[1] if found else None


def links_of(names: dict[str, str]) -> list[Path]:
    """The kit's links to the units of these applications."""
    units = {unit for name in names for unit in units_of(name)}
    found = sorted((places.ROOT / "etc/systemd/system").rglob("*"))
    return [path for path in found if path.name in units and leads_to_the_kit(path)]


def without_application(generation: Path) -> Path:
    """A copy of a generation that runs nginx as it does, and no application."""
    copy = generation.with_name(f"{generation.name}-moved")
    if copy.is_dir():
        shutil.rmtree(str(copy))
    shutil.copytree(str(generation), str(copy), symlinks=True)
    record = json.loads((copy / "generation.json").read_text())
    units = {f"systemd/{unit}" for unit in record["units"].pop("gunicorn", ())}
    record["fingerprints"].pop("gunicorn", None)
    record["id"] = copy.name
    record["files"] = [file for file in record["files"] if file["path"] not in units]
    record["links"] = [link for link in record["links"] if link["target"] not in units]
    for unit in units:
        (copy / unit).unlink()
    write_durably(copy / "generation.json", json.dumps(record).encode())
    sync(copy.parent)
    return copy


def move(way: Json) -> None:
    """Take the old applications out of service and give the new one what it keeps."""
    names = ", ".join(way["moving"])
    step("move", f"takes {names} out of service")
    write_durably(MOVE, json.dumps(way).encode(), 0o600)
    sync(places.KIT)
    for name in way["moving"]:
        for unit in units_of(name):
            run("systemctl", "stop", unit)
        remove_socket(places.ROOT / "run" / f"{name}.sock")
    for place in way["links"]:
        remove_file(Path(place))
    if way["current"]:
        point(
            places.CONFIGURATION,
            f"generations/{without_application(places.CONFIGURATION.resolve()).name}",
        )
    run("systemctl", "daemon-reload")
    for name, fate in way["moving"].items():
        nobody_works_as(name)
        if fate == "renamed":
            step("rename", f"gives {name}'s user and data to {way['to']}")
            rename(name, way["to"])
    write_mark(way["to"], former=way["moving"])


def remove_file(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync(path.parent)


def remove_socket(path: Path) -> None:
    """What systemd leaves of a socket unit that has stopped."""
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
    """User, group and data folder get the new name; ids and everything below the folder stay. Done
    twice, it is done once."""
    if user_of(old) and not user_of(new):
        must_run("usermod", "--login", new, "--home", str(data_of(new)), old)
    if group_of(old) and not group_of(new):
        must_run("groupmod", "--new-name", new, old)
    if os.path.lexists(str(data_of(old))) and not os.path.lexists(str(data_of(new))):
        data_of(old).rename(data_of(new))
        sync(data_of(new).parent)


def must_run(*command: str) -> None:
    done = run(*command)
    if done.returncode:
        raise Failed(f"`{' '.join(command)}` fails on this host", done.stdout)


def take_back(way: Json, problem: BaseException) -> None:
    """Undo a move after its ship failed; where that fails too, say both."""
    try:
        put_back()
    except (Failed, OSError) as second:
        raise Failed(
            f"{problem}; going back to {', '.join(way['moving'])} failed too: {second}"
        ) from problem


def unmove(way: Json) -> None:
    """Everything as the journal says; done twice, it is done once. What the ship has put beside it
    stays."""
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

    What can't be removed now is tried again by the next deploy, and said.
    """
    if not pending(app):
        remove_file(MOVE)  # from here on there is no way back
    moved = read_mark(app).get("former", {})
    if not moved:
        return
    try:
        for name, fate in moved.items():
            forget(name, fate)
        forget_generations()
    except (Failed, OSError) as problem:
        emit(
            step="former",
            text=(
                f"can't remove all of {', '.join(moved)} yet: {problem}; the next deploy tries"
                " again"
            ),
        )
        return
    write_mark(app)


def forget(name: str, fate: str) -> None:
    emit(step="former", text=f"removes what is left of {name}")
    if fate == "removed":
        nobody_works_as(name)
        if user_of(name):
            must_run("userdel", name)
        remove_tree(data_of(name))
    remove_tree(home_of(name))
    remove_file(mark_of(name))


def remove_tree(folder: Path) -> None:
    """Never through a link: neither this one nor one below it (shutil.rmtree holds every folder
    open)."""
    if os.path.lexists(str(folder)):
        shutil.rmtree(str(folder))


def forget_generations() -> None:
    """Generations of other applications hold their secrets, and nothing can go back to them."""
    current, wanted = (
        os.path.realpath(str(places.CONFIGURATION)),
        application_of(places.CONFIGURATION),
    )
    if wanted is None:
        return
    for folder in places.GENERATIONS.glob("*"):
        if str(folder) != current and application_of(folder) != wanted:
            remove_tree(folder)
