"""SSH: one connection and one exec per host, keys pinned by the contract, hosts side by side.

What runs there is the package `on_host`, which needs nothing but Debian's Python. It travels once,
its orders arrive on standard input: nothing has to be installed first, nothing secret stands in a
process list, and one exchange asks and does everything.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import paramiko
from fabric import Config, Connection
from paramiko.auth_strategy import AuthFailure

from infra.core.contract import Host
from on_host.events import DataEvent, ErrorEvent, Event, StepEvent
from on_host.protocol import Given, Verb
from rollout import program as programs
from rollout import ssh_config, ssh_jump, ssh_keys
from rollout.host_errors import CONTINUES, CUT, ConnectError, HostError, LostError, why_dead
from rollout.kept_open import KeptOpen
from rollout.program import Program
from rollout.sender import Sender
from rollout.ssh_config import SshConfig
from rollout.ssh_keys import Keys

CONNECT_TIMEOUT_S = 10
SILENCE_S = 45.0  # a host that has sent none for this long is given up
MOST_AT_ONCE = 32
# paramiko logs the traceback of a connection that fails, and Python shows what nobody handles; we
# say what is wrong.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

SILENT = "no sign of life for {:.0f} s: is the host overloaded, or the network down?"

OnEvent = Callable[[StepEvent | DataEvent], None]
Answer = Callable[[str], str]
T = TypeVar("T")
A = TypeVar("A")  # the type of a verb's answer


@dataclass(frozen=True)
class Identity:
    """Who logs in: with the key in `file` alone, or with whatever keys the operator has;
    `own_config` says whether the operator's SSH configuration counts. (It does not for machines
    that the kit has made here.)"""

    file: Path | None = None
    own_config: bool = True


class PinnedConnection(Connection):  # type: ignore[misc]  # fabric ships no types
    """Fabric's connection, except that an unknown or other host key ends it; Fabric's own accepts
    any."""

    def __init__(
        self,
        host: Host,
        identity: Identity,
        connect_s: float | None = None,
    ) -> None:
        connect_s = connect_s or CONNECT_TIMEOUT_S
        self._set(jump=None)
        ssh = (
            ssh_config.read(host)
            if identity.own_config
            else SshConfig(host.address, host.port, agent="none")
        )
        # fabric.yaml may not redirect a deploy, and what ssh_config(5) says is in `ssh` already.
        config = Config(
            overrides={
                "load_ssh_configs": False,
                "timeouts": {"connect": connect_s},
            },
            lazy=True,
        )
        super().__init__(
            ssh.hostname,
            user=host.user,
            port=ssh.port,
            config=config,
            connect_kwargs={
                "banner_timeout": CONNECT_TIMEOUT_S,
                "auth_timeout": CONNECT_TIMEOUT_S,
                "auth_strategy": Keys(host.user, ssh, identity.file),
            },
        )
        self._trust_only(host.host_keys, ssh)
        if ssh_jump.is_used(ssh):
            self._set(jump=ssh_jump.Jump(host, ssh, int(connect_s)))
            self.connect_kwargs["sock"] = self.jump.socket

    def _trust_only(self, host_keys: Iterable[str], ssh: SshConfig) -> None:
        """Let the connection accept these keys and no other. Raises ValueError for an invalid
        one."""
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        name = ssh.hostname if ssh.port == 22 else f"[{ssh.hostname}]:{ssh.port}"
        for line in host_keys:
            try:
                kind, data = line.split()[:2]
                key = paramiko.PKey.from_type_string(kind, base64.b64decode(data))
            except (paramiko.SSHException, ValueError, IndexError, UnicodeDecodeError) as problem:
                raise ValueError(
                    f"the contract holds an invalid host key ({line!r}); run `fab up`"
                ) from problem
            self.client.get_host_keys().add(name, kind, key)

    def close(self) -> None:
        """End the connection, and the way to it."""
        super().close()
        if self.jump:
            self.jump.close()
            self._set(jump=None)


OWN = Identity()
KEPT_OPEN: KeptOpen[PinnedConnection] = KeptOpen()


@dataclass(frozen=True)
class Session:
    """An open connection to one host."""

    host: Host
    connection: PinnedConnection

    @property
    def login_key(self) -> str | None:
        """Kind and data of the public key that this login used, as an authorized_keys line has
        them."""
        handler = self.connection.transport.auth_handler
        key = getattr(handler, "private_key", None)
        return f"{key.get_name()} {key.get_base64()}" if key else None

    def run(
        self,
        orders: Mapping[str, object],
        *,
        program: Program | None = None,
        blob: Path | IO[bytes] | None = None,
        on_event: OnEvent = lambda event: None,
        on_gate: Answer | None = None,
    ) -> dict[str, Any]:
        """Have `orders` carried out as root, and return the `result`; events are handed on while it
        runs.

        Where the work comes to a gate, it is sent the word that `on_gate` gives for it. The bytes
        of `blob`, a file or a stream, follow on its standard input. `program` is the kit's own, but
        in tests. Raises HostError where the work reports an error, dies, or the connection is lost.
        """
        program = program or programs.current()
        try:
            channel = self.connection.transport.open_session(timeout=CONNECT_TIMEOUT_S)
            channel.exec_command(programs.command())
        except CUT as problem:
            raise HostError(self.host, self._not_begun(), cure="run this again") from problem
        channel.settimeout(SILENCE_S)
        sender = Sender(
            channel,
            program,
            orders,
            self._open(blob),
            keeps_alive=on_gate is not None,
        )
        sender.start()
        try:
            result, stray = self._follow(channel, sender, on_event, on_gate)
        except TimeoutError as problem:
            raise LostError(self.host, SILENT.format(SILENCE_S), cure=CONTINUES) from problem
        finally:
            sender.stop()
        status = channel.recv_exit_status()
        if result is not None and status == 0:
            return result
        raise self._dead(channel, stray, status)

    def ask(
        self,
        verb: Verb[Given, A],
        orders: Given,
        *,
        blob: Path | IO[bytes] | None = None,
        on_event: OnEvent = lambda event: None,
        on_gate: Answer | None = None,
    ) -> A:
        """As `run`, for a verb of the protocol: its orders and its answer have their types."""
        everything = {**cast("Mapping[str, object]", orders), "verb": verb}
        result = self.run(
            everything,
            blob=blob,
            on_event=on_event,
            on_gate=on_gate,
        )
        return cast("A", result)

    def _open(self, blob: Path | IO[bytes] | None) -> IO[bytes] | None:
        if not isinstance(blob, Path):
            return blob
        try:
            return blob.open("rb")
        except OSError as problem:
            raise HostError(
                self.host, f"{blob} can't be read any more ({problem.strerror}); run this again"
            ) from problem

    def _follow(
        self,
        channel: paramiko.Channel,
        sender: Sender,
        on_event: OnEvent,
        on_gate: Answer | None,
    ) -> tuple[dict[str, Any] | None, list[str]]:
        """The result, or None, and the lines that are no events. Raises HostError where the work
        reports an error."""
        result: dict[str, Any] | None = None
        stray: list[str] = []
        for line in channel.makefile("rb"):
            event = _event_in(line)
            if event is None:
                stray.append(line.decode(errors="replace").rstrip())
            elif "error" in event:
                raise self._reported(event)
            elif "program" in event:
                sender.go_on(send_program=event["program"] == "missing")
            elif "result" in event:
                result = event["result"]
            elif "gate" in event and on_gate:
                # A connection that is gone shows as the end of the channel.
                with contextlib.suppress(*CUT):
                    channel.sendall(f"{on_gate(event['gate'])}\n".encode())
            elif "step" in event or "data" in event:
                on_event(event)
        return result, stray

    def _reported(self, event: ErrorEvent) -> HostError:
        return HostError(
            self.host,
            event["error"],
            event.get("detail", ""),
            left_alone=bool(event.get("left_alone")),
            in_doubt=bool(event.get("in_doubt")),
            changed_meanwhile=bool(event.get("changed_meanwhile")),
        )

    def _not_begun(self) -> str:
        if self._is_lost():
            return "the connection was lost before anything was asked"
        return (
            "it starts no program for us: too many sessions, or out of memory or processes? nothing"
            " was sent"
        )

    def _is_lost(self) -> bool:
        """Whether the connection itself is gone. (paramiko ends the channels of a broken one before
        it says so.)"""
        transport = self.connection.transport
        return not transport.is_active() or transport.saved_exception is not None

    def _dead(
        self,
        channel: paramiko.Channel,
        stray: list[str],
        status: int,
    ) -> HostError:
        words = channel.makefile_stderr("rb").read().decode(errors="replace")
        own = "\n".join([*stray, words]).strip()[-1500:]
        if status == -1 and self._is_lost():
            return LostError(
                self.host,
                "the connection was lost",
                own,
                cure=CONTINUES,
            )
        return HostError(self.host, why_dead(self.host.user, own, status), own)


def _event_in(line: bytes) -> Event | None:
    """The event that a line is; None where it is something else, e.g. a traceback's."""
    try:
        event: Event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


@contextlib.contextmanager
def session(
    host: Host,
    identity: Identity = OWN,
    connect_s: float | None = None,
) -> Iterator[Session]:
    """An open, verified connection; in a block of KEPT_OPEN the one before. HostError distinguishes
    refused, timed out (after `connect_s`, or CONNECT_TIMEOUT_S), other key and wrong user."""
    key = (host, identity)
    connection = KEPT_OPEN.take(key) or _opened(host, identity, connect_s)
    is_kept = False
    try:
        yield Session(host, connection)
        is_kept = KEPT_OPEN.keep(key, connection)
    finally:
        if not is_kept:
            connection.close()


def _opened(
    host: Host,
    identity: Identity,
    connect_s: float | None,
) -> PinnedConnection:
    try:
        connection = PinnedConnection(host, identity, connect_s)
    except ValueError as problem:
        raise HostError(host, str(problem)) from problem
    try:
        connection.open()
    except BaseException as problem:
        way = connection.jump.problem() if connection.jump and isinstance(problem, CUT) else None
        connection.close()
        if isinstance(problem, CUT):
            raise ConnectError(host, way or explain(host, problem, connect_s)) from problem
        if isinstance(problem, ValueError):
            raise HostError(host, str(problem)) from problem
        raise
    connection.transport.set_keepalive(15)
    return connection


def explain(
    host: Host,
    problem: BaseException,
    connect_s: float | None = None,
) -> str:
    """Why a connection did not come about, and the next step."""
    where = f"port {host.port}"
    if isinstance(problem, paramiko.BadHostKeyException):
        return (
            "its host key is not the one in the contract: somebody else answers, or it was rebuilt."
            " Run `fab up` if you rebuilt it; nothing was sent"
        )
    if isinstance(problem, AuthFailure):
        return ssh_keys.explain(problem)
    if isinstance(problem, paramiko.ssh_exception.NoValidConnectionsError):
        errors = list(problem.errors.values())
        problem = errors[0] if errors else problem
    if isinstance(problem, TimeoutError | socket.timeout):
        return (
            f"{where} timed out after {connect_s or CONNECT_TIMEOUT_S:g} s; is it running, "
            "and does its firewall (ssh_from) let this machine in?"
        )
    if isinstance(problem, ConnectionRefusedError):
        return f"{where} refused the connection; sshd is not up there (yet): wait, or run `fab up`"
    if isinstance(problem, OSError):
        return (
            f"{where} can't be reached"
            f" ({os.strerror(problem.errno) if problem.errno else problem}); is it running, and is"
            " there a way from here to it? `fab up` starts it where it can"
        )
    if "not found in known_hosts" in str(problem):
        return (
            "it offers no host key of the kind in the contract: somebody else answers; nothing was"
            " sent"
        )
    return f"SSH failed ({problem}); is it an SSH server that listens on {where}?"


def each(
    hosts: Iterable[T],
    work: Callable[[T], Any],
    stop: Callable[[], None] = lambda: None,
    at_once: int = MOST_AT_ONCE,
) -> list[Any]:
    """`work` for every host side by side, results in order; the first failure is raised when all
    have ended.

    `stop` is called where this is interrupted (^C), so that the work that is under way ends soon.
    """
    todo = list(hosts)
    pool = ThreadPoolExecutor(min(at_once, max(1, len(todo))))
    try:
        futures = [pool.submit(work, item) for item in todo]
        wait(futures)
    except BaseException:
        stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return [future.result() for future in futures]
