"""Empty this host: nothing of the application is left, and the machine goes on for the next one.

A preview's slot keeps its machines when a branch leaves it. The code of that branch could write
wherever its user may, so what is removed is not what the kit has put here alone:

    stop        the kit's units, and every process of the application's user, wherever it runs
    belongings  what that user owns on any file system of this host, and links to the kit's files
    kit         releases, data, configuration, secrets, backups, records
    logs        of nginx, of the journal, of crashes
    user        it is renamed and stays: no later user has its number, and so nothing that is known
                by that alone (a keyring of the kernel)

What stays is the slot's: certificates and ACME accounts, who may log in, packages. Each part may be
done twice: one that was cut short is begun again. The answer comes after a look that finds nothing.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host import audit, claims, guard, handover, places
from on_host.acme import paths as acme
from on_host.configuration.state import records
from on_host.disk import trouble
from on_host.logfiles import NGINX
from on_host.moves import must_run, remove_file
from on_host.runtime import Failed, run, step, wait_for
from on_host.services import HTTPS_SOCKET, activity
from on_host.work import print_answer, under_the_lock

if TYPE_CHECKING:
    from on_host.answers import DoneAnswer

NGINX_UNITS = ("nginx.service", "nginx.socket", HTTPS_SOCKET)
LEFT = "origin-kit-left-"  # and a number: the user of an application that was here
MOST_LEFT = 200  # of about 900 numbers that system users may have
TURNS = 3  # a look that finds something is followed by another one
ENDS_S = 30.0
# File systems on which no user keeps anything: the kernel's own, and those of other machines.
NOT_SEARCHED = (
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "nsfs",
    "proc",
    "pstore",
    "securityfs",
    "sysfs",
    "tracefs",
)
# Of who runs this host as a container, and closed to its root as well: systemd's documentation of
# that (CONTAINER_INTERFACE).
CONTAINERS = places.ROOT / "run/host"
ELSEWHERE = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "virtiofs")
# Folders that stay, without a file: logs, bodies of requests, crashes, ACME's challenges.
FOLDERS = (
    NGINX,
    audit.AUDIT.parent,
    places.ROOT / "var/lib/nginx",
    places.ROOT / "var/lib/systemd/coredump",
    places.ROOT / "var/crash",
    acme.WEBROOT,
)
SYSLOGS = ("syslog*", "messages*", "user.log*", "daemon.log*")  # where rsyslog is installed
# What /proc/sysvipc lists → the column with its number, and ipcrm's option.
IPC = {"shm": ("shmid", "-m"), "msg": ("msqid", "-q"), "sem": ("semid", "-s")}


def empty() -> DoneAnswer:
    """Empty the host. Raises Failed where anything is left, or is not the kit's."""
    app = places.app()
    conflicts = claims.conflicts(app)
    if conflicts:
        raise Failed(
            f"this host has things named {app} that the kit did not make: {'; '.join(conflicts)};"
            " nothing was removed"
        )
    user = claims.user_of(app)
    step("stop", f"ends {app} and all that its user runs")
    stop(app)
    if user:
        end_all(user)
    step("belongings", "removes what its user and the kit have left anywhere")
    forget_the_journal()
    remove_belongings(user)
    step("kit", "removes releases, data, secrets and configuration")
    remove_kit(app)
    step("logs", "removes the logs")
    remove_logs(app)
    step("user", "retires its user")
    retire(app)
    remove(str(claims.MARKS))
    step("look", "looks whether anything is left")
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed")
    refuse_rest(app, user)
    os.sync()
    audit.write("emptied", app, "preview")
    return {}


# ------------------------------------------------------------------------------------- what runs


def stop(app: str) -> None:
    """Stop the kit's units at once: no request is left that could be waited for. Raises Failed."""
    units = units_of(app)
    run("systemctl", "stop", "--no-block", *units)
    run("systemctl", "kill", "--signal=KILL", *units)
    for unit in units:
        run("systemctl", "stop", unit)
    running = [unit for unit in units if activity(unit) not in ("inactive", "failed")]
    if running:
        raise Failed(f"{running[0]} does not stop")


def units_of(app: str) -> list[str]:
    """What the kit runs here: units that a generation names, and those of every host."""
    found = dict.fromkeys((*claims.units_of(app), f"origin-kit-code-{app}.service", *NGINX_UNITS))
    for record in records().values():
        for units in record["units"].values():
            found.update(dict.fromkeys(units))
    return list(found)


def end_all(user: pwd.struct_passwd) -> None:
    """End every process of a user, also one that has left its unit, and what it shares in memory.
    Raises Failed."""
    uid = user.pw_uid
    remove_file(places.ROOT / "var/lib/systemd/linger" / user.pw_name)
    run("systemctl", "stop", f"user@{uid}.service", f"user-runtime-dir@{uid}.service")

    def ended() -> bool:
        # kill(2): -1 is every process that the caller may signal, in one call, so that none is
        # faster by a fork. As that user: root may signal everybody.
        run("sh", "-c", "kill -KILL -1", user=uid, group=user.pw_gid, extra_groups=[])
        return not processes_of(uid)

    if not wait_for(ended, ENDS_S):
        raise Failed(f"processes {', '.join(processes_of(uid))} of user {user.pw_name} do not end")
    for kind, (column, option) in IPC.items():
        for number in shared_by(kind, column, uid):
            must_run("ipcrm", option, number)


def processes_of(uid: int) -> list[str]:
    """The processes that have this user's rights, real, effective, saved or for files; without
    those that have ended and that nobody has asked yet."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines = (folder / "status").read_text().splitlines()
        except OSError:  # it has ended meanwhile
            continue
        facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if str(uid) in facts["Uid"].split() and not facts["State"].startswith("Z"):
            found.append(folder.name)
    return found


def shared_by(kind: str, column: str, uid: int) -> Iterator[str]:
    """The numbers of the shared memory, queues or semaphores (System V) that a user has made."""
    heading, *lines = Path("/proc/sysvipc", kind).read_text().splitlines()
    columns = heading.split()
    number, owner, maker = (columns.index(name) for name in (column, "uid", "cuid"))
    for line in lines:
        values = line.split()
        if str(uid) in (values[owner], values[maker]):
            yield values[number]


# --------------------------------------------------------------------------------------- what lies


def forget_the_journal() -> None:
    """A boot in the midst of this has nothing to undo."""
    remove_file(places.JOURNAL)
    unit = guard.UNITS / "origin-kit-recover.service"
    remove_file(guard.UNITS / "sysinit.target.wants" / unit.name)
    remove_file(unit)


def remove_belongings(user: pwd.struct_passwd | None) -> None:
    """Remove what a user or its group owns, and all links to the kit's files, until a look finds
    none. Raises Failed."""
    for _ in range(TURNS):
        found = belongings(user)
        if not found:
            return
        remove(*found)
    raise Failed(f"{found[0]} can't be removed")


def belongings(user: pwd.struct_passwd | None) -> list[str]:
    """These paths; of a folder that is the user's, not what is in it."""
    owned = ["-false"]
    if user:
        owned = ["(", "-uid", str(user.pw_uid), "-o", "-gid", str(user.pw_gid), ")"]
    links = ["-type", "l", "-lname", f"{claims.OURS}*"]
    words = ["find", str(places.ROOT), "-ignore_readdir_race", "(", *skipped(), ")", "-prune"]
    words += ["-o", *owned, "-prune", "-print0", "-o", *links, "-print0"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise Failed("this host can't be searched", done.stderr.decode(errors="replace"))
    return [os.fsdecode(path) for path in done.stdout.split(b"\0") if path]


def skipped() -> list[str]:
    """find's words for what is not searched."""
    kinds = set(NOT_SEARCHED)
    for line in Path("/proc/self/mounts").read_text().splitlines():
        kind = line.split()[2]
        if kind.startswith(ELSEWHERE):
            kinds.add(kind)
    words = ["-path", str(CONTAINERS)]
    for kind in sorted(kinds):
        words += ["-o", "-fstype", kind]
    return words


def remove(*found: str) -> None:
    """Remove files and folders, never through a link. What can't be removed shows at the next
    look."""
    for start in range(0, len(found), 500):
        run("rm", "-rf", "--", *found[start : start + 500])


def remove_kit(app: str) -> None:
    """Remove what the kit has made here. The application's mark stays for now: what has its name is
    the kit's until the last of it is gone."""
    handover.sweep()
    run_folder = places.ROOT / "run"
    own = [claims.home_of(app), claims.data_of(app), run_folder / app, run_folder / f"{app}.sock"]
    own += [places.private(), places.staged()]
    own += [path for path in places.KIT.glob("*") if path not in (acme.TLS, claims.MARKS)]
    remove(*map(str, own))


def remove_logs(app: str) -> None:
    """Remove what was logged here, in files and in systemd's journal. Raises Failed."""
    for folder in FOLDERS:
        for here, _, names in os.walk(str(folder)):
            for name in names:
                Path(here, name).unlink()
    for pattern in SYSLOGS:
        for path in (places.ROOT / "var/log").glob(pattern):
            os.truncate(str(path), 0)
    unit = f"{app}.service"

    def forgotten() -> bool:
        # What was rotated is removed as soon as it began a second ago.
        run("journalctl", "--rotate", "--vacuum-time=1s")
        return not run("journalctl", "-q", "-n", "1", "-o", "cat", "-u", unit).stdout

    if not wait_for(forgotten, ENDS_S):
        raise Failed(f"the journal still holds lines of {unit}")


def retire(app: str) -> None:
    """Give the user and its group another name. Raises Failed where too many are left here."""
    user, group = claims.user_of(app), claims.group_of(app)
    retired = [one.pw_name for one in pwd.getpwall() if one.pw_name.startswith(LEFT)]
    if len(retired) >= MOST_LEFT:
        raise Failed(f"{len(retired)} applications have left this host: it needs a new machine")
    if user:
        must_run("usermod", "--login", f"{LEFT}{user.pw_uid}", "--home", "/nonexistent", app)
    if group:
        must_run("groupmod", "--new-name", f"{LEFT}{group.gr_gid}", app)


def refuse_rest(app: str, user: pwd.struct_passwd | None) -> None:
    """Raise Failed where anything is left, whoever has made it meanwhile."""
    left = [*claims.taken_names(app), *belongings(user)]
    if user:
        left += [f"process {number}" for number in processes_of(user.pw_uid)]
    left += [str(path) for path in places.KIT.glob("*") if path != acme.TLS]
    if left:
        raise Failed(f"this host is not empty: {', '.join(left)}")


def main() -> int:
    """Empty it, with the host's lock held."""

    def explain(problem: OSError) -> str:
        return f"{trouble(problem, places.KIT)}; this host is not empty"

    return print_answer(lambda: under_the_lock(empty), explain)
