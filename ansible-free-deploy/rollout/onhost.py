"""What every script that runs on a host shares: talking back, the lock, durable files.

Standard library only (Python >= 3.9). `scripts.script` puts this text before a script's own, as the module that it
imports; PAYLOAD holds the orders.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, TextIO  # noqa: UP035 - Python 3.9 evaluates the aliases below

Json = dict[str, Any]
PAYLOAD: Json = globals().get("PAYLOAD", {})  # put there by the one who started this text

ROOT = Path(PAYLOAD.get("root", "/"))  # another one in tests only
KIT = ROOT / "etc/origin-kit"
RUN = ROOT / "run/origin-kit"  # 0700: nobody but root can open what is in it, a lock included
LOCK = RUN / "lock"  # one for ship and deploy: they exclude each other
WAIT_S = 40
BEAT_S = 5.0  # both sides send a sign of life this often
SILENCE_S: float = PAYLOAD.get("silence_s", 30.0)  # who has sent none for this long is gone
_DEAR_S = 1.0

phases: dict[str, float] = {}  # step → seconds that it took
_under_way: list[tuple[str, float]] = []


class Failed(Exception):
    """A step failed: what is wrong and the next step, and the failing program's own words."""

    def __init__(self, text: str, detail: str = "") -> None:
        if "No space left on device" in detail and (found := full()):
            note_full()
            text = f"{text}; the disk is full ({found})"
        super().__init__(text)
        self.detail = detail


_SHORTEST_HIDDEN = 4  # a shorter one is in every text, and to leave it out of each would tell it


def hide(text: str) -> str:
    """`text` without the values of secrets, which a failing program may quote."""
    for value in PAYLOAD.get("secrets", {}).values():
        for part in sorted({value, *value.splitlines()}, key=len, reverse=True):
            if len(part) >= _SHORTEST_HIDDEN:
                text = text.replace(part, "(secret)")
    return text


_emitting = threading.Lock()


def emit(**event: Any) -> bool:
    """One JSON line to the operator, with no secret in what people read; False where the operator is gone, which does
    not stop the work."""
    event.update({key: hide(event[key]) for key in ("text", "error", "detail") if event.get(key)})
    with _emitting, contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
        return True
    return False


def send_heartbeats() -> None:
    """Send the operator a sign of life every few seconds, from a thread, until this process ends."""

    def beat() -> None:
        while True:
            time.sleep(BEAT_S)
            emit(beat=True)

    threading.Thread(target=beat, daemon=True).start()


def step(name: str, text: str) -> None:
    """Announce a step. `PAYLOAD["die_at"]` is the crash tests' way to pull the plug exactly here."""
    if PAYLOAD.get("die_at") == name:
        os.kill(os.getpid(), signal.SIGKILL)
    end_step()
    _under_way.append((name, time.monotonic()))
    emit(step=name, text=text)


def end_step() -> None:
    """Note how long the step under way took."""
    while _under_way:
        name, since = _under_way.pop()
        phases[name] = round(phases.get(name, 0.0) + time.monotonic() - since, 3)


def run(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """The finished process; all that it says is kept as text. Raises Failed for a program that is not here."""
    said = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        done = subprocess.run(command, text=True, errors="replace", check=False, **{**said, **more})
    except FileNotFoundError as problem:
        if problem.filename != command[0]:
            raise
        raise Failed(f"the program {command[0]} is not installed on this host") from problem
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        text = f"it was killed by {name}" + ("; out of memory? see `journalctl -k`" if name == "SIGKILL" else "")
        done.stdout = f"{done.stdout or ''}\n{text}".lstrip()
    return done


# ------------------------------------------------------------------------------------------------- what the disk says

_FULL_BELOW = 1 << 20
_PLACES = ("etc/origin-kit", "opt/{app}", "var/lib/{app}", "var/log", "run", "tmp", "")


def full() -> str:
    """Which of the file systems that the kit writes to has no room left, and of what kind; empty where all have."""
    seen: dict[int, str] = {}
    for place in _PLACES:
        path = ROOT / place.format(app=PAYLOAD.get("app", ""))
        with contextlib.suppress(OSError):
            found, device = os.statvfs(str(path)), path.stat().st_dev
            if text := _lacks(found):
                seen.setdefault(device, f"{path}: {text}")
    return "; ".join(seen.values())


def _lacks(found: os.statvfs_result) -> str:
    free = found.f_bavail * found.f_frsize
    if free < _FULL_BELOW:
        return f"{free >> 10} KiB free"
    if found.f_files and not found.f_favail:
        return f"{free >> 20} MiB free, but no inodes: no room for another file, however small"
    return ""


_noted: list[str] = []


def note_full() -> None:
    """Remember what is full, before what filled it is cleared away."""
    if not _noted and (found := full()):
        _noted.append(found)


def trouble(problem: OSError, where: object) -> str:
    """What this host's system refuses, and what to do about it; `where` if the system names no place."""
    place = problem.filename or where
    if problem.errno == errno.ENOSPC:
        found = (_noted or [full()])[0]
        if found:
            return f"the disk is full ({found}); make room, then run this again"
        return f"no room for {place}, though no disk is full now: `df -h`, `df -i` and quotas on the host tell"
    if problem.errno == errno.EDQUOT:
        return f"the disk quota of root is used up ({place}); raise it or make room, then run this again"
    if problem.errno == errno.EROFS:
        return f"{place} is on a read-only file system; see `dmesg` on the host"
    if problem.errno == errno.EIO:
        return f"the disk fails at {place}; see `dmesg` on the host"
    if problem.errno in (errno.ENOMEM, errno.EAGAIN):
        return "the host is out of memory or processes; see `free -h` there, then run this again"
    if problem.errno in (errno.EMFILE, errno.ENFILE):
        return "the host has too many files open; see `lsof | wc -l` there, then run this again"
    return f"{place}: {problem.strerror or problem}; run this again"


# The line of a log that names an exception: `OSError: ...`, `django.core.exceptions.ImproperlyConfigured: ...`.
EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*: \S|^[\w.]*(Error|Exception|DoesNotExist)$", re.MULTILINE)


def journal_of(unit: str, since: float | None = None) -> str:
    """The unit's last words, without the frames of tracebacks and what gunicorn says when all is well; of the time
    `since` then alone, where that is given."""
    begin = [] if since is None else [f"--since=@{since:.0f}"]
    said = run("journalctl", "-u", unit, *begin, "-n", "200", "-q", "--no-pager", "-o", "cat").stdout
    telling = [line for line in said.splitlines() if not line.startswith(("  ", "Traceback")) and "[INFO]" not in line]
    return last_lines("\n".join(telling), 20)


def wait_for(
    question: Callable[[], bool], seconds: float = WAIT_S, hopeless: Callable[[], bool] = lambda: False
) -> bool:
    """Whether the answer becomes yes before the time is up, or before it is `hopeless`, which is dear to find out.

    The longer it takes, the more seldom is it asked: what is waited for may need the processor.
    """
    started = time.monotonic()
    look = started + _DEAR_S
    while not question():
        now = time.monotonic()
        if now > started + seconds:
            return False
        if now > look:
            if hopeless():
                return question()
            look = now + _DEAR_S
        time.sleep(pause(started))
    return True


def pause(since: float) -> float:
    """How long to wait before the next look at something that has not happened since then (time.monotonic())."""
    return min(0.1, max(0.02, (time.monotonic() - since) / 20))


def last_lines(text: str, count: int = 12) -> str:
    """The end of a program's words; what is left out shows."""
    lines = text.strip().splitlines()
    return "\n".join(lines if len(lines) <= count else ["…", *lines[-count:]])


def private_folder(folder: Path) -> None:
    """Make a folder that only root can enter; one that exists becomes one."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def try_lock() -> TextIO | None:
    """The host's lock, held until the handle is closed; None where somebody else has it."""
    private_folder(LOCK.parent)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.fdopen(os.open(str(LOCK), flags, 0o600), "r+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    handle.truncate(0)
    handle.write("{}: {} since {}".format(PAYLOAD["who"], verb(), time.strftime("%Y-%m-%d %H:%M:%S %z")))
    handle.flush()
    return handle


def verb() -> str:
    return str(PAYLOAD.get("verb") or PAYLOAD.get("action"))


def owner() -> str:
    """Who holds the lock, what for and since when."""
    try:
        return LOCK.read_text().strip() or "somebody"
    except OSError:
        return "somebody"


def held_by(whose: str) -> str:
    """The message for somebody who has waited long enough: who holds the lock, since when, and how that ends."""
    return (
        f"another ship or deploy is running here: {whose}. It ends by itself; without its operator it ends "
        f"{SILENCE_S:.0f} s after the step under way. Run this again then, or wait longer with --wait"
    )


def take_lock() -> TextIO:
    """As `try_lock`, after at most `wait_s`. Raises Failed that names who holds it when that is over."""
    found: list[TextIO] = []

    def taken() -> bool:
        handle = try_lock()
        if handle:
            found.append(handle)
        return bool(found)

    if not taken():
        if PAYLOAD.get("wait_s"):
            emit(step="wait", text=f"waits for {owner()}")
        if not wait_for(taken, PAYLOAD.get("wait_s", 0)):
            raise Failed(held_by(owner()))
    return found[0]


def sync(folder: Path) -> None:
    """What the folder lists is on the disk."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The whole file or the one before; on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(str(new), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchmod(descriptor, mode)
        handle.write(data)
        handle.flush()
        os.fsync(descriptor)
    new.replace(path)


def point(place: Path, target: str) -> None:
    """Make `place` a link to `target` by one rename, durably."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    new.symlink_to(target)
    new.replace(place)
    sync(place.parent)
