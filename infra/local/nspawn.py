"""Networks and machines on this host: bridges, overlay mounts, systemd-nspawn.

Effects only; what should exist is decided in `machines.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from infra.core.home import (
    LocalCloudError,
    claim,
    home,
    identity,
    locked,
    make_key,
    operator_key,
    private,
)
from infra.local import image

RANGE = IPv4Network("10.213.0.0/16")
BOOT_S = 30  # a machine that does nothing for this long does not come up
LONGEST_BOOT_S = 300
SSH_PORT = 22
STOP_S = 15
_FIRST_HOST = 10  # .1 is this host; the rest below is left for people
_SPARE = {"arriving": 250, "leaving": 251}  # of a host that is being replaced, one at a time
_SIGNATURE = "origin-kit "
_FIXED = ("id", "name", "container", "address", "bridge", "image", "first_user")
_NETWORK_LOCK = Path("/run/origin-kit-network.lock")  # where only root may write


# ----------------------------------------------------------------------------------------- networks


@dataclass(frozen=True)
class Network:
    """A bridge on this host and its /24; the host itself is `.1` in it."""

    bridge: str
    subnet: str

    @property
    def host_address(self) -> str:
        """This host's address in the subnet."""
        return str(IPv4Network(self.subnet)[1])

    def address(self, number: int) -> str:
        """The address of the machine with this number, from 0."""
        return str(IPv4Network(self.subnet)[_FIRST_HOST + number])

    def spare(self, standing: str) -> str:
        """The address of a machine that stands beside the one that serves: it is `arriving` or
        `leaving`."""
        return str(IPv4Network(self.subnet)[_SPARE[standing]])


def taken() -> list[IPv4Network]:
    """Every IPv4 network that this host has an address in or a route to, the default route left
    out."""
    found = [
        f"{address['local']}/{address['prefixlen']}"
        for link in _ip_json("-4", "addr")
        for address in link.get("addr_info", ())
        if "local" in address
    ]
    found += [
        route["dst"]
        for route in _ip_json("-4", "route", "show", "table", "all")
        if route["dst"] != "default"
    ]
    return [IPv4Network(text, strict=False) for text in found]


def free_subnet(identity: str, occupied: Iterable[IPv4Network]) -> str:
    """A /24 of the range that overlaps nothing in `occupied`; the same one for the same identity
    where it can be.

    Raises LocalCloudError where all are taken.
    """
    everything, occupied = list(RANGE.subnets(new_prefix=24)), list(occupied)
    start = int(sha256(identity.encode()).hexdigest(), 16) % len(everything)
    for subnet in everything[start:] + everything[:start]:
        if not any(subnet.overlaps(other) for other in occupied):
            return str(subnet)
    raise LocalCloudError(
        f"every /24 of {RANGE} overlaps a network of this host; set `subnet` in the stack's config"
    )


def create_network(bridge: str, wanted: str) -> Network:
    """The bridge, up, with its address; one that exists already keeps its subnet. `wanted` empty
    picks a free one.

    Raises LocalCloudError where it is another home's, or `wanted` is taken.
    """
    with locked(_NETWORK_LOCK):
        existing = [
            link
            for link in _ip_json("-4", "addr", "show", "dev", bridge, allow=True)
            if link.get("addr_info")
        ]
        if existing:
            _refuse_other_home(bridge)
            _sign(bridge)
            info = existing[0]["addr_info"][0]
            return Network(
                bridge, str(IPv4Network(f"{info['local']}/{info['prefixlen']}", strict=False))
            )
        if wanted and any(IPv4Network(wanted).overlaps(other) for other in taken()):
            raise LocalCloudError(
                f"subnet {wanted} overlaps a network of this host; set another one in the stack's"
                " config"
            )
        network = Network(bridge, wanted or free_subnet(bridge, taken()))
        delete_network(bridge)
        _ip("link", "add", bridge, "type", "bridge")
        _sign(bridge)
        _ip("addr", "add", f"{network.host_address}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        return network


def _sign(bridge: str) -> None:
    """Names come from the home's path: after a move, another home at that path would find this
    bridge."""
    _ip("link", "set", bridge, "alias", f"{_SIGNATURE}{identity()} {home()}"[:255])


def _signed_by(bridge: str) -> tuple[str, str]:
    """Id and path of the home that made it; empty where nobody has signed it, as older versions did
    not."""
    try:
        alias = Path("/sys/class/net", bridge, "ifalias").read_text().strip()
    except OSError:
        return "", ""
    who, _, where = alias.removeprefix(_SIGNATURE).partition(" ")
    return (who, where) if alias.startswith(_SIGNATURE) else ("", "")


def _is_another_home_s(bridge: str) -> bool:
    return _signed_by(bridge)[0] not in ("", identity())


def _refuse_other_home(bridge: str) -> None:
    if _is_another_home_s(bridge):
        raise LocalCloudError(
            f"the bridge {bridge} belongs to another home of the kit, made at"
            f" {_signed_by(bridge)[1]} and moved or deleted: set another ORIGIN_KIT_HOME; where"
            f" that home is gone, run `ip link delete {bridge}`"
        )


def network_is_up(bridge: str) -> bool:
    """Whether the bridge is there, and this home's."""
    return Path("/sys/class/net", bridge).exists() and not _is_another_home_s(bridge)


def keep_network(bridge: str) -> bool:
    """Whether a bridge of this home's state is there; it is signed where an older version did
    not."""
    up = network_is_up(bridge)
    if up and not _signed_by(bridge)[0]:
        _sign(bridge)
    return up


def delete_network(bridge: str) -> None:
    """Remove the bridge; none is fine, and another home's stays."""
    if network_is_up(bridge):
        _ip("link", "delete", bridge)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalCloudError(
            f"`ip {' '.join(words)}` failed: {done.stderr.strip()}; it needs root and NET_ADMIN"
        )


def _ip_json(*words: str, allow: bool = False) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-j", *words], capture_output=True, text=True, check=False)
    if done.returncode and not allow:
        raise LocalCloudError(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}")
    return list(json.loads(done.stdout or "[]")) if done.stdout.strip() else []


# ----------------------------------------------------------------------------------------- machines


@dataclass(frozen=True)
class Machine:
    """A machine as its folder's machine.json records it.

    `pid` and `started` (clock ticks since boot) name its init: nspawn may die and the machine live
    on. `complete` says that it once was up, `limit` what holds it to `memory_mb`: systemd, cgroup
    or nothing. Its root is user `first_user` here.
    """

    id: str
    name: str
    container: str
    address: str
    bridge: str
    image: str
    memory_mb: int
    first_user: int = 0
    host_key: str = ""
    pid: int = 0
    started: str = ""
    ssh_after_s: float = 0.0
    limit: str = ""
    complete: bool = False

    @property
    def folder(self) -> Path:
        """Where all of it is."""
        return home() / "machines" / self.id

    @property
    def root(self) -> Path:
        """Its root file system, while it is mounted."""
        return self.folder / "root"

    @property
    def unit(self) -> str:
        """Its systemd unit, where this host runs systemd."""
        return f"origin-kit-{self.container}"

    def same_as(self, other: Machine) -> bool:
        """Whether nothing but what a start or `resize` changes is different."""
        return not self.differences(other)

    def differences(self, other: Machine) -> list[str]:
        """What can't be changed once a machine is there. It stays on its base: an image of the same
        release counts as the same one."""
        mine, theirs = (
            {**asdict(one), "image": image.release_of(one.image)} for one in (self, other)
        )
        return [key for key in _FIXED if mine[key] != theirs[key]]


def load(identity: str) -> Machine | None:
    """The machine of this id, or None where there is none, or only the rest of one."""
    try:
        return Machine(**json.loads((home() / "machines" / identity / "machine.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def machines() -> list[Machine]:
    """Every machine of this home, whatever stack it is of."""
    found = [load(folder.name) for folder in sorted((home() / "machines").glob("*"))]
    return [machine for machine in found if machine is not None]


def _save(machine: Machine) -> Machine:
    new = machine.folder / "machine.json.new"
    new.write_text(json.dumps(asdict(machine), indent=1))
    new.rename(machine.folder / "machine.json")
    return machine


def create(machine: Machine) -> Machine:
    """Make it and wait until it answers SSH. A failure or an interruption leaves nothing behind.

    Raises LocalCloudError where one that is in no state is there already, made differently: it may
    hold data.
    """
    claim()
    found = load(machine.id)
    if found and found.complete:
        if found.same_as(machine):
            return start(resize(found, machine.memory_mb))
        raise LocalCloudError(
            f"{machine.folder} holds a machine that is in no stack's state and has another"
            f" {', '.join(found.differences(machine))}; it was left as it is. Save its data (the"
            " folder upper in there) and remove it by `fab down`"
        )
    delete(machine.id)
    try:
        private(machine.folder)
        _save(machine)
        _mount(machine)
        return _save(replace(_start(_furnish(machine)), complete=True))
    except BaseException:
        delete(machine.id)
        raise


def start(machine: Machine) -> Machine:
    """Bring a stopped machine up again, with its data and on the base that it was made on; one that
    runs is left alone. One whose base was deleted under it is dead, though its processes live: it
    is stopped first."""
    if running(machine) and stands(machine):
        return machine
    stop(machine, orderly=False)
    _mount(machine)
    return _start(machine)


def resize(machine: Machine, memory_mb: int) -> Machine:
    """Give it another memory limit: at once where it runs, with the next start where it does not.

    Raises LocalCloudError where its processes need more than that now: the kernel would kill some
    of them.
    """
    if memory_mb == machine.memory_mb:
        return machine
    wanted = replace(machine, memory_mb=memory_mb)
    if running(machine):
        needed = max([_in_use_mb(group) for group in _groups_of_a_running(machine)], default=0)
        if memory_mb < needed:
            raise LocalCloudError(
                f"{machine.name}: memory_mb: {memory_mb} is less than the {needed} MiB that its"
                " processes use now; stop some of them, or set it higher"
            )
        if machine.limit == "systemd":
            _resize_unit(wanted)
        else:
            for group in _groups_of_a_running(machine):
                _limit(group, memory_mb)
    return _save(wanted)


def readdress(machine: Machine, address: str) -> Machine:
    """Give it another address, for its next start: one that runs is shut down."""
    if address == machine.address:
        return machine
    stop(machine)
    _mount(machine)
    moved = replace(machine, address=address)
    for path, text in _network_files(moved).items():
        _write_inside(machine.root, path, text, machine.first_user)
    _forget_neighbour(machine.bridge, address)
    return _save(moved)


def _write_inside(root: Path, path: str, text: str, owner: int) -> None:
    """Put a file into a machine that has run: its root may have put a link anywhere, and none is
    followed."""
    *folders, name = path.split("/")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        new = f".{name}.origin-kit"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=here)
        descriptor = os.open(
            new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=here
        )
        with os.fdopen(descriptor, "w") as handle:
            os.fchown(descriptor, owner, owner)
            os.fchmod(descriptor, 0o644)
            handle.write(text)
            handle.flush()
            os.fsync(descriptor)
        os.rename(new, name, src_dir_fd=here, dst_dir_fd=here)
    except OSError as problem:
        raise LocalCloudError(
            f"{root}/{path}: {problem.strerror}; its address can't be changed"
        ) from problem
    finally:
        os.close(here)


def _forget_neighbour(bridge: str, address: str) -> None:
    """This host may still know another machine under that address."""
    subprocess.run(["ip", "neigh", "del", address, "dev", bridge], capture_output=True, check=False)


def _resize_unit(machine: Machine) -> None:
    command = [
        "systemctl",
        "set-property",
        "--runtime",
        machine.unit,
        f"MemoryMax={machine.memory_mb}M",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalCloudError(
            f"{machine.name}: `{' '.join(command)}` failed: {done.stderr.strip()}"
        )


def stands(machine: Machine) -> bool:
    """Whether a running machine still sees the files of its base."""
    try:
        return any(
            path.name == "env" for path in Path(f"/proc/{machine.pid}/root/usr/bin").iterdir()
        )
    except OSError:
        return False


def _mount(machine: Machine) -> None:
    base = image.base(machine.image)
    unmount(machine.root)  # what a killed run, or a base that is gone, has left
    mount_overlay(machine.folder, base, machine.first_user, machine.name)


def mount_overlay(folder: Path, base: Path, owner: int, name: str) -> None:
    """Mount `folder`/root: what is written there goes to `folder`/upper, and `base` stays as it is.

    Raises LocalCloudError where the kernel refuses.
    """
    for part in ("upper", "work", "root"):
        (folder / part).mkdir(exist_ok=True)
    os.chown(folder / "upper", owner, owner)
    layers = f"lowerdir={base},upperdir={folder}/upper,workdir={folder}/work"
    done = subprocess.run(
        ["mount", "-t", "overlay", f"origin-kit-{folder.name}", "-o", layers, str(folder / "root")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LocalCloudError(
            f"{name}: the overlay can't be mounted ({done.stderr.strip()}); it needs root, and a"
            " home on a plain disk: set ORIGIN_KIT_HOME to a folder that is not itself on an"
            " overlay"
        )


def _furnish(machine: Machine) -> Machine:
    """What makes it this machine: name, address, host key, who may log in."""
    root = machine.root
    (root / "etc/hostname").write_text(machine.name + "\n")
    for place, text in _network_files(machine).items():
        (root / place).write_text(text)
    key = root / "etc/ssh/ssh_host_ed25519_key"
    make_key(key, machine.name)
    authorized = root / "home/deploy/.ssh/authorized_keys"
    authorized.write_text(operator_key().with_suffix(".pub").read_text())
    authorized.chmod(0o600)
    mine = [
        root / "etc/hostname",
        *(root / place for place in _network_files(machine)),
        key,
        key.with_suffix(".pub"),
    ]
    for path, user in [*((path, 0) for path in mine), (authorized, 1000)]:
        os.chown(path, machine.first_user + user, machine.first_user + user)
    return replace(machine, host_key=" ".join(key.with_suffix(".pub").read_text().split()[:2]))


def _network_files(machine: Machine) -> dict[str, str]:
    """What says its address, by path."""
    unit = (
        f"[Match]\nName=host0\n\n[Network]\nAddress={machine.address}/24\nLinkLocalAddressing=no\n"
    )
    return {
        "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{machine.address} {machine.name}\n",
        "etc/systemd/network/10-host0.network": unit,
    }


def _start(machine: Machine) -> Machine:
    if not network_is_up(machine.bridge):
        raise LocalCloudError(
            f"{machine.name}: its network {machine.bridge} is gone; run `fab up` again"
        )
    _remove_link(machine)
    began = time.monotonic()
    supervisor, limit = _launch(machine)
    pid = _init_of(machine, supervisor)
    machine = _save(replace(machine, pid=pid, started=_start_time(pid), limit=limit))
    _await_ssh(machine)
    return _save(replace(machine, ssh_after_s=round(time.monotonic() - began, 2)))


def _nspawn(machine: Machine) -> list[str]:
    users = [f"--private-users={machine.first_user}:65536", "--private-users-ownership=off"]
    return [
        "systemd-nspawn",
        "-q",
        "-D",
        str(machine.root),
        "--boot",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        f"--network-bridge={machine.bridge}",
        f"--machine={machine.container}",
        "--resolv-conf=off",
        "--timezone=off",
        *(users if machine.first_user else []),
    ]


def _launch(machine: Machine) -> tuple[int, str]:
    """Start it so that it outlives this process; its pid, and what limits its memory."""
    if Path("/run/systemd/system").is_dir():
        return _launch_as_unit(machine), "systemd"
    groups = _groups(machine)
    limited = [group for group in groups if _limit(group, machine.memory_mb)]
    # The shell enters the groups and becomes nspawn, so that everything in the machine counts.
    script = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'
    with (machine.folder / "console.log").open("ab") as console:
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", *map(str, groups), "--", *_nspawn(machine)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            cwd="/",
        )
    return process.pid, "cgroup" if limited else "nothing"


def _init_of(machine: Machine, supervisor: int) -> int:
    """The machine's process 1, as this host numbers it: nspawn's child that is number 1 in a
    namespace of its own."""
    found: list[int] = []

    def look() -> bool:
        found.extend(pid for pid in _children(supervisor) if _is_init(pid))
        return bool(found) or not _start_time(supervisor)

    _wait(look, BOOT_S)
    if not found:
        raise LocalCloudError(
            f"{machine.name}: systemd-nspawn ended at once; it said: {_console(machine)}"
        )
    return found[0]


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_init(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next(
        (line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), []
    )
    return len(numbers) > 1 and numbers[-1] == "1"


def _launch_as_unit(machine: Machine) -> int:
    subprocess.run(["systemctl", "reset-failed", machine.unit], capture_output=True, check=False)
    properties = [
        f"MemoryMax={machine.memory_mb}M",
        "KillMode=mixed",
        "Delegate=yes",
        "TasksMax=infinity",
    ]
    command = [
        "systemd-run",
        "--quiet",
        f"--unit={machine.unit}",
        *(f"--property={text}" for text in properties),
    ]
    done = subprocess.run(
        [*command, *_nspawn(machine)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LocalCloudError(
            f"{machine.name}: systemd-run failed: {done.stderr.strip()}; see `journalctl -u"
            f" {machine.unit}`"
        )
    shown = subprocess.run(
        ["systemctl", "show", "-p", "MainPID", "--value", machine.unit],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(shown.stdout)


# Memory (version 1), what systemd in the machine manages (version 1, hybrid), and the only one of
# version 2. A group of its own in each: nspawn gives it to the machine's root, who could not make
# one in the host's.
_HIERARCHIES = ("memory", "systemd", "unified", ".")


def _groups(machine: Machine) -> list[Path]:
    """The machine's control groups, made where this host has such a hierarchy to write to."""
    found = []
    for hierarchy in _HIERARCHIES:
        base = Path("/sys/fs/cgroup") / hierarchy
        if (base / "cgroup.procs").exists():
            with contextlib.suppress(OSError):
                (base / machine.unit).mkdir(exist_ok=True)
                found.append(base / machine.unit)
    return found


def _groups_of_a_running(machine: Machine) -> list[Path]:
    """The control groups that a machine was started in."""
    name = machine.unit
    if machine.limit == "systemd":
        shown = subprocess.run(
            ["systemctl", "show", "-p", "ControlGroup", "--value", machine.unit],
            capture_output=True,
            text=True,
            check=True,
        )
        name = shown.stdout.strip().lstrip("/")
    groups = [Path("/sys/fs/cgroup") / hierarchy / name for hierarchy in _HIERARCHIES]
    return [group for group in groups if group.is_dir()]


def _limit(group: Path, memory_mb: int) -> bool:
    """Hold a group to its memory; False where it counts no memory."""
    for name in ("memory.limit_in_bytes", "memory.max"):
        if (group / name).exists():
            try:
                (group / name).write_text(str(memory_mb * 2**20))
            except OSError as problem:
                raise LocalCloudError(
                    f"{group / name}: the kernel refuses {memory_mb} MiB ({problem.strerror}); set"
                    " memory_mb higher"
                ) from None
            return True
    return False


def _in_use_mb(group: Path) -> int:
    """MiB that the processes of a group can't give back; the page cache doesn't count. 0 where
    memory isn't counted."""
    try:
        words = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return 0
    return int(words.get("total_rss") or words.get("anon") or 0) // 2**20


def _await_ssh(machine: Machine) -> None:
    """Return when its SSH server greets. Raises LocalCloudError with the console's last words where
    it never does.

    What a boot takes depends on what else this host is doing: as long as the machine gets on, it is
    waited for.
    """
    latest, end, worked = time.monotonic() + LONGEST_BOOT_S, 0.0, -1
    while not _greets(machine):
        now, working = time.monotonic(), _work(machine)
        if working != worked:
            worked, end = working, now + BOOT_S
        if not running(machine):
            raise _no_boot(machine, "it has ended")
        if now > end:
            raise _no_boot(machine, f"nothing has happened in it for {BOOT_S} s")
        if now > latest:
            raise _no_boot(machine, f"it is still at it after {LONGEST_BOOT_S} s")
        time.sleep(0.02)


def _greets(machine: Machine) -> bool:
    """Whether an SSH server answers there."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((machine.address, SSH_PORT), timeout=1) as connection,
    ):
        connection.settimeout(1)
        return connection.recv(4) == b"SSH-"
    return False


def _work(machine: Machine) -> int:
    """Processor time, in clock ticks, of its init and of all that init has started and seen end."""
    try:
        fields = Path(f"/proc/{machine.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime


def _no_boot(machine: Machine, why: str) -> LocalCloudError:
    return LocalCloudError(f"{machine.name} did not come up: {why}; {_cause(_console(machine))}")


def _cause(console: str) -> str:
    """What the console's last words mean, where they are known, and the words themselves."""
    # Each machine's systemd holds a few of these, and the kernel counts all machines together. It
    # is named only where init itself finds none left; where the network finds none, it just fails.
    raises = "`sysctl -w fs.inotify.max_user_instances=1024` raises it, then try again"
    if "Too many open files" in console:
        return f"this host's limit is reached: {raises}"
    if "systemd-networkd.service' for details" in console:
        return (
            "its network failed; with many machines, this host's limit is the usual cause:"
            f" {raises}; {console}"
        )
    return f"its console says: {console}"


def _console(machine: Machine) -> str:
    try:
        said = (machine.folder / "console.log").read_text(errors="replace").strip()
    except OSError:
        said = ""
    return said[-300:] or "nothing"


def running(machine: Machine) -> bool:
    """Whether its own process lives; another process that got the same pid later does not count."""
    return bool(machine.pid) and _start_time(machine.pid) == machine.started != ""


def _start_time(pid: int) -> str:
    """Field 22 of /proc/pid/stat; empty for a process that is gone, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def stop(machine: Machine, orderly: bool = True) -> None:
    """Shut it down; by force where it takes longer than 15 s, or at once where nothing in it is
    wanted any more."""
    if running(machine):
        os.kill(
            machine.pid, signal.SIGRTMIN + 4 if orderly else signal.SIGKILL
        )  # systemd(1): power off
        if not _wait(lambda: not running(machine), STOP_S):
            os.kill(machine.pid, signal.SIGKILL)
            _wait(lambda: not running(machine), STOP_S)


def delete(identity: str) -> None:
    """Remove a machine, or what is left of one; none is fine."""
    folder = home() / "machines" / identity
    machine, root = load(identity), folder / "root"
    if machine:
        stop(machine, orderly=False)
    kill_strays(root)
    if machine:
        if Path("/run/systemd/system").is_dir():
            subprocess.run(
                ["systemctl", "reset-failed", machine.unit], capture_output=True, check=False
            )
        for hierarchy in _HIERARCHIES:
            _remove_groups(Path("/sys/fs/cgroup") / hierarchy / machine.unit)
        _remove_link(machine)
    unmount(root)
    if folder.exists():
        shutil.rmtree(folder)
    image.drop_outdated(found.image for found in machines())


def kill_strays(root: Path) -> None:
    """A run that was killed between the start and the note of it left a machine that nobody has
    written down."""
    needle = b"\0-D\0" + bytes(root) + b"\0"
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if needle in (folder / "cmdline").read_bytes():
                end(int(folder.name))


def end(supervisor: int) -> None:
    """Kill what a running nspawn has started, then itself, and wait until all of it is gone."""
    for pid in [*filter(_is_init, _children(supervisor)), supervisor]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _wait(lambda pid=pid: not _start_time(pid), STOP_S)  # type: ignore[misc]


def unmount(root: Path) -> None:
    """Raises LocalCloudError where something still uses it."""
    if root.is_mount() and not _wait(lambda: _unmounted(root), STOP_S):
        raise LocalCloudError(
            f"{root} can't be unmounted: something still uses it (`fuser -vm {root}`); then run it"
            " again"
        )


def _unmounted(root: Path) -> bool:
    return subprocess.run(["umount", str(root)], capture_output=True, check=False).returncode == 0


def _remove_groups(group: Path) -> None:
    if group.is_dir():
        for inner in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            _wait(lambda inner=inner: _rmdir(inner), STOP_S)  # type: ignore[misc]
        _wait(lambda: _rmdir(group), STOP_S)


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()
    return True


def _remove_link(machine: Machine) -> None:
    """The host's end of its network cable goes with its namespace, a moment later."""
    link = Path("/sys/class/net", f"vb-{machine.container}")
    if not _wait(lambda: not link.exists(), 5):
        subprocess.run(["ip", "link", "delete", link.name], capture_output=True, check=False)


def _wait(question: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not question():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


__all__ = ["LocalCloudError", "Machine", "Network", "image"]
