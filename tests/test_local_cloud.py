"""Networks, images and machines on this host."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from pulumi import dynamic

from infra.core import home
from infra.core.processes import start_time
from infra.local import boot, image, networks, nspawn
from infra.local.machines import MachineProvider, NetworkProvider
from infra.local.processes import wait_until

ROOT = Path(__file__).parents[1]
Made = dynamic.CreateResult | dynamic.ReadResult | dynamic.UpdateResult
MACHINE = {"name": "backend-1", "stack": "t", "number": 64, "image": "", "memory_mb": 256}


def outs(result: Made) -> dict[str, Any]:
    """The outputs of a result, which Pulumi declares optional."""
    assert result.outs is not None
    return result.outs


# --------------------------------------------------------------------------------------------- pure


def test_apt_sources_are_read_in_both_formats(tmp_path: Path) -> None:
    """One-line entries and deb822 stanzas, options and comments included; source packages left
    out."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://no/ bookworm main\ndeb [arch=amd64 signed-by=/k] http://a/ bookworm main"
        " contrib\ndeb-src http://b/ bookworm main\n"
    )
    (tmp_path / "sources.list.d" / "x.sources").write_text(
        "Types: deb deb-src\n# a comment\nURIs: http://c/ http://d/\nSuites: bookworm"
        " bookworm-updates\nComponents: main\nSigned-By: /k\n\nTypes: deb\nEnabled: no\nURIs:"
        " http://e/\nSuites: bookworm\nComponents: main\n"
    )
    assert list(image.sources(tmp_path)) == [
        ("http://c/", ["bookworm", "bookworm-updates"], ["main"]),
        ("http://d/", ["bookworm", "bookworm-updates"], ["main"]),
        ("http://a/", ["bookworm"], ["main", "contrib"]),
    ]


def test_a_subnet_overlaps_nothing_that_is_taken() -> None:
    """Whatever the host uses already, the subnet does not overlap it, and it is the same one every
    time."""
    first = networks.free_subnet("a", [])
    assert IPv4Network(first).subnet_of(networks.RANGE)
    assert networks.free_subnet("a", []) == first
    second = networks.free_subnet("a", [IPv4Network(first).supernet(new_prefix=20)])
    assert not IPv4Network(second).overlaps(IPv4Network(first).supernet(new_prefix=20))


def test_a_host_without_a_free_subnet_says_so() -> None:
    """The message names the key to set."""
    with pytest.raises(home.LocalCloudError, match="set `subnet` in the stack's config"):
        networks.free_subnet("a", [IPv4Network("10.0.0.0/8")])


def test_another_recipe_is_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key covers release and recipe, so that an image made by another kit is never taken for
    this one."""
    assert image.key("bookworm") != image.key("trixie")
    assert image.key("bookworm").startswith("bookworm-")


@pytest.mark.parametrize(
    ("key", "value"),
    [("subnet", "10.1.2.0/24"), ("bridge", "ok-1"), ("number", 65)],
)
def test_another_place_replaces_the_machine(key: str, value: object) -> None:
    """What can't change in place is listed, and the old one goes first because it holds the
    address."""
    props: dict[str, Any] = {**MACHINE, "bridge": "ok-0", "subnet": "10.1.1.0/24", "running": True}
    found = MachineProvider().diff("id", props, {**props, key: value})
    assert (found.changes, found.replaces, found.delete_before_replace) == (True, [key], True)


def test_another_image_is_for_new_machines() -> None:
    """As on the clouds: `fab replace` takes a host's data to one, and nothing is lost in
    passing."""
    props: dict[str, Any] = {**MACHINE, "bridge": "b", "subnet": "10.1.1.0/24", "running": True}
    assert not MachineProvider().diff("id", props, {**props, "image": "trixie"}).changes


def test_two_machines_of_one_host_share_no_name_and_no_address() -> None:
    """While it is replaced; the one that serves has the host's address, whichever it is."""
    provider = MachineProvider()
    props: dict[str, Any] = {**MACHINE, "bridge": "b", "subnet": "10.1.1.0/24", "image": "bookworm"}
    new = {**props, "name": "backend-1-2", "serial": 2}
    machines = [provider._machine(one) for one in (props, {**new, "standing": "arriving"})]
    for what in ("id", "name", "container", "address", "unit"):
        assert getattr(machines[0], what) != getattr(machines[1], what)
    assert provider._machine(new).address == provider._machine(props).address
    found = provider.diff("id", {**new, "standing": "arriving", "running": True}, new)
    assert (found.changes, found.replaces) == (True, [])


def test_another_memory_limit_changes_the_machine_in_place() -> None:
    """More memory is no reason to lose the data; nor is a machine that an older version of the kit
    has made."""
    props: dict[str, Any] = {
        **MACHINE,
        "bridge": "b",
        "subnet": "s",
        "running": True,
        "limit": "cgroup",
    }
    found = MachineProvider().diff("id", props, {**props, "memory_mb": 768})
    assert (found.changes, found.replaces) == (True, [])


def test_a_stopped_machine_is_updated_not_replaced() -> None:
    """Its data stays: `running: false` in the state is a change, and nothing is replaced."""
    props: dict[str, Any] = {**MACHINE, "bridge": "b", "subnet": "s", "running": False}
    found = MachineProvider().diff("id", props, props)
    assert (found.changes, found.replaces) == (True, [])


def test_pulumi_s_doubles_change_nothing() -> None:
    """Numbers come back from the state as doubles."""
    props: dict[str, Any] = {**MACHINE, "bridge": "b", "subnet": "s", "running": True}
    assert (
        not MachineProvider()
        .diff("id", {**props, "memory_mb": 256.0, "number": 64.0}, props)
        .changes
    )


# ------------------------------------------------------------------------------------ real machines


class World:
    """A network with one machine, under a home of its own."""

    def __init__(self) -> None:
        self.networks, self.machines = NetworkProvider(), MachineProvider()
        self.network = self.networks.create({"stack": "t", "wanted_subnet": ""})
        self.props = {
            **MACHINE,
            "bridge": outs(self.network)["bridge"],
            "subnet": outs(self.network)["subnet"],
        }
        self.id = self.machines.planned_id(self.props)

    @property
    def wanted(self) -> nspawn.Machine:
        return self.machines._machine(self.props)

    @property
    def machine(self) -> nspawn.Machine:
        found = nspawn.load(self.id)
        assert found is not None
        return found

    def ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        known = home.home().with_name("known")
        known.write_text(f"{self.machine.address} {self.machine.host_key}\n")
        options = [
            "-oBatchMode=yes",
            "-oStrictHostKeyChecking=yes",
            f"-oUserKnownHostsFile={known}",
            "-oConnectTimeout=5",
        ]
        words = [
            "ssh",
            *options,
            "-i",
            str(home.operator_key()),
            f"deploy@{self.machine.address}",
            command,
        ]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)

    def traces(self) -> list[str]:
        mounts = [
            line
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if str(home.home()) in line
        ]
        links = [
            path.name for path in Path("/sys/class/net").iterdir() if self.machine_link in path.name
        ]
        folders = [str(path) for path in (home.home() / "machines").glob("*")]
        return mounts + links + folders

    @property
    def machine_link(self) -> str:
        return f"vb-{home.short_id('t')}"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    image.ensure()
    made = World()
    try:
        yield made
    finally:
        made.machines.delete(made.id, {})
        made.networks.delete(made.network.id, {})


@pytest.mark.machines
def test_a_machine_answers_ssh_with_its_key(world: World) -> None:
    """Strict host key checking with exactly the recorded key succeeds; the system runs, no unit has
    failed."""
    made = world.machines.create(world.props)
    assert outs(made)["host_key"] == world.machine.host_key
    assert world.ssh("systemctl is-system-running --wait; sudo -n id -u").stdout.split() == [
        "running",
        "0",
    ]
    assert world.ssh("sudo -n passwd -S root").stdout.split()[1] == "L"


@pytest.mark.machines
def test_a_machine_outlives_what_started_it(world: World) -> None:
    """Killed without a shutdown it reads as stopped; an update starts it, and what was on it is
    there."""
    made = world.machines.create(world.props)
    world.ssh("echo kept > note; sync note")
    os.kill(world.machine.pid, signal.SIGKILL)
    assert wait_until(lambda: not nspawn.running(world.machine), 5)
    read = world.machines.read(world.id, outs(made))
    assert (read.id, outs(read)["running"]) == (world.id, False)
    assert world.machines.diff(world.id, outs(read), world.props).changes
    world.machines.update(world.id, outs(read), world.props)
    assert world.ssh("cat note").stdout == "kept\n"


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def copy_of_the_cache(folder: Path) -> Path:
    """A cache of this test's own with the base image in it: the shared one is used by others."""
    target = folder / "images" / image.path().name
    target.parent.mkdir(parents=True)
    subprocess.run(["cp", "-al", str(image.path()), str(target)], check=True)
    return folder


@pytest.mark.machines
def test_the_cache_may_be_deleted_under_a_running_machine(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands on the home's own base: it runs on, starts again, and another one is made, all
    without a rebuild."""
    cache = copy_of_the_cache(tmp_path / "cache")
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(cache))
    made = world.machines.create(world.props)
    shutil.rmtree(cache)
    assert (
        world.ssh("dpkg --audit && sudo -n systemctl restart systemd-journald && echo up").stdout
        == "up\n"
    )
    assert outs(world.machines.read(world.id, outs(made)))["running"] is True
    os.kill(world.machine.pid, signal.SIGKILL)
    assert wait_until(lambda: not nspawn.running(world.machine), 5)
    world.machines.update(world.id, outs(made), world.props)
    assert world.ssh("true").returncode == 0
    second = {**world.props, "name": "backend-2", "number": 65}
    try:
        world.machines.create(second)
    finally:
        world.machines.delete(world.machines.planned_id(second), {})
    assert not cache.exists()


@pytest.mark.machines
def test_a_machine_without_its_base_is_mended(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version mounted machines on the cache: such a one is dead though its processes live,
    and reads as stopped; an update brings it back on the same base, put back, with its data."""
    cache = copy_of_the_cache(tmp_path / "cache")
    kept = copy_of_the_cache(tmp_path / "kept")
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(cache))
    with monkeypatch.context() as older:
        older.setattr(image, "bases", lambda: cache / "images")
        made = world.machines.create(world.props)
    world.ssh("echo kept > note; sync note")
    shutil.rmtree(cache)
    assert nspawn.running(world.machine)
    assert world.ssh("cat note").returncode != 0
    read = world.machines.read(world.id, outs(made))
    assert outs(read)["running"] is False
    kept.rename(cache)
    world.machines.update(world.id, outs(read), world.props)
    assert world.ssh("cat note").stdout == "kept\n"
    shutil.rmtree(cache)
    assert world.ssh("cat note").stdout == "kept\n"


@pytest.mark.machines
def test_a_stopped_machine_keeps_the_base_that_it_was_made_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer version of the kit makes another image: what is there stays on its own, until it is
    removed."""
    made = world.machines.create(world.props)
    world.ssh("echo kept > note; sync note")
    old = world.machine.image
    os.kill(world.machine.pid, signal.SIGKILL)
    assert wait_until(lambda: not nspawn.running(world.machine), 5)
    monkeypatch.setattr(image, "PACKAGES", (*image.PACKAGES, "one-more"))
    assert image.path().name != old
    read = world.machines.read(world.id, outs(made))
    assert world.machines.diff(world.id, outs(read), world.props).replaces == []
    world.machines.update(world.id, outs(read), world.props)
    assert world.ssh("cat note").stdout == "kept\n"
    assert f"lowerdir={home.home()}/bases/{old}," in Path("/proc/self/mounts").read_text()
    nspawn.delete(world.id)
    assert not (home.home() / "bases" / old).exists()


def test_a_base_that_can_t_be_had_again_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone from home and cache, and of a recipe that this version no longer has: nothing is built
    in its place."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        home.LocalCloudError,
        match="the base image bookworm-0123, which a machine was made on, is gone",
    ):
        image.base("bookworm-0123")


@pytest.mark.machines
def test_a_base_half_put_into_the_home_is_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed run left goes; a disk that is full is named, and nothing half stays."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/big").write_bytes(b"x" * 200_000)
    image.bases().mkdir(parents=True)
    (image.bases() / "b-1.partial").mkdir()
    held = image.hold("b-1", tree)
    assert (held / "etc/big").samefile(tree / "etc/big")
    assert [path.name for path in image.bases().glob("b-*")] == ["b-1"]
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        monkeypatch.setenv("ORIGIN_KIT_HOME", str(small))
        with pytest.raises(
            home.LocalCloudError, match=r"can't be put into .*No space left on device; make room"
        ):
            image.hold("b-1", tree)
        assert list(image.bases().glob("b-*")) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.machines
def test_a_home_with_a_set_uid_file_is_closed_to_other_users(world: World) -> None:
    """A file that root in a machine makes set-uid can't be reached by a user of this host, nor can
    the base's."""
    world.machines.create(world.props)
    world.ssh("sudo -n install -m 4755 /bin/bash /opt/root-shell")
    inside = world.machine.root / "opt/root-shell"
    assert inside.stat().st_mode & 0o4000
    base = image.bases() / world.machine.image / "usr/bin/su"
    for path in (inside, base, image.path() / "usr/bin/su"):
        done = subprocess.run(
            [*NOBODY, "sh", "-c", 'exec "$0" -c "id -u"', str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Permission denied" in done.stderr, path
    assert [path for path in home.home().rglob("machines/*") if path.stat().st_mode & 0o077] == []


@pytest.mark.machines
def test_a_bridge_of_another_home_is_not_shared(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home that was moved keeps its bridge; another one at its old path would have the same name
    for its own."""
    moved = tmp_path / "moved"
    home.home().rename(moved)
    with pytest.raises(
        home.LocalCloudError,
        match=f"{world.network.id} belongs to another home of the kit, made at",
    ):
        world.networks.create({"stack": "t", "wanted_subnet": ""})
    assert outs(world.networks.read(world.network.id, outs(world.network)))["up"] is False
    world.networks.delete(world.network.id, {})
    assert Path("/sys/class/net", world.network.id).exists()
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(moved))
    assert outs(world.networks.read(world.network.id, outs(world.network)))["up"] is True


@pytest.mark.machines
def test_a_bridge_that_nobody_has_signed_is_the_state_s(world: World) -> None:
    """Older versions signed none: the one that a state names is its home's, and is signed then."""
    subprocess.run(["ip", "link", "set", world.network.id, "alias", ""], check=True)
    assert outs(world.networks.read(world.network.id, outs(world.network)))["up"] is True
    alias = Path("/sys/class/net", world.network.id, "ifalias").read_text()
    assert alias == f"origin-kit {home.identity()} {home.home()}\n"


@pytest.mark.machines
def test_a_vanished_machine_reads_as_absent(world: World) -> None:
    """Its folder gone, refresh finds nothing, and it can be made again."""
    made = world.machines.create(world.props)
    nspawn.delete(world.id)
    assert world.machines.read(world.id, outs(made)).id == ""
    world.machines.create(world.props)
    assert world.ssh("true").returncode == 0


@pytest.mark.machines
def test_delete_leaves_nothing_and_may_be_repeated(world: World) -> None:
    """No mount, cable, folder, process or memory group stays; a second delete is fine."""
    world.machines.create(world.props)
    pid, unit = world.machine.pid, world.machine.unit
    world.machines.delete(world.id, {})
    world.machines.delete(world.id, {})
    assert world.traces() == []
    # Until its parent has taken note.
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5)
    assert list(Path("/sys/fs/cgroup").glob(f"**/{unit}")) == []


@pytest.mark.machines
def test_a_failed_create_leaves_nothing(world: World) -> None:
    """A machine whose network is gone does not come up, says why, and is not half there."""
    with pytest.raises(home.LocalCloudError, match="its network ok-none is gone"):
        world.machines.create({**world.props, "bridge": "ok-none"})
    assert world.traces() == []


@pytest.mark.machines
def test_create_after_a_crash_takes_what_is_whole(world: World) -> None:
    """A run killed after the machine was up finds it again; one killed before starts from
    nothing."""
    world.machines.create(world.props)
    pid, started = world.machine.pid, world.machine.started
    world.machines.create(world.props)
    assert (world.machine.pid, world.machine.started) == (pid, started)
    record = world.machine.folder / "machine.json"
    record.write_text(
        record.read_text()
        .replace('"complete": true', '"complete": false')
        .replace(f'"pid": {pid}', '"pid": 0')
    )
    world.machines.create(world.props)
    # The kernel may give the number to another process, even to the new machine's: the start time
    # distinguishes them.
    assert (world.machine.pid, world.machine.started) != (pid, started)
    assert start_time(pid) != started


@pytest.mark.machines
def test_two_environments_have_networks_of_their_own(world: World) -> None:
    """Another stack gets another bridge and another subnet."""
    other = world.networks.create({"stack": "u", "wanted_subnet": ""})
    try:
        assert other.id != world.network.id
        assert not IPv4Network(outs(other)["subnet"]).overlaps(
            IPv4Network(outs(world.network)["subnet"])
        )
        with pytest.raises(home.LocalCloudError, match="overlaps a network of this host"):
            world.networks.create({"stack": "v", "wanted_subnet": outs(other)["subnet"]})
    finally:
        world.networks.delete(other.id, {})


@pytest.mark.machines
def test_a_bridge_comes_back_after_a_reboot(world: World) -> None:
    """Addresses are in contracts and browsers: they stay."""
    networks.delete_network(world.network.id)
    read = world.networks.read(world.network.id, outs(world.network))
    assert outs(read)["up"] is False
    again = world.networks.update(world.network.id, outs(read), {"stack": "t", "wanted_subnet": ""})
    assert outs(again)["subnet"] == outs(world.network)["subnet"]


PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
ON_A_HOST_WITH_SYSTEMD = """
import sys
from infra.local import image, networks, nspawn
network = networks.create_network("ok-inner", "")
machine = nspawn.Machine(
    id="inner",
    name="backend-1",
    container="okinner",
    address=network.address(3),
    bridge=network.bridge,
    image=image.path().name,
    memory_mb=256,
    first_user=image.first_user(),
)
if sys.argv[1] == "create":
    print(nspawn.create(machine).limit)
if sys.argv[1] == "resize":
    print(nspawn.resize(nspawn.load("inner"), 320).memory_mb)
if sys.argv[1] == "running":
    print(nspawn.running(nspawn.load("inner")))
if sys.argv[1] == "delete":
    nspawn.delete("inner")
"""


@pytest.mark.machines
def test_where_systemd_runs_a_machine_is_a_unit_of_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine within a machine, since this host may not run systemd: the outer one plays the host
    that does."""
    plain = tmp_path / "plain"
    subprocess.run(["cp", "-a", str(image.path()), str(plain)], check=True)
    back = ["--private-users=identity", "--private-users-ownership=chown"]
    give = [
        "systemd-nspawn",
        "-q",
        "-D",
        str(plain),
        *back,
        "--register=no",
        "--keep-unit",
        "/bin/true",
    ]
    if image.first_user():
        subprocess.run(give, check=True, capture_output=True)
    more = [
        "--capability=all",
        "--bind-ro=/usr/bin/systemd-nspawn",
        f"--bind-ro={ROOT}:/kit",
        f"--bind={home.cache()}:/var/cache/origin-kit",
        "--tmpfs=/var/lib/origin-kit",
    ]
    command = nspawn._nspawn
    monkeypatch.setattr(nspawn, "_nspawn", lambda machine: [*command(machine), *more])
    outer = replace(world.wanted, first_user=0, memory_mb=1024)
    image.hold(outer.image, plain)
    outer = nspawn.create(outer)

    def inside(*words: str) -> str:
        enter = [
            "nsenter",
            "-t",
            str(outer.pid),
            "-a",
            "env",
            "-i",
            "-C",
            "/kit",
            PATH,
            "PYTHONDONTWRITEBYTECODE=1",
            *words,
        ]
        done = subprocess.run(enter, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    try:
        assert inside("python3", "-c", ON_A_HOST_WITH_SYSTEMD, "create") == "systemd"
        assert inside("python3", "-c", ON_A_HOST_WITH_SYSTEMD, "running") == "True"
        shown = inside(
            "systemctl", "show", "origin-kit-okinner", "-p", "ActiveState", "-p", "MemoryMax"
        )
        assert set(shown.split()) == {"ActiveState=active", f"MemoryMax={256 << 20}"}
        assert inside("python3", "-c", ON_A_HOST_WITH_SYSTEMD, "resize") == "320"
        shown = inside(
            "systemctl", "show", "origin-kit-okinner", "-p", "ActiveState", "-p", "MemoryMax"
        )
        assert set(shown.split()) == {"ActiveState=active", f"MemoryMax={320 << 20}"}
        inside("python3", "-c", ON_A_HOST_WITH_SYSTEMD, "delete")
        assert inside("systemctl", "list-units", "--all", "--no-legend", "origin-kit-*") == ""
        assert "machines/inner" not in inside("cat", "/proc/mounts")
    finally:
        nspawn.delete(outer.id)


@pytest.mark.machines
def test_root_in_a_machine_is_nobody_on_this_host(world: World) -> None:
    """Its init runs as an id that owns nothing here, and its files are that id's; inside it is root
    as ever."""
    world.machines.create(world.props)
    owner = Path(f"/proc/{world.machine.pid}").stat().st_uid
    assert (
        owner
        == (world.machine.root / "etc/ssh/ssh_host_ed25519_key").stat().st_uid
        == image.first_user()
    )
    assert world.ssh("sudo -n id -u").stdout.strip() == "0"
    unshare = subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False)
    assert bool(image.first_user()) == (unshare.returncode == 0)


@pytest.mark.machines
def test_memory_is_limited_or_said_not_to_be(world: World) -> None:
    """Where this host has memory groups the machine is in one with its limit; elsewhere the outputs
    say `nothing`."""
    made = world.machines.create(world.props)
    group = Path("/sys/fs/cgroup/memory", world.machine.unit, "memory.limit_in_bytes")
    if outs(made)["limit"] == "cgroup":
        assert int(group.read_text()) == 256 * 2**20
    else:
        assert outs(made)["limit"] in ("systemd", "nothing")


@pytest.mark.machines
def test_a_running_machine_gets_another_memory_limit(world: World) -> None:
    """It runs on, its files stay, the limit is the new one at once; less than it uses now is
    refused."""
    made = world.machines.create(world.props)
    init = world.machine.pid
    changed = world.machines.update(made.id, outs(made), {**world.props, "memory_mb": 384})
    assert (outs(changed)["memory_mb"], world.machine.memory_mb, world.machine.pid) == (
        384,
        384,
        init,
    )
    group = Path("/sys/fs/cgroup/memory", world.machine.unit, "memory.limit_in_bytes")
    if outs(changed)["limit"] == "cgroup":
        assert int(group.read_text()) == 384 * 2**20
        with pytest.raises(
            home.LocalCloudError,
            match=r"memory_mb: 1 is less than the \d+ MiB that its processes use",
        ):
            world.machines.update(made.id, outs(changed), {**world.props, "memory_mb": 1})
        assert int(group.read_text()) == 384 * 2**20
    assert nspawn.running(world.machine)


@pytest.mark.machines
def test_a_machine_without_a_state_is_reused_or_left(world: World) -> None:
    """The state was lost: the same machine comes back with its data, one of another address is
    never deleted for it."""
    world.machines.create(world.props)
    init = world.machine.pid
    again = world.machines.create({**world.props, "memory_mb": 320})
    assert (world.machine.pid, outs(again)["memory_mb"], world.machine.memory_mb) == (
        init,
        320,
        320,
    )
    with pytest.raises(
        home.LocalCloudError, match="is in no stack's state and has another container, address"
    ):
        world.machines.create({**world.props, "number": 65})
    assert nspawn.running(world.machine)


@pytest.mark.machines
def test_a_half_built_image_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed build left is not ready, and goes before the next one."""
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path))
    leftover = image.path().with_name(image.path().name + ".partial")
    (leftover / "etc").mkdir(parents=True)
    assert not image.ready()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(home.LocalCloudError, match="debootstrap is not installed"):
        image.ensure()
    assert not leftover.exists()


def test_a_host_full_of_machines_says_what_to_raise() -> None:
    """What systemd says on the console then is of no help."""
    said = boot.cause("Failed to allocate manager object: Too many open files\nExiting PID 1...")
    assert "sysctl -w fs.inotify.max_user_instances=1024" in said
    network = boot.cause(
        "See 'systemctl status systemd-networkd.service' for details.\n[  OK  ] Reached target"
        " Network."
    )
    assert "sysctl -w fs.inotify.max_user_instances=1024" in network
    assert "Kernel panic" in boot.cause("Kernel panic")


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Where a machine may answer, and nobody does yet; half a second without a sign of life is too
    long."""
    monkeypatch.setattr(boot, "BOOT_S", 0.5)
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
    monkeypatch.setattr(boot, "SSH_PORT", number)
    return number


@contextmanager
def booting(script: str) -> Iterator[nspawn.Machine]:
    """A machine whose init is this Python script."""
    with subprocess.Popen([sys.executable, "-c", script]) as init:
        machine = nspawn.Machine(
            id="m",
            name="backend-1",
            container="",
            address="127.0.0.1",
            bridge="",
            image="",
            memory_mb=1,
            pid=init.pid,
            started=start_time(init.pid),
        )
        try:
            yield machine
        finally:
            init.kill()


def test_a_machine_that_goes_on_booting_is_waited_for(port: int) -> None:
    """On a host that is busy with other things a boot takes long, and what it has worked grows all
    the time."""

    def answer() -> None:
        time.sleep(2)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.accept()[0].sendall(b"SSH-2.0-x\r\n")

    thread = threading.Thread(target=answer)
    with booting("while True: pass") as machine:
        thread.start()
        boot.await_ssh(machine)
    thread.join()


def test_a_machine_that_stands_still_is_given_up(port: int) -> None:
    with (
        booting("import time; time.sleep(60)") as machine,
        pytest.raises(
            home.LocalCloudError, match=r"nothing has happened in it for 0\.5 s; its console"
        ),
    ):
        boot.await_ssh(machine)


def test_a_machine_that_works_without_end_is_given_up(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "LONGEST_BOOT_S", 1.5)
    with (
        booting("while True: pass") as machine,
        pytest.raises(
            home.LocalCloudError, match=r"did not come up: it is still booting after 1\.5 s"
        ),
    ):
        boot.await_ssh(machine)


def test_a_machine_that_has_ended_says_so(port: int) -> None:
    with (
        booting("") as machine,
        pytest.raises(home.LocalCloudError, match="did not come up: it has ended"),
    ):
        boot.await_ssh(machine)
