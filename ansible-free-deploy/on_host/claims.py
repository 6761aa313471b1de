"""Whose a name is on this host: the kit's marks of what it made, and what else has a name.

The application's name is a user, a group, /opt/<app>, /var/lib/<app>, /run/<app> and two units.
What the kit did not make it leaves alone. Its marks in /etc/origin-kit are root's:

    applications/<app>.json    written before anything of that name is made
    move.json                  from before a move (`moves.py`) until the new configuration serves
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping  # noqa: UP035 - Python 3.9 on hosts

from on_host import places, timers
from on_host.files import sync, write_durably
from on_host.orders import ORDERS

if TYPE_CHECKING:
    from on_host.on_disk import Mark, Move

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
    """The units of an application; its timers come first, since they start others."""
    units = []
    for place in sorted((places.ROOT / UNIT_FOLDERS[0]).glob(f"{app}-*.timer")):
        if leads_to_the_kit(place):
            units += [place.name, timers.service_of(place.name)]
    return [*units, f"{app}.socket", f"{app}.service"]


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


# ---------------------------------------------------------------------------------------- the marks


def is_ours(app: str) -> bool:
    """Whether the kit made it: its mark says so, or it is as a kit from before the mark left it."""
    return mark_of(app).is_file() or made_before_the_mark(app)


def made_before_the_mark(app: str) -> bool:
    """Whether a folder in /opt is root's own and holds releases, and nothing that no ship makes."""
    home = home_of(app)
    if not is_own_folder(home) or not is_own_folder(home / "releases"):
        return False
    names = {path.name for path in home.iterdir()}
    if not names <= HOME_NAMES:
        return False
    return all(is_release(path) for path in (home / "releases").iterdir())


def is_release(folder: Path) -> bool:
    """Whether a folder is a release that a ship made, or what an interrupted one left."""
    if folder.suffix == ".partial":
        return True
    try:
        record = json.loads(read_own(folder / "release.json"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("id") == folder.name and "role" in record


def read_own(path: Path) -> bytes:
    """The content of a file of root's, up to a bound: the path may be anybody's, a pipe that never
    ends included. Raises OSError."""
    descriptor = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as handle:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise OSError(f"{path} is not a file of root's")
        return handle.read(1 << 16)


def is_own_folder(path: Path) -> bool:
    """Whether this is a folder, and no link to one, that belongs to root (to whoever runs
    this)."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def read_mark(app: str) -> Mark:
    """What the mark of an application says; empty where there is none that can be read."""
    try:
        mark: Mark = json.loads(mark_of(app).read_text())
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def write_mark(app: str, former: Mapping[str, str] | None = None) -> None:
    """Mark an application as the kit's, durably. `former` are names that it had, and what became
    of each."""
    mark: Mark = {"application": app}
    if former is not None:
        mark["former"] = former
    write_durably(mark_of(app), json.dumps(mark).encode())
    sync(MARKS)


def others(app: str) -> list[str]:
    """The applications of this kit on this host that have another name, and a user or data; without
    those that a move to `app` has finished with."""
    found = []
    for name in marked_or_made_before() - {app, *former(app)}:
        if _NAME.fullmatch(name) and is_in_use(name):
            found.append(name)
    return sorted(found)


def marked_or_made_before() -> set[str]:
    """The names that the kit has marked, and those that one from before the mark has made."""
    names = {path.stem for path in MARKS.glob("*.json")}
    for path in (places.ROOT / "opt").glob("*"):
        if path.name not in names and made_before_the_mark(path.name):
            names.add(path.name)
    return names


def is_in_use(app: str) -> bool:
    """Whether an application has a user or data here."""
    return user_of(app) is not None or data_of(app).is_dir()


def former(app: str) -> list[str]:
    """The names that a move to `app` has finished with; a deploy removes what is left of them."""
    return [str(name) for name in read_mark(app).get("former", {})]


def unfinished_move(app: str) -> Move | None:
    """A move that was interrupted, or is to another name than this: the next ship takes it back."""
    way = read_move()
    if way is None or (way.get("shipped") and way["to"] == app):
        return None
    return way


def read_move() -> Move | None:
    """The journal of the move that is under way; None where there is none."""
    try:
        way: Move = json.loads(MOVE.read_text())
    except FileNotFoundError:
        return None
    return way


# ------------------------------------------------------------------------------ who has a name here


def conflicts(app: str) -> list[str]:
    """What has this name here and is not the kit's, each in a few words; empty where the name may
    be used."""
    if is_ours(app):
        return [*unfit_user(app), *unfit_folders(app), *foreign_units(app)]
    return [*taken_names(app), *foreign_units(app)]


def taken_names(app: str) -> Iterator[str]:
    """The user, the group and the paths that have this name."""
    user, group = user_of(app), group_of(app)
    if user:
        yield f"user {app} (uid {user.pw_uid}, home {user.pw_dir})"
    elif group:
        yield f"group {app} (gid {group.gr_gid})"
    run = places.ROOT / "run"
    for place in (home_of(app), data_of(app), run / app, run / f"{app}.sock"):
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
    """Folders of this name that are not root's, or not the user's data."""
    home, data = home_of(app), data_of(app)
    if os.path.lexists(str(home)) and not is_own_folder(home):
        yield f"{home}, which is not a folder of root's"
    if not os.path.lexists(str(data)):
        return
    owners = {os.geteuid()}
    user = user_of(ORDERS.get("user", app))
    if user:
        owners.add(user.pw_uid)
    status = data.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
        yield f"{data}, which is not a folder of user {app}'s"


def foreign_units(app: str) -> Iterator[str]:
    """Units of this name that are not links of the kit's. One of the kit's in /etc wins over
    whatever is elsewhere."""
    for unit in units_of(app):
        own = places.ROOT / "etc/systemd/system" / unit
        if leads_to_the_kit(own):
            continue
        for path in unit_files(unit):
            if os.path.lexists(str(path)):
                yield str(path)
    if os.path.lexists(str(places.ROOT / "etc/init.d" / app)):
        yield f"/etc/init.d/{app}"


def unit_files(unit: str) -> Iterator[Path]:
    """Where systemd looks for a unit, each place once."""
    seen = set()
    for folder in UNIT_FOLDERS:
        real = os.path.realpath(str(places.ROOT / folder))  # /lib is /usr/lib
        if real not in seen:
            seen.add(real)
            yield Path(real, unit)


def leads_to_the_kit(path: Path) -> bool:
    """Whether this is a link of the kit's."""
    try:
        return str(path.readlink()).startswith(OURS)
    except OSError:
        return False
