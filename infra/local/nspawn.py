"""Machines on this host: create, start, resize, move, stop and delete them under systemd-nspawn.

Effects only; what should exist is decided in `machines.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from infra.core.home import LocalCloudError, claim, home, make_key, operator_key, private
from infra.core.processes import start_time
from infra.local import boot, cgroups, image, networks
from infra.local.boot import running
from infra.local.mounts import mount_overlay, unmount
from infra.local.processes import STOP_S, inits_of, kill_strays, wait_until
from infra.local.records import Machine, load, machines, save

__all__ = [
    "LocalCloudError",
    "Machine",
    "create",
    "delete",
    "load",
    "machines",
    "readdress",
    "resize",
    "running",
    "stands",
    "start",
    "stop",
]


def create(machine: Machine) -> Machine:
    """Make it and wait until it answers SSH. A failure or an interruption leaves nothing behind.

    Raises LocalCloudError where one that is in no state is there already, made differently: it may
    hold data.
    """
    claim()
    existing = load(machine.id)
    if existing and existing.complete:
        if existing.same_as(machine):
            return start(resize(existing, machine.memory_mb))
        raise LocalCloudError(
            f"{machine.folder} holds a machine that is in no stack's state and has another"
            f" {', '.join(existing.differences(machine))}; it was left as it is. Save its data (the"
            " folder upper in there) and remove it by `fab down`"
        )
    delete(machine.id)
    try:
        private(machine.folder)
        save(machine)
        _mount(machine)
        return save(replace(_start(_furnish(machine)), complete=True))
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
        groups = _groups_of_a_running(machine)
        needed = max([cgroups.in_use_mb(group) for group in groups], default=0)
        if memory_mb < needed:
            raise LocalCloudError(
                f"memory_mb: {memory_mb} is less than the {needed} MiB that its processes use now",
                where=machine.name,
                cure="stop some of them, or set it higher",
            )
        if machine.limit == "systemd":
            _resize_unit(wanted)
        else:
            for group in groups:
                cgroups.limit(group, memory_mb)
    return save(wanted)


def readdress(machine: Machine, address: str) -> Machine:
    """Give it another address, for its next start: one that runs is shut down."""
    if address == machine.address:
        return machine
    stop(machine)
    _mount(machine)
    moved = replace(machine, address=address)
    for path, text in _network_files(moved).items():
        _write_inside(machine.root, path, text, machine.first_user)
    networks.forget_neighbour(machine.bridge, address)
    return save(moved)


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


def _resize_unit(machine: Machine) -> None:
    limit = f"MemoryMax={machine.memory_mb}M"
    command = ["systemctl", "set-property", "--runtime", machine.unit, limit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalCloudError(
            f"`{' '.join(command)}` failed: {done.stderr.strip()}", where=machine.name
        )


def stands(machine: Machine) -> bool:
    """Whether a running machine still sees the files of its base."""
    try:
        programs = Path(f"/proc/{machine.pid}/root/usr/bin")
        names = [path.name for path in programs.iterdir()]
    except OSError:
        return False
    return "env" in names


def _mount(machine: Machine) -> None:
    base = image.base(machine.image)
    unmount(machine.root)  # what a killed run, or a base that is gone, has left
    mount_overlay(machine.folder, base, machine.first_user, machine.name)


def _furnish(machine: Machine) -> Machine:
    """Write what makes it this machine: name, address, host key, who may log in."""
    root = machine.root
    owned_by_root = []
    for place, text in {"etc/hostname": f"{machine.name}\n", **_network_files(machine)}.items():
        (root / place).write_text(text)
        owned_by_root.append(root / place)
    key = root / "etc/ssh/ssh_host_ed25519_key"
    make_key(key, machine.name)
    authorized = root / "home/deploy/.ssh/authorized_keys"
    authorized.write_text(operator_key().with_suffix(".pub").read_text())
    authorized.chmod(0o600)
    for path in [*owned_by_root, key, key.with_suffix(".pub")]:
        os.chown(path, machine.first_user, machine.first_user)
    deploy = machine.first_user + 1000
    os.chown(authorized, deploy, deploy)
    kind, public = key.with_suffix(".pub").read_text().split()[:2]
    return replace(machine, host_key=f"{kind} {public}")


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
    if not networks.network_is_up(machine.bridge):
        raise LocalCloudError(
            f"its network {machine.bridge} is gone",
            where=machine.name,
            cure="run `fab up` again",
        )
    networks.remove_cable(machine.container)
    began = time.monotonic()
    supervisor, limit = _launch(machine)
    pid = _init_of(machine, supervisor)
    machine = save(
        replace(
            machine,
            pid=pid,
            started=start_time(pid),
            limit=limit,
        )
    )
    boot.await_ssh(machine)
    return save(replace(machine, ssh_after_s=round(time.monotonic() - began, 2)))


def _nspawn(machine: Machine) -> list[str]:
    users: list[str] = []
    if machine.first_user:
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
        *users,
    ]


def _launch(machine: Machine) -> tuple[int, str]:
    """Start it so that it outlives this process; its pid, and what limits its memory."""
    if Path("/run/systemd/system").is_dir():
        return _launch_as_unit(machine), "systemd"
    groups = cgroups.make(machine.unit)
    limited = [group for group in groups if cgroups.limit(group, machine.memory_mb)]
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
    inits: list[int] = []

    def is_decided() -> bool:
        inits.extend(inits_of(supervisor))
        return bool(inits) or not start_time(supervisor)

    wait_until(is_decided, boot.BOOT_S)
    if not inits:
        raise LocalCloudError(
            f"systemd-nspawn ended at once; it said: {boot.console(machine)}", where=machine.name
        )
    return inits[0]


def _launch_as_unit(machine: Machine) -> int:
    subprocess.run(
        ["systemctl", "reset-failed", machine.unit],
        capture_output=True,
        check=False,
    )
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
        [*command, *_nspawn(machine)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LocalCloudError(
            f"systemd-run failed: {done.stderr.strip()}",
            where=machine.name,
            cure=f"see `journalctl -u {machine.unit}`",
        )
    shown = subprocess.run(
        ["systemctl", "show", "-p", "MainPID", "--value", machine.unit],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(shown.stdout)


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
    return cgroups.existing(name)


def stop(machine: Machine, orderly: bool = True) -> None:
    """Shut it down; by force where it takes longer than 15 s, or at once where nothing in it is
    needed any more."""
    if not running(machine):
        return
    power_off = signal.SIGRTMIN + 4  # systemd(1)
    os.kill(machine.pid, power_off if orderly else signal.SIGKILL)
    if not wait_until(lambda: not running(machine), STOP_S):
        os.kill(machine.pid, signal.SIGKILL)
        wait_until(lambda: not running(machine), STOP_S)


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
                ["systemctl", "reset-failed", machine.unit],
                capture_output=True,
                check=False,
            )
        cgroups.remove(machine.unit)
        networks.remove_cable(machine.container)
    unmount(root)
    if folder.exists():
        shutil.rmtree(folder)
    image.drop_outdated(other.image for other in machines())
