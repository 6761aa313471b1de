"""Whose a name is on a host: what the kit did not make it leaves alone, and a move loses no data.

The ship's script runs as on a host, below a root of its own (see test_install). Users are real
machines' matter: tests/e2e/test_names.py.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from on_host import claims, looks, moves, name_checks, places, two_phase
from on_host.generations import GenerationHead
from on_host.orders import ORDERS
from on_host.runtime import Failed
from tests.support.archives import archive_of
from tests.test_install import PACKAGE, Machine, _machine, in_a_process, site_orders

BLOB = archive_of(("site/index.html", b"x"))
ID = "0123456789ab"
machine = pytest.fixture(_machine)


def ship(machine: Machine, app: str = "shop", blob: bytes = BLOB, **more: Any) -> dict[str, Any]:
    return machine.run({**site_orders(blob), "app": app, **more}, blob)


def facts(machine: Machine, app: str = "shop", **more: Any) -> dict[str, Any]:
    return machine.run({"verb": "facts", "app": app, "who": "tests", **more})


# The fakes, and where the kit notes and receives what it has not yet put anywhere.
OWN = (
    "fake",
    "systemctl.log",
    "run/origin-kit",
    "var/log/origin-kit",
    "var/cache/origin-kit",
    "etc/origin-kit/committed.json",
    "etc/origin-kit/recover.pyz",
    "etc/systemd/system/origin-kit-recover.service",
)


def tree(root: Path) -> dict[str, tuple[int, int, str]]:
    """Every file below `root` with owner, mode and content; but for the lock and the fakes' own
    log."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith(OWN) or name in ("run", "var", "var/log", "var/cache"):
            continue
        state = path.lstat()
        content = (
            str(path.readlink())
            if path.is_symlink()
            else path.read_text()
            if path.is_file()
            else ""
        )
        found[name] = (state.st_uid, state.st_mode, content)
    return found


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ----------------------------------------------------------------------------------------- the mark

SOMEBODY_S: dict[str, Callable[[Path], object]] = {
    "opt/shop": lambda root: write(root / "opt/shop/bin/shop"),
    "var/lib/shop": lambda root: write(root / "var/lib/shop/their.db"),
    "run/shop": lambda root: write(root / "run/shop/pid"),
    "etc/systemd/system/shop.service": lambda root: write(root / "etc/systemd/system/shop.service"),
    "usr/lib/systemd/system/shop.service": lambda root: write(
        root / "usr/lib/systemd/system/shop.service"
    ),
    "lib/systemd/system/shop.socket": lambda root: write(root / "lib/systemd/system/shop.socket"),
    "etc/init.d/shop": lambda root: write(root / "etc/init.d/shop"),
}


@pytest.mark.parametrize("what", SOMEBODY_S)
def test_what_the_kit_did_not_make_is_refused(machine: Machine, what: str) -> None:
    """A folder or a unit of this name without the mark: named, and nothing is changed, by `facts`
    and by a ship."""
    SOMEBODY_S[what](machine.root)
    before = tree(machine.root)
    for result in (facts(machine), ship(machine)):
        assert "the name shop is taken here by what this kit did not make" in result["error"]
        assert f"/{what}" in result["error"]
        assert "choose another `application`" in result["error"]
    assert tree(machine.root) == before


def test_a_first_ship_leaves_the_mark(machine: Machine) -> None:
    """Root's, readable; and what has it is the kit's to ship to again."""
    assert ship(machine)["changed"]
    mark = machine.root / "etc/origin-kit/applications/shop.json"
    assert json.loads(mark.read_text()) == {"application": "shop"}
    assert (mark.stat().st_uid, mark.stat().st_mode & 0o777) == (os.geteuid(), 0o644)
    assert "error" not in facts(machine)


def test_a_ship_that_died_before_it_made_anything_is_finished(machine: Machine) -> None:
    """The mark is written before the user and the folders: a kill right behind it leaves nothing
    unclaimed."""
    machine.more = {"die_at": "user"}
    assert "was killed" in ship(machine)["error"]
    assert (machine.root / "etc/origin-kit/applications/shop.json").exists()
    machine.more = {}
    assert ship(machine)["changed"]


@pytest.mark.parametrize("left", ["a release", "nothing yet"])
def test_a_host_of_an_older_kit_is_taken_over(machine: Machine, left: str) -> None:
    """A kit from before the mark is known by what it made, a first ship that was cut short
    included."""
    if left == "a release":
        ship(machine)
        shutil.rmtree(machine.root / "etc")
    else:
        (machine.home / "releases").mkdir(parents=True)
        (machine.home / "venvs").mkdir()
    assert "error" not in facts(machine)
    again = archive_of(("site/index.html", b"y"))
    assert machine.run(site_orders(again, "abcdefabcdef"), again)["changed"]
    assert (machine.root / "etc/origin-kit/applications/shop.json").exists()


def _another_tool(root: Path) -> None:
    for name in ("releases/20260101", "shared", "repo"):
        (root / "opt/shop" / name).mkdir(parents=True)


def _a_pipe(root: Path) -> None:
    (root / f"opt/shop/releases/{ID}").mkdir(parents=True)
    os.mkfifo(root / f"opt/shop/releases/{ID}/release.json")


def _somebody_s(root: Path) -> None:
    (root / "opt/shop/releases").mkdir(parents=True)
    os.chown(root / "opt/shop", 65534, 65534)


def _a_link(root: Path) -> None:
    (root / "elsewhere/releases").mkdir(parents=True)
    (root / "opt").mkdir()
    (root / "opt/shop").symlink_to("../elsewhere")


@pytest.mark.parametrize("make", [_another_tool, _a_pipe, _somebody_s, _a_link])
def test_what_only_looks_like_it_is_not_taken_over(
    machine: Machine, make: Callable[[Path], None]
) -> None:
    """Another tool's releases, a pipe that would never end, a folder that is not root's, a link to
    one."""
    make(machine.root)
    for result in (facts(machine), ship(machine)):
        assert "taken here by what this kit did not make" in result["error"]


def test_data_of_another_user_is_not_taken(machine: Machine) -> None:
    """A folder that was the kit's and has been given away."""
    ship(machine)
    os.chown(machine.data, 12345, 12345)
    assert "which is not a folder of user shop's" in facts(machine)["error"]


def test_a_code_folder_of_another_user_is_not_taken(machine: Machine) -> None:
    """Its owner could replace what root works on there, with or without the mark."""
    ship(machine)
    os.chown(machine.home, 12345, 12345)
    for result in (facts(machine), ship(machine, blob=BLOB)):
        assert "opt/shop, which is not a folder of root's" in result["error"]


def test_releases_next_to_third_party_files_are_not_taken(machine: Machine) -> None:
    """Without the mark every file of the folder has to be of the kind that a ship makes."""
    ship(machine)
    shutil.rmtree(machine.root / "etc")
    assert "error" not in facts(machine)
    (machine.home / "shared").mkdir()
    assert "taken here by what this kit did not make" in facts(machine)["error"]


USUAL = {
    "uid": 990,
    "gid": 990,
    "shell": "/usr/sbin/nologin",
    "home": "/var/lib/shop",
    "group": 990,
    "members": [],
}


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({}, ""),
        ({"uid": 0}, "with uid 0"),
        ({"uid": 1001}, "with uid 1001"),
        ({"gid": 0, "group": 0}, "and gid 0"),
        ({"shell": "/bin/bash"}, "with the login shell /bin/bash"),
        ({"shell": ""}, "with the login shell /bin/sh"),
        ({"home": "/home/shop"}, "with the home /home/shop"),
        ({"group": 991}, "whose group is not its own"),
        ({"members": ["ada"]}, "whose group is not its own"),
    ],
)
def test_a_user_that_no_ship_makes_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], says: str
) -> None:
    """Whatever the mark says: root's id, a person's, a login, another home, others in its group."""
    now = USUAL | other
    user = pwd.struct_passwd(("shop", "x", now["uid"], now["gid"], "", now["home"], now["shell"]))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: user)
    monkeypatch.setattr(
        grp, "getgrnam", lambda name: grp.struct_group(("shop", "x", now["group"], now["members"]))
    )
    found = list(claims.unfit_user("shop"))
    assert len(found) == bool(says)
    assert says in "".join(found)


@pytest.mark.parametrize("what", ["user", "group"])
def test_a_user_or_group_without_the_mark_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Without the mark it belongs to somebody else, even if a ship would make the same."""
    monkeypatch.setattr(places, "ROOT", machine.root)
    monkeypatch.setattr(claims, "MARKS", machine.root / "etc/origin-kit/applications")
    user = pwd.struct_passwd(("shop", "x", 990, 990, "", "/var/lib/shop", "/usr/sbin/nologin"))
    group = grp.struct_group(("shop", "x", 990, []))
    monkeypatch.setattr(claims, "user_of", lambda app: user if what == "user" else None)
    monkeypatch.setattr(claims, "group_of", lambda app: group)
    expected = {"user": "user shop (uid 990, home /var/lib/shop)", "group": "group shop (gid 990)"}
    assert claims.conflicts("shop") == [expected[what]]


def test_a_deploy_checks_name_and_places_before_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It checks the name, then the places of the generation's links."""
    asked: list[str] = []
    monkeypatch.setattr(name_checks, "unfinished_move", lambda app: None)
    monkeypatch.setattr(name_checks, "refuse", lambda app: asked.append(f"name {app}"))

    def refuse_foreign_places(generation: GenerationHead, app: str) -> None:
        asked.append(f"places {generation['id']} {app}")

    monkeypatch.setattr(name_checks, "refuse_foreign_places", refuse_foreign_places)
    name_checks.check(empty_generation(), "shop")
    assert asked == ["name shop", "places one shop"]


def test_a_deploy_is_refused_during_an_unfinished_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host runs a copy without the application until a ship puts it back."""
    way = {"to": "store", "moving": {"shop": "renamed"}}
    monkeypatch.setattr(claims, "read_move", lambda: way)
    with pytest.raises(Failed, match="the move from shop to store is unfinished here; run `fab sh"):
        name_checks.check(empty_generation(), "store")


def test_a_unit_that_came_later_is_seen(machine: Machine) -> None:
    """A package that brings a unit of this name after the first ship: refused, until a link of the
    kit's is there."""
    ship(machine)
    write(machine.root / "usr/lib/systemd/system/shop.service")
    assert "usr/lib/systemd/system/shop.service" in facts(machine)["error"]
    own = machine.root / "etc/systemd/system/shop.service"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.symlink_to("/etc/origin-kit/current/systemd/shop.service")
    assert "error" not in facts(machine)


def generation(place: Path, absent: Path, *units: str) -> GenerationHead:
    return {
        "id": "one",
        "links": [{"place": str(place), "target": "nginx/origin-kit.conf"}],
        "absent": [str(absent)],
        "fingerprints": {},
        "units": {"gunicorn": units} if units else {},
    }


def empty_generation() -> GenerationHead:
    return {"id": "one", "links": [], "absent": [], "fingerprints": {}, "units": {}}


def test_a_deploy_takes_its_own_places_only(tmp_path: Path) -> None:
    """Empty, or a link of the kit's: a deploy may link there. Debian's default site is a link, and
    may go."""
    place, absent = tmp_path / "origin-kit.conf", tmp_path / "default"
    absent.symlink_to("../sites-available/default")
    name_checks.refuse_foreign_places(generation(place, absent), "ok-none")
    place.symlink_to("/etc/origin-kit/current/nginx/origin-kit.conf")
    name_checks.refuse_foreign_places(generation(place, absent), "ok-none")


@pytest.mark.parametrize("what", ["file", "link", "masked", "folder", "absent"])
def test_a_deploy_replaces_nothing_of_somebody_s(tmp_path: Path, what: str) -> None:
    """A file, a link elsewhere, a masked unit; and a site that somebody wrote where Debian has a
    link."""
    place, absent = tmp_path / "origin-kit.conf", tmp_path / "default"
    make: dict[str, Callable[[], object]] = {
        "file": lambda: place.write_text("x"),
        "link": lambda: place.symlink_to("/srv/origin-kit.conf"),
        "masked": lambda: place.symlink_to("/dev/null"),
        "folder": place.mkdir,
        "absent": lambda: absent.write_text("x"),
    }
    make[what]()
    with pytest.raises(
        Failed, match=f"{absent if what == 'absent' else place}: not this kit's, and a deploy would"
    ):
        name_checks.refuse_foreign_places(generation(place, absent), "ok-none")


def test_a_generation_of_another_application_is_refused(tmp_path: Path) -> None:
    """A rollback to before a rename would start units whose user is gone."""
    with pytest.raises(
        Failed,
        match=r"generation one is of another application \(shop.service\), and this is store",
    ):
        name_checks.refuse_foreign_places(
            generation(tmp_path / "a", tmp_path / "b", "shop.socket", "shop.service"), "store"
        )


# ------------------------------------------------------------------------------------- another name


@pytest.fixture
def deployed(machine: Machine) -> Machine:
    """A host that serves `shop` and has a timer of it, with data and the configuration's links."""
    ship(machine)
    (machine.data / "media/photo").write_text("uploaded")
    generation = machine.root / "etc/origin-kit/generations/one"
    write(generation / "nginx/origin-kit.conf", "root /opt/shop/current/site;\n")
    applications = ("shop.service", "shop-nightly.service", "shop-nightly.timer")
    files = ["nginx/origin-kit.conf"]
    for unit in applications:
        write(generation / "systemd" / unit)
        files.append(f"systemd/{unit}")
    record = {
        "id": "one",
        "units": {
            "gunicorn": ["shop.service"],
            "nginx": ["nginx.service"],
            "timers": ["shop-nightly.timer"],
        },
        "fingerprints": {"gunicorn": "g", "nginx": "n", "timers": "t"},
        "links": [],
        "absent": [],
        "files": [{"path": path} for path in files],
    }
    write(generation / "generation.json", json.dumps(record))
    (machine.root / "etc/origin-kit/current").symlink_to("generations/one")
    for place in (
        *(f"systemd/system/{unit}" for unit in applications),
        "systemd/system/multi-user.target.wants/shop.service",
        "systemd/system/timers.target.wants/shop-nightly.timer",
        "systemd/system/nginx.socket",
        "nginx/conf.d/origin-kit.conf",
    ):
        path = machine.root / "etc" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(f"/etc/origin-kit/current/{place}")
    write(machine.root / "etc/nginx/conf.d/theirs.conf")
    return machine


def test_another_name_stops_with_the_choices(deployed: Machine) -> None:
    """The old one would go on running and the new one start empty: named, with the three ways out;
    nothing changes."""
    before = tree(deployed.root)
    for result in (facts(deployed, "store"), ship(deployed, "store")):
        assert result["error"].startswith(
            "this host has application shop of this kit, and the stack's config says store"
        )
        for way in (
            "set `application: shop` again",
            "fab ship --rename-from shop",
            "fab ship --remove-application shop",
        ):
            assert way in result["error"]
    assert tree(deployed.root) == before


def test_a_rename_keeps_the_data(deployed: Machine) -> None:
    """Its folder has the new name, inode and all; links and mark of the old name are gone, its code
    stays for now."""
    inode = deployed.data.stat().st_ino
    assert ship(deployed, "store", moving={"shop": "renamed"})["changed"]
    data = deployed.root / "var/lib/store"
    assert (data.stat().st_ino, (data / "media/photo").read_text()) == (inode, "uploaded")
    assert not deployed.data.exists()
    system = deployed.root / "etc/systemd/system"
    units = {path.name for path in system.rglob("*") if path.suffix in (".service", ".timer")}
    assert units == {"origin-kit-recover.service"}  # the boot guard
    meanwhile = json.loads((deployed.root / "etc/origin-kit/current/generation.json").read_text())
    assert (meanwhile["units"], meanwhile["fingerprints"]) == (
        {"nginx": ["nginx.service"]},
        {"nginx": "n"},
    )
    assert [file["path"] for file in meanwhile["files"]] == ["nginx/origin-kit.conf"]
    assert (deployed.home / "current/site").exists()
    marks = deployed.root / "etc/origin-kit/applications"
    assert json.loads((marks / "store.json").read_text())["former"] == {"shop": "renamed"}
    log = (deployed.root / "systemctl.log").read_text()
    for unit in ("shop.socket", "shop.service", "shop-nightly.timer", "shop-nightly.service"):
        assert f"stop {unit}" in log
    assert "error" not in facts(deployed, "store")
    assert (
        ship(deployed, "store", moving={"shop": "renamed"})["changed"] is False
    )  # again: nothing to do
    assert (data / "media/photo").read_text() == "uploaded"


def test_a_removal_keeps_the_data_until_all_serves(deployed: Machine) -> None:
    """A ship stops the old one; its data goes with the deploy that follows."""
    assert ship(deployed, "store", moving={"shop": "removed"})["changed"]
    assert (deployed.data / "media/photo").exists()
    assert not (deployed.root / "var/lib/store/media/photo").exists()
    assert "error" not in facts(deployed, "store")


@pytest.mark.parametrize("fate", ["renamed", "removed"])
def test_a_ship_that_fails_puts_the_old_one_back(deployed: Machine, fate: str) -> None:
    """Broken on its way: every link, the data and the mark are as before, and the old units are
    started."""
    before = tree(deployed.root)
    result = ship(deployed, "store", BLOB[:-20], moving={"shop": fate})
    assert "ship again" in result["error"]
    after = tree(deployed.root)
    new = ("opt/store", "var/lib/store", "etc/origin-kit/generations/one-moved")
    made = {name for name in after if name.startswith(new)}
    assert {name: state for name, state in after.items() if name not in made} == before
    assert "start shop.service" in (deployed.root / "systemctl.log").read_text()
    said = facts(deployed, "shop").get("error", "")
    assert (
        said == "" if fate == "renamed" else "has application store" in said
    )  # whose first ship has begun


@pytest.mark.parametrize(
    "name", ["move", "rename", "user", "unpack", "journal", "switch", "commit", "prune"]
)
def test_a_kill_during_a_move_is_settled_by_the_next_run(deployed: Machine, name: str) -> None:
    """SIGKILL at any step: a ship without the flag goes back and asks, unless what runs is the new
    release already; the same ship again completes the move."""
    deployed.more = {"die_at": name}
    assert "was killed" in ship(deployed, "store", moving={"shop": "renamed"})["error"]
    deployed.more = {}
    if name not in ("commit", "prune"):
        assert "this host has application shop" in ship(deployed, "store")["error"]
        assert (deployed.data / "media/photo").read_text() == "uploaded"
        assert (deployed.root / "etc/nginx/conf.d/origin-kit.conf").is_symlink()
    assert "error" not in ship(deployed, "store", moving={"shop": "renamed"})
    assert (deployed.root / "var/lib/store/media/photo").read_text() == "uploaded"
    assert not deployed.data.exists()


def test_a_move_is_kept_when_its_release_is_kept(deployed: Machine) -> None:
    """The next ship, without the option, finishes a move that was killed at its commit."""
    deployed.more = {"die_at": "commit"}
    assert "was killed" in ship(deployed, "store", moving={"shop": "renamed"})["error"]
    deployed.more = {}
    assert "error" not in ship(deployed, "store")
    assert (deployed.root / "var/lib/store/media/photo").read_text() == "uploaded"
    assert not deployed.data.exists()
    move = json.loads((deployed.root / "etc/origin-kit/move.json").read_text())
    assert (move["to"], move["shipped"]) == ("store", True)


def test_until_the_new_configuration_serves_it_can_be_undone(deployed: Machine) -> None:
    """A move that has shipped here is taken back whole by a ship of the old name."""
    before = tree(deployed.root)
    ship(deployed, "store", moving={"shop": "renamed"})
    assert "error" not in ship(deployed, "store")  # more code under the new name: the move stands
    assert (deployed.root / "var/lib/store/media/photo").exists()
    assert facts(deployed)["settled"] is False
    ship(deployed)
    after = tree(deployed.root)
    new = ("opt/store", "etc/origin-kit/generations/one-moved")
    assert {name: state for name, state in after.items() if not name.startswith(new)} == before
    assert "error" not in facts(deployed)
    assert ship(deployed, "store", moving={"shop": "removed"})[
        "changed"
    ]  # as if for the first time
    assert (deployed.root / "var/lib/store/secret_key").exists()


def test_a_rename_never_covers_data(deployed: Machine) -> None:
    """Where the new name has data of its own already, nothing moves, and the way out is said."""
    marks = deployed.root / "etc/origin-kit/applications"
    (marks / "store.json").write_text('{"application": "store"}')
    data = deployed.root / "var/lib/store"
    data.mkdir()
    result = ship(deployed, "store", moving={"shop": "renamed"})
    assert "store has a user or data of its own here" in result["error"]
    assert "--remove-application store" in result["error"]
    assert (deployed.data / "media/photo").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_mount_in_the_data_stops_a_move(deployed: Machine) -> None:
    """A rename would leave it, and a removal would empty another disk."""
    media = deployed.data / "media"
    subprocess.run(["mount", "-t", "tmpfs", "none", str(media)], check=True)
    try:
        assert (
            f"{media} is a mount of its own"
            in ship(deployed, "store", moving={"shop": "renamed"})["error"]
        )
    finally:
        subprocess.run(["umount", str(media)], check=True)
    assert (media / "photo").exists()


def test_a_process_of_the_old_one_stops_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on writing where nobody looks any more."""
    own = pwd.struct_passwd(
        ("shop", "x", os.geteuid(), os.getegid(), "", "/var/lib/shop", "/usr/sbin/nologin")
    )
    monkeypatch.setattr(pwd, "getpwnam", lambda name: own)
    with pytest.raises(
        Failed, match=r"process \d+ \(.*\) of user shop still runs; end it, then run this again"
    ):
        moves.nobody_works_as("shop")


def forget_former(machine: Machine, app: str) -> None:
    """What a deploy does when the new configuration serves."""
    in_a_process(machine, PACKAGE, f"from on_host import moves\nmoves.forget_former({app!r})\n")


@pytest.mark.parametrize("fate", ["renamed", "removed"])
def test_nothing_of_the_former_name_is_left(deployed: Machine, fate: str) -> None:
    """Code, mark, and the generations that hold its secrets; data only where it was asked for."""
    ship(deployed, "store", moving={"shop": fate})
    kit = deployed.root / "etc/origin-kit"
    write(kit / "generations/two/nginx/origin-kit.conf", "root /opt/store/current/site;\n")
    (kit / "current").unlink()
    (kit / "current").symlink_to("generations/two")
    forget_former(deployed, "store")
    assert not any(
        path.exists() for path in (deployed.home, deployed.data, kit / "applications/shop.json")
    )
    assert [path.name for path in (kit / "generations").iterdir()] == ["two"]
    assert (deployed.root / "var/lib/store/media/photo").exists() is (fate == "renamed")
    assert json.loads((kit / "applications/store.json").read_text()) == {"application": "store"}


def test_an_application_that_was_changed_is_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator gave the old application's user a shell, so it is theirs."""
    monkeypatch.setattr(name_checks, "others", lambda app: ["shop"])
    monkeypatch.setattr(name_checks, "user_of", lambda app: None)
    monkeypatch.setattr(
        name_checks, "unfit_user", lambda app: [f"user {app} with the login shell x"]
    )
    with pytest.raises(Failed, match="shop is not as this kit made it: user shop with the login"):
        name_checks.refuse_move("store", "shop", "removed")


@pytest.mark.parametrize("problem", [Failed("no"), two_phase.InDoubt("?"), KeyboardInterrupt()])
def test_a_move_stands_while_its_ship_is_in_doubt(
    monkeypatch: pytest.MonkeyPatch, problem: BaseException
) -> None:
    """A ship in doubt leaves the move as it is; any other failure undoes the move."""
    back: list[str] = []
    monkeypatch.setattr(name_checks, "refuse", lambda app, moving: None)
    monkeypatch.setattr(moves, "unfinished_move", lambda app: False)
    monkeypatch.setattr(moves, "others", lambda app: ["shop"])
    monkeypatch.setattr(moves, "write_mark", lambda app: None)
    monkeypatch.setattr(moves, "plan_move", lambda app, todo, fresh: {"moving": todo})
    monkeypatch.setattr(moves, "move", lambda way: None)
    monkeypatch.setattr(moves, "take_back", lambda way, why: back.extend(way["moving"]))
    with pytest.raises(type(problem)), moves.entered("store", {"shop": "renamed"}):
        raise problem
    assert back == ([] if isinstance(problem, two_phase.InDoubt) else ["shop"])


def test_status_reports_applications_of_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the earlier one would run on with its secrets, unnoticed."""
    monkeypatch.setattr(name_checks, "unfinished_move", lambda app: False)
    monkeypatch.setattr(name_checks, "others", lambda app: ["shop"])
    monkeypatch.setitem(ORDERS, "app", "store")
    with pytest.raises(Failed, match="this host has application shop of this kit"):
        looks.held()


def test_a_wrong_name_moves_nothing(deployed: Machine) -> None:
    result = ship(deployed, "store", moving={"shop": "renamed", "shoop": "removed"})
    assert "there is no application shoop of this kit here (there is: shop)" in result["error"]
    assert (deployed.data / "media/photo").exists()


def test_five_at_once_are_named_and_go(deployed: Machine) -> None:
    """What renames of an older kit left: one keeps its data, the others are removed by name."""
    for name in ("one", "two", "three", "four"):
        shutil.copytree(deployed.home, deployed.root / "opt" / name, symlinks=True)
        (deployed.root / "var/lib" / name).mkdir()
        shutil.chown(deployed.root / "var/lib" / name, "nobody")
    others = ["four", "one", "three", "two"]
    assert "has application four, one, shop, three, two of" in facts(deployed, "store")["error"]
    assert ship(deployed, "store", moving={"shop": "renamed", **dict.fromkeys(others, "removed")})[
        "changed"
    ]
    assert (deployed.root / "var/lib/store/media/photo").exists()
    assert "error" not in facts(deployed, "store")


def test_removing_a_leftover_leaves_what_serves_in_service(deployed: Machine) -> None:
    """The configuration is not the leftover's: only the leftover's own units and links go."""
    other = deployed.root / "etc/systemd/system/old.service"
    other.symlink_to("/etc/origin-kit/current/systemd/old.service")
    shutil.copytree(deployed.home, deployed.root / "opt/old", symlinks=True)
    (deployed.root / "var/lib/old").mkdir()
    shutil.chown(deployed.root / "var/lib/old", "nobody")
    assert "error" not in ship(deployed, moving={"old": "removed"})
    assert not other.is_symlink()
    assert (deployed.root / "etc/nginx/conf.d/origin-kit.conf").is_symlink()
    assert (deployed.root / "etc/origin-kit/current").is_symlink()
    log = (deployed.root / "systemctl.log").read_text()
    assert "stop old.service" in log and "stop shop.service" not in log
