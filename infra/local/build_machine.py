"""A machine to build wheels on: the base image with a compiler, made for it and removed. Root of
this host only.

What runs there is a third party's build. It has no network, no rights, a read-only system, and of
this host one folder that holds what it was given. Debian's packages are installed before any
third-party code is there.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.core import debian
from infra.core.home import LocalCloudError, claim, home, locked, private
from infra.local import image, mounts, processes

PACKAGES = ("python3-dev", "python3-venv", "gcc", "g++", "libc6-dev", "make", "pkg-config")
LONGEST_S = 1800
_USER = 2000  # owns nothing in the image, and may become nobody else
_INSTALL = """
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io "$@"
mkdir /build
"""
# With its parent: nspawn with this run, killed or not.
_DIES_WITH_IT = ("setpriv", "--pdeathsig", "KILL")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


class BuildError(LocalCloudError):
    """What was run there has failed; `said` is its output."""

    def __init__(self, text: str, said: str = "") -> None:
        self.said = said
        super().__init__(text)


def lacking(release: str, machine: str) -> str:
    """Why no build machine for hosts with this Debian and architecture can be made here; "" where
    one can."""
    if machine != platform.machine():
        return f"this machine is {platform.machine()}, the hosts are {machine}"
    if os.geteuid() != 0:
        return "it needs root"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not installed"
    if not image.ready(release) and shutil.which("debootstrap") is None:
        return "debootstrap is not installed"
    return ""


@dataclass
class BuildMachine:
    """One that is there, in `folder`. Its root is user `first_user` here."""

    folder: Path
    first_user: int
    _running: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def root(self) -> Path:
        """Its root file system."""
        return self.folder / "root"

    def build(self, script: str, given: dict[str, Path], out: Path) -> None:
        """Run a shell script there, as a user without rights, in a new folder with the `given`
        files in it; what it writes to its standard output is `out`.

        Raises BuildError with what it said where it fails or takes too long.
        """
        work = Path(tempfile.mkdtemp(dir=self.folder, prefix="work-"))
        try:
            for name, path in given.items():
                (work / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, work / name)
            for path in (work, *work.rglob("*")):
                os.chown(path, self.first_user + _USER, self.first_user + _USER)
            with out.open("wb") as stdout:
                self._run([*self._confined(work), "sh", "-c", script], stdout.fileno())
        finally:
            shutil.rmtree(work)

    def stop(self) -> None:
        """End what runs there, from another thread, and start nothing more."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                processes.end(self._running.pid)

    def install(self) -> None:
        """The compiler, from the mirror that the image is from, over this host's network."""
        proxies = [
            f"--setenv={name}={value}" for name in _PROXIES if (value := os.environ.get(name))
        ]
        words = [*self._nspawn("--resolv-conf=copy-host", *proxies), *_DIES_WITH_IT]
        try:
            self._run([*words, "sh", "-c", _INSTALL, "sh", *PACKAGES], subprocess.DEVNULL)
        except BuildError as problem:
            errors = [line for line in problem.said.splitlines() if line.startswith("E: ")]
            why = errors[0] if errors else problem
            raise BuildError(
                f"the build machine gets no compiler: {why}; is the package mirror in reach?"
            ) from None

    def _nspawn(self, *more: str) -> list[str]:
        users = [f"--private-users={self.first_user}:65536", "--private-users-ownership=off"]
        return [
            *_DIES_WITH_IT,
            "systemd-nspawn",
            "-q",
            "-D",
            str(self.root),
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--timezone=off",
            "--pipe",
            f"--machine=build-{self.folder.name.replace('_', '-')}",
            *(users if self.first_user else []),
            *more,
        ]

    def _confined(self, work: Path) -> list[str]:
        limits = [
            "--no-new-privileges=yes",
            "--private-network",
            "--resolv-conf=off",
            "--rlimit=FSIZE=2G",
        ]
        places = [
            "--read-only",
            "--tmpfs=/tmp:mode=1777",
            f"--bind={work}:/build",
            "--chdir=/build",
        ]
        user = [
            "setpriv",
            f"--reuid={_USER}",
            f"--regid={_USER}",
            "--clear-groups",
            "--bounding-set=-all",
        ]
        variables = [
            "--setenv=HOME=/build",
            "--setenv=TMPDIR=/build",
            "--setenv=SOURCE_DATE_EPOCH=315532800",
        ]
        return [
            *self._nspawn(*limits, *places, *variables),
            *user,
            "--no-new-privs",
            *_DIES_WITH_IT[1:],
        ]

    def _run(self, words: list[str], stdout: int) -> None:
        with tempfile.TemporaryFile() as said:
            with self._lock:
                if self._stopped:
                    raise BuildError("stopped")
                # A session of its own: a ^C in the terminal comes through `stop`, which clears up
                # as well.
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=said,
                    start_new_session=True,
                    cwd="/",
                )
                self._running = process
            try:
                process.wait(LONGEST_S)
            except subprocess.TimeoutExpired:
                raise BuildError(f"not done within {LONGEST_S // 60} minutes") from None
            finally:
                with self._lock:
                    self._running = None
                if process.poll() is None:
                    processes.end(process.pid)
                    process.wait()
            if self._stopped:
                raise BuildError("stopped")
            if process.returncode:
                said.seek(max(0, said.tell() - 2**20))
                raise BuildError("failed", said.read().decode(errors="replace"))


@contextmanager
def made(release: str, say: Callable[[str], None] = lambda text: None) -> Iterator[BuildMachine]:
    """A machine of the image of `release`, without a compiler yet; it is removed when the block
    ends, however it does. `say` is called where the image has to be made first.

    Raises LocalCloudError where the image or the mount can't be made.
    """
    clear()
    if not image.ready(release):
        say(
            f"makes the base image of {debian.RELEASES[release]} first, which takes a minute or two"
        )
    base = image.ensure(release)
    with ExitStack() as stack:
        with locked(_all() / ".lock"):
            folder = Path(tempfile.mkdtemp(dir=_all()))
            stack.enter_context(_held(folder))
        stack.callback(_remove, folder)
        mounts.mount_overlay(folder, base, image.first_user(), "the build machine")
        yield BuildMachine(folder, image.first_user())


def clear() -> None:
    """Remove the build machines of runs that were killed."""
    if not (home() / "builds").is_dir():
        return
    with locked(_all() / ".lock"):
        for folder in filter(Path.is_dir, _all().iterdir()):
            with suppress(BlockingIOError), _held(folder):
                _remove(folder)


def _all() -> Path:
    return private(claim() / "builds")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the machine, which says that its run is alive. Raises BlockingIOError where another run
    holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    processes.kill_strays(folder / "root")  # of a run that was killed before they were tied to it
    mounts.unmount(folder / "root")
    shutil.rmtree(folder)
