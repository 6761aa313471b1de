"""Run the application's code as systemd runs its service: its user, its limits, a time limit,
nothing left behind.

Every `manage.py`, every import of the project, and the kit's own few lines that work in the
application's folders run in a transient unit with the limits of the service's own unit. So what the
application may not do while it serves, it may not do while it is shipped. On top of the service's
limits:

    a time limit        RuntimeMaxSec=; at its end, and when the command returns, the whole control
                        group is killed: a child that was left behind, or one that holds the output
                        open, ends too
    a view of its own   PrivateUsers=: a worker of the same user can't enter its /proc/<pid>/root;
                        ProtectProc=: it sees no process of another user; PrivateTmp=: its /tmp and
                        /var/tmp are its own and are removed with it
    a bounded output    only the end of the output is kept; nobody waits for it to be closed

Values and secrets go through an environment file that only root can read, and that is removed as
soon as the command has ended: they stand in no command line and in no unit's properties.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import selectors
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import (  # noqa: UP035 - Python 3.9 on hosts
    Any,
    BinaryIO,
    Iterable,
    Mapping,
    NamedTuple,
    Sequence,
)

from on_host import places
from on_host.envfile import environment_text
from on_host.orders import ORDERS
from on_host.runtime import Failed, run

LIMIT_S = 600  # for one command; a ship's ORDERS["limit_s"] is the tests' way to another one
LONG_LIMIT_S = 3600  # for what works on the database: migrations and copies
STOP_S = 5  # for systemd to end what is left of a command
KEPT = 1 << 18  # bytes of what a command says
MOST_HANDED_OVER = 4 << 30  # bytes of what a command hands over

# What a command has no use for: how the service starts, stops and reports that it is up.
_SERVICE_ONLY = (
    "Exec",
    "Type",
    "Notify",
    "EnvironmentFile",
    "RuntimeDirectory",
    "Kill",
    "Timeout",
    "Restart",
    "WorkingDirectory",
    "Standard",
    "Watchdog",
    "RuntimeMax",
)
# Where there is no unit yet (a frontend has none), and in front of it.
_LEAST = (
    "NoNewPrivileges=true",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=true",
    "PrivateDevices=true",
    "ProtectKernelTunables=true",
    "ProtectControlGroups=true",
    "RestrictSUIDSGID=true",
)
# SIGKILL: a child that was left behind may ignore any other, and waiting for it would make a
# success a time-out.
_OWN = (
    "PrivateTmp=true",
    "ProtectProc=invisible",
    "KillMode=control-group",
    "KillSignal=SIGKILL",
    f"TimeoutStopSec={STOP_S}",
)
_PLAIN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_PIPE_HOLDS = 1 << 20  # bytes at most, and so what is left to read when everybody is gone


class Ended(NamedTuple):
    """How a command ended: its status, the end of what it said, and whether it was stopped at its
    time limit."""

    returncode: int
    stdout: str
    late: bool
    limit_s: float


class Confined:
    """The place where one application's code runs. `unit` is the text of its service, `private` a
    folder of root's. What runs under one `name` takes the place of what a killed run has left under
    it. It may write to `data`, where it sees the folder `over` instead if there is one."""

    def __init__(
        self,
        app: str,
        user: str,
        unit: str,
        private: Path,
        name: str = "",
        data: Path | None = None,
        over: Path | None = None,
    ) -> None:
        self.name = f"{name or f'origin-kit-code-{app}'}.service"
        self.data = data or places.ROOT / "var/lib" / app
        self.over = over
        self.user, self.unit, self.private = user, unit, private
        self._swept = False

    def run(
        self,
        *command: str,
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        files: Sequence[Path] = (),
        limit_s: float = LIMIT_S,
        into: Any = None,
        most: int | None = None,
        source: Iterable[bytes] | None = None,
    ) -> Ended:
        """Run it to its end, or to its time limit. `files` are environment files of root's; with
        `into` its standard output goes there, `most` bytes of it, and only its errors are kept as
        text. `source` is its standard input.
        """
        sink = _Bounded(into, MOST_HANDED_OVER if most is None else most) if into else None
        limit_s = ORDERS.get("limit_s", limit_s)
        variables = {"HOME": str(self.data), **(env or {})}
        output = subprocess.PIPE if into else subprocess.STDOUT
        given_in = subprocess.DEVNULL if source is None else subprocess.PIPE
        pipes: dict[str, Any] = {
            "stdin": given_in,
            "stdout": subprocess.PIPE,
            "stderr": output,
        }
        if Path("/") != places.ROOT:  # a test's own root, which no systemd looks after
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**_PLAIN, **variables},
                **self._plain(),
                **pipes,
            )
            return self._end(process, limit_s, limit_s, sink, source)
        self._sweep()
        with self._secret_file(variables) as given:
            words = self._unit_words([*files, given], cwd, limit_s)
            process = subprocess.Popen(
                [*words, *(word.replace("$", "$$") for word in command)], **pipes
            )
            return self._end(process, limit_s, limit_s + 3 * STOP_S, sink, source)

    def _plain(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {"start_new_session": True}
        user = pwd.getpwnam(self.user)
        return {
            "start_new_session": True,
            "user": user.pw_uid,
            "group": user.pw_gid,
            "extra_groups": [],
        }

    def _unit_words(self, files: Sequence[Path], cwd: str, limit_s: float) -> list[str]:
        properties = [
            f"User={self.user}",
            f"Group={self.user}",
            *_LEAST,
            f"ReadWritePaths={self.data}",
            *([f"BindPaths={self.over}:{self.data}"] if self.over else []),
            *limits(self.unit),
            *_OWN,
            *own_users(),
            f"RuntimeMaxSec={limit_s}",
            f"WorkingDirectory={cwd}",
            *(f"EnvironmentFile={path}" for path in files),
        ]
        start = ["systemd-run", "--quiet", "--collect", "--wait", "--pipe", f"--unit={self.name}"]
        start.append(f"--description={self.user}: code of the application, run by origin-kit")
        return [*start, *(f"--property={line}" for line in properties), "--"]

    def _sweep(self) -> None:
        """End what a killed run has left running: two migrations at once are worse than one that
        was cut short."""
        if not self._swept:
            run("systemctl", "stop", self.name)
            self._swept = True

    @contextlib.contextmanager
    def _secret_file(self, variables: Mapping[str, str]) -> Any:
        self.private.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.private / "environment"
        descriptor = os.open(
            str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
        )
        try:
            with os.fdopen(descriptor, "w") as out:
                out.write(environment_text(variables))
            yield path
        finally:
            path.unlink()
            self.private.rmdir()

    def _end(
        self,
        process: subprocess.Popen[bytes],
        limit_s: float,
        patience: float,
        sink: Any,
        source: Any,
    ) -> Ended:
        started = time.monotonic()
        if source is not None:
            threading.Thread(
                target=_feed,
                args=(process, source),
                daemon=True,
            ).start()
        try:
            said, ended = _listen(process, started + patience, sink)
            if not ended:
                self._kill(process)
            status = process.wait(STOP_S)
        finally:
            self._kill(process)
        late = status != 0 and time.monotonic() - started >= limit_s
        return Ended(status, _printable(said), late, limit_s)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """Nothing of it lives afterwards. Where all is well systemd has seen to that already."""
        if Path("/") != places.ROOT:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            run("systemctl", "kill", "--signal=KILL", self.name)
            run("systemctl", "stop", self.name)
        process.kill()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def limits(unit: str) -> list[str]:
    """The lines of a service's unit that say who it runs as, and what it may."""
    own = unit.partition("[Service]")[2].partition("[Install]")[0]
    lines = [line for line in own.splitlines() if re.match(r"[A-Z]\w+=", line)]
    return [line for line in lines if not line.startswith(_SERVICE_ONLY)]


def own_users() -> list[str]:
    """A user namespace of its own, where this kernel gives any: an administrator may have turned
    them off."""
    try:
        possible = int(Path("/proc/sys/user/max_user_namespaces").read_text()) > 0
    except (OSError, ValueError):
        possible = False
    return ["PrivateUsers=true"] if possible else []


def _feed(process: subprocess.Popen[bytes], source: Iterable[bytes]) -> None:
    """Hand its input over. One that ends before it has read all says itself why."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ValueError), process.stdin as pipe:
        for chunk in source:
            pipe.write(chunk)


def _printable(said: bytes) -> str:
    """Its text, without what would steer the terminal that it ends up in."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", said.decode(errors="replace"))


def _listen(
    process: subprocess.Popen[bytes],
    end: float,
    sink: Any,
) -> tuple[bytes, bool]:
    """The end of what it says until it has ended, and whether it has. Its pipes may stay open:
    others may hold them."""
    said, watched = bytearray(), os.pidfd_open(process.pid)
    keep = _Tail(said)
    sinks: dict[int, Any] = {}
    for pipe, to in ((process.stdout, sink or keep), (process.stderr, keep)):
        if pipe:
            sinks[pipe.fileno()] = to
    with contextlib.closing(selectors.DefaultSelector()) as selector:
        for one in (watched, *sinks):
            selector.register(one, selectors.EVENT_READ)
        try:
            while True:
                ready = {key.fd for key, _ in selector.select(max(0.0, end - time.monotonic()))}
                for one in ready - {watched}:
                    data = os.read(one, _PIPE_HOLDS)
                    if not data:
                        selector.unregister(one)
                    sinks[one].write(data)
                if watched in ready or time.monotonic() > end:
                    return bytes(said), watched in ready
        finally:
            os.close(watched)


class _Tail:
    """Keeps the end of what is written to it."""

    def __init__(self, kept: bytearray) -> None:
        self.kept = kept

    def write(self, data: bytes) -> None:
        self.kept += data
        del self.kept[:-KEPT]


class _Bounded:
    """Writes to a file, up to a limit."""

    def __init__(self, out: BinaryIO, most: int) -> None:
        self.out, self.left, self.most = out, most, most

    def write(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise Failed(
                f"it hands over more than {self.most >> 30} GiB; serve such files from elsewhere"
            )
        self.out.write(data)
