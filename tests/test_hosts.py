"""SSH: what is pinned, what runs, and four ways not to get in that read as four."""

from __future__ import annotations

import ast
import json
import shlex
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import paramiko
import pytest

import tasks
from infra.core.contract import Host
from on_host.events import DataEvent, StepEvent
from rollout import host_errors, hosts
from rollout import program as programs
from rollout.host_errors import HostError, LostError
from rollout.hosts import Identity, session
from tests.support.kit import ROOT
from tests.support.programs import bootstrap, doing


class Door(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    """Lets `deploy` in with one key, and runs what it is asked to run, without sudo."""

    def __init__(self, allowed: paramiko.PKey) -> None:
        self.allowed = allowed
        self.command = threading.Event()
        self.words = b""
        self.refuses = False

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        right = username == "deploy" and key == self.allowed
        return int(paramiko.common.AUTH_SUCCESSFUL if right else paramiko.common.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self.refuses:
            return int(paramiko.common.OPEN_FAILED_RESOURCE_SHORTAGE)
        return int(paramiko.common.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.words = command
        self.command.set()
        return True


class Server:
    """An SSH server on loopback. `kind`: `sound`, `mute` (never says a word), `hangs up` (while the
    user logs in)."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.commands: list[str] = []
        self.host_key = paramiko.ECDSAKey.generate()
        user_key = paramiko.ECDSAKey.generate()
        self.identity = folder / "id"
        user_key.write_private_key_file(str(self.identity))
        self.user_key = user_key
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.seen: list[bytes] = []
        self.answers_status, self.breaks = True, False
        self.doors: list[Door] = []
        self.serving = threading.Thread(target=self._serve, daemon=True)
        self.serving.start()

    def close(self) -> None:
        """Take no more connections. A thread that still waits could take one of the next server,
        whose descriptor has the same number, and greet it with this one's key."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.serving.join(10)
        self.socket.close()

    @property
    def host(self) -> Host:
        line = f"{self.host_key.get_name()} {self.host_key.get_base64()}"
        return Host("backend-1", "127.0.0.1", self.socket.getsockname()[1], "deploy", (line,))

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            if self.kind == "mute":
                self.held = client
                continue
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        transport = paramiko.Transport(client)
        transport.add_server_key(self.host_key)
        door = Door(self.user_key)
        self.doors.append(door)
        if self.kind == "hangs up":
            door.check_auth_publickey = lambda username, key: transport.close()  # type: ignore[method-assign]
        try:
            transport.start_server(server=door)
        except (EOFError, paramiko.SSHException):
            return  # a client that left at once: no key of its own could be used
        while (channel := transport.accept(30)) is not None:
            door.command.wait(10)
            door.command.clear()
            self._run(channel, door.words.decode())

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        """The command of the kit, by this interpreter instead of root's, with its programs in this
        server's folder."""
        self.commands.append(command)
        assert shlex.split(command)[:-1] == ["sudo", "-n", "/usr/bin/python3", "-I", "-c"]
        if self.breaks:
            channel.recv(1)
            channel.get_transport().sock.close()
            return
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(
            [sys.executable, "-I", "-c", bootstrap(self.folder)], **pipes
        ) as process:  # type: ignore[call-overload]
            passing = threading.Thread(
                target=self._pass_on, args=(channel, process.stdin), daemon=True
            )
            passing.start()
            with suppress(OSError, EOFError):  # the client has given up: paramiko raises either
                for line in process.stdout:
                    channel.sendall(line)
                channel.sendall_stderr(process.stderr.read())
                if self.answers_status:
                    channel.send_exit_status(process.wait())
                channel.close()
            passing.join(10)  # before the process's own pipe is closed under its hands

    def _pass_on(self, channel: paramiko.Channel, into: BinaryIO) -> None:
        with suppress(OSError), into:
            while chunk := channel.recv(1 << 16):
                self.seen.append(chunk)
                into.write(chunk)
                into.flush()


@contextmanager
def server(folder: Path, kind: str = "sound") -> Iterator[Server]:
    made = Server(kind, folder)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "CONNECT_TIMEOUT_S", 2)


def refusal(host: Host, identity: Path) -> str:
    with pytest.raises(HostError) as caught, session(host, Identity(identity)):
        pass
    return str(caught.value)


def test_a_script_runs_with_its_orders_and_reports_as_it_goes(tmp_path: Path) -> None:
    """One exec: script, payload and blob on stdin; events one by one; the result at the end."""
    program = doing(
        "import sys,json\n"
        'print(json.dumps({"step": "a", "text": "does " + orders["what"]}))\n'
        'print(json.dumps({"result": {"got": len(sys.stdin.buffer.read())}}))\n'
    )
    blob = tmp_path / "blob"
    blob.write_bytes(b"x" * 300_000)
    events: list[StepEvent | DataEvent] = []
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        result = connection.run({"what": "it"}, program=program, blob=blob, on_event=events.append)
    assert result == {"got": 300_000}
    assert events == [{"step": "a", "text": "does it"}]


def test_a_program_travels_once(tmp_path: Path) -> None:
    """The second time its digest is enough; another program is another digest. Few are kept."""
    orders = {"verb": "x"}
    texts = [f'print(\'{{"result": {{"number": {number}}}}}\')' for number in range(6)]
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        for text, number in [*((text, number) for number, text in enumerate(texts)), (texts[5], 5)]:
            there.seen.clear()
            assert connection.run(orders, program=doing(text)) == {"number": number}
        assert b"".join(there.seen) == doing(texts[5]).head(orders)
    kept = tmp_path / "run/origin-kit/programs"
    assert sorted(path.name for path in kept.iterdir()) == sorted(
        doing(text).digest for text in texts[2:]
    )
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o700, 0o700)


def test_an_unchanged_question_costs_little(tmp_path: Path) -> None:
    """What starts the program there and the orders of a small question: less than one round trip's
    window."""
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        program = doing("print('{\"result\": {}}')")
        connection.run({"verb": "x"}, program=program)
        assert len(there.commands[0]) + len(program.head({"verb": "x"})) < 4000


IDLE = "print('{\"result\": {}}')"


def ask(there: Server) -> None:
    with session(there.host, Identity(there.identity)) as connection:
        connection.run({"verb": "x"}, program=doing(IDLE))


def test_a_connection_is_used_again_where_it_is_kept_open(tmp_path: Path) -> None:
    """Each session outside of the block has its own; nothing stays open after it."""
    with server(tmp_path) as there:
        ask(there)
        with hosts.KEPT_OPEN.block():
            ask(there)
            with hosts.KEPT_OPEN.block():
                ask(there)
            ask(there)
            with session(there.host, Identity(there.identity)) as first:
                pass
        assert not first.connection.is_connected
        assert (len(there.doors), len(there.commands)) == (2, 4)
        ask(there)
        assert len(there.doors) == 3


def test_two_sessions_at_once_have_a_connection_each(tmp_path: Path) -> None:
    with server(tmp_path) as there, hosts.KEPT_OPEN.block():
        with session(there.host, Identity(there.identity)) as outer:
            ask(there)
            assert len(there.doors) == 2
        assert not outer.connection.is_connected  # one idle connection is enough


def test_a_connection_that_failed_is_not_used_again(tmp_path: Path) -> None:
    """Whether its session ended with an error, or it went while nobody used it."""
    with server(tmp_path) as there, hosts.KEPT_OPEN.block():
        with suppress(HostError), session(there.host, Identity(there.identity)) as failed:
            raise HostError(there.host, "no")
        assert not failed.connection.is_connected
        with session(there.host, Identity(there.identity)) as lost:
            pass
        lost.connection.transport.close()
        ask(there)
        assert len(there.doors) == 3


def test_a_deploy_goes_on_with_the_connection_of_its_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `tls: acme` each host is asked first what certificate it has."""
    with server(tmp_path) as there:

        def connect(*_: object, **__: object) -> list[object]:
            ask(there)
            return []

        monkeypatch.setattr("rollout.acme.certify.before_deploy", connect)
        monkeypatch.setattr("rollout.deploy.run_on_all_hosts", connect)
        monkeypatch.setattr("verbs.deployment.read", lambda *_, **__: None)
        tasks.ns["deploy"].body(None, outputs="contract.json", json=True)
        assert (len(there.doors), len(there.commands)) == (1, 2)


def test_a_damaged_program_is_not_started(tmp_path: Path) -> None:
    program = replace(doing("print('{\"result\": {}}')"), digest="0" * 64)
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        with pytest.raises(HostError) as caught:
            connection.run({}, program=program)
        assert "arrives incomplete" in caught.value.detail
        assert not (tmp_path / "run").exists()


def test_the_same_sources_are_the_same_program() -> None:
    """Whenever they were checked out, so that it travels once for everybody."""
    assert programs.pack(programs.sources()) == programs.current()


def test_a_connection_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    with server(tmp_path) as sound, session(sound.host, Identity(sound.identity)) as there:
        there.connection.transport.close()
        with pytest.raises(
            HostError, match="the connection was lost before anything was asked; run this again"
        ):
            there.run({})


def test_secrets_travel_on_stdin_and_never_in_the_command(tmp_path: Path) -> None:
    """A process list shows commands, not what they read."""
    program = doing('import json; print(json.dumps({"result": {}}))')
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        connection.run({"secret": "hush-hush"}, program=program)
        assert zlib.compress(json.dumps({"secret": "hush-hush"}).encode()) in b"".join(there.seen)
        assert "hush-hush" not in there.commands[0]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            'import json; print(json.dumps({"error": "no room", "detail": "df says so"}))',
            "backend-1 (127.0.0.1): no room",
        ),
        ("import sys; sys.exit(3)", "ended with status 3"),
        (
            "print('hello'); print('{\"result\": {}}'); import sys; sys.exit(1)",
            "ended with status 1",
        ),
    ],
)
def test_a_script_that_fails_is_reported_with_the_host_s_name(
    tmp_path: Path, script: str, says: str
) -> None:
    with (
        server(tmp_path) as there,
        session(there.host, Identity(there.identity)) as connection,
        pytest.raises(HostError) as caught,
    ):
        connection.run({}, program=doing(script))
    assert says in str(caught.value)


def test_what_is_no_ssh_server_leaves_no_traceback_of_a_library(tmp_path: Path) -> None:
    """In a process of its own, where nothing handles what libraries log."""
    text = (
        "import sys\nfrom pathlib import Path\nfrom infra.core.contract import Host\n"
        "from rollout import host_errors, hosts\n"
        "host = Host('b', '127.0.0.1', int(sys.argv[1]), 'deploy', (sys.argv[3],))\n"
        "try:\n    hosts.session(host, hosts.Identity(Path(sys.argv[2]))).__enter__()\n"
        "except host_errors.ConnectError as problem:\n    print(problem)\n"
    )
    with server(tmp_path) as there, socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=lambda: other.accept()[0].close(), daemon=True).start()
        words = [
            sys.executable,
            "-c",
            text,
            str(other.getsockname()[1]),
            str(there.identity),
            there.host.host_keys[0],
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("b (127.0.0.1): ") and done.stderr == ""


def test_another_host_key_ends_it_before_anything_is_sent(tmp_path: Path) -> None:
    other = paramiko.ECDSAKey.generate()
    with server(tmp_path) as there:
        said = refusal(
            replace(there.host, host_keys=(f"{other.get_name()} {other.get_base64()}",)),
            there.identity,
        )
        assert there.seen == []
    assert "host key is not the one in the contract" in said
    assert "nothing was sent" in said


def test_a_host_key_of_another_kind_ends_it_too(tmp_path: Path) -> None:
    """Only an Ed25519 key is pinned, the server has only an ECDSA key: there is nothing to agree
    on."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True
    )
    with server(tmp_path) as there:
        said = refusal(
            replace(there.host, host_keys=((tmp_path / "k.pub").read_text().strip(),)),
            there.identity,
        )
    assert "host key" in said


def test_a_wrong_user_is_refused_by_name(tmp_path: Path) -> None:
    with server(tmp_path) as there:
        said = refusal(replace(there.host, user="root"), there.identity)
        assert "for user root" in said


def test_a_closed_port_is_refused(tmp_path: Path) -> None:
    with server(tmp_path) as there:
        host, identity = there.host, there.identity
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert "refused the connection" in refusal(replace(host, port=port), identity)


def test_a_host_that_does_not_answer_has_timed_out(tmp_path: Path) -> None:
    """A listener whose queue is full drops what comes, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, server(tmp_path) as there:
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        said = refusal(replace(there.host, port=full.getsockname()[1]), there.identity)
        for one in waiting:
            one.close()
    assert "timed out after 2 s" in said


def test_something_that_is_no_ssh_server_says_so(tmp_path: Path) -> None:
    with server(tmp_path, "mute") as there:
        host = there.host
        said = refusal(host, there.identity)
    assert f"is it an SSH server that listens on port {host.port}" in said


def test_a_server_that_hangs_up_is_not_called_a_wrong_key(tmp_path: Path) -> None:
    with server(tmp_path, "hangs up") as there:
        said = refusal(there.host, there.identity)
    assert "hung up during the login" in said


def test_a_key_file_that_can_t_be_used_is_named(tmp_path: Path) -> None:
    """Missing, no key at all, or closed by a passphrase: three messages with the file's name."""
    words, locked = tmp_path / "words", tmp_path / "locked"
    words.write_text("not a key")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(locked)], check=True
    )
    with server(tmp_path) as there:
        assert f"{tmp_path / 'nowhere'} can't be read: No such file" in refusal(
            there.host, tmp_path / "nowhere"
        )
        assert f"{words} is no private key" in refusal(there.host, words)
        assert f"{locked} has a passphrase" in refusal(there.host, locked)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_every_kind_of_key_is_refused_in_the_same_words(tmp_path: Path, kind: str) -> None:
    unknown = tmp_path / "unknown"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(unknown)], check=True)
    with server(tmp_path) as there:
        assert f"it refused the key {unknown} for user deploy" in refusal(there.host, unknown)


def test_a_contract_with_a_broken_host_key_says_so(tmp_path: Path) -> None:
    with server(tmp_path) as there:
        said = refusal(replace(there.host, host_keys=("ssh-ed25519 AAAA",)), there.identity)
    assert "holds an invalid host key" in said


def test_neither_ssh_config_nor_known_hosts_of_the_user_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A HostName in ~/.ssh/config must not send a deploy elsewhere."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host 127.0.0.1\n  HostName 127.0.0.2\n  Port 1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        program = doing('import json; print(json.dumps({"result": {"ok": True}}))')
        assert connection.run({}, program=program) == {"ok": True}


def test_hosts_run_in_parallel_and_the_first_failure_counts() -> None:
    """All of them end, in whatever order; then the first one's error is raised."""
    barrier, ended = threading.Barrier(3, timeout=10), []

    def work(number: int) -> int:
        barrier.wait()
        ended.append(number)
        if number:
            raise ValueError(f"host {number}")
        return number

    with pytest.raises(ValueError, match="host 1"):
        hosts.each([0, 1, 2], work)
    assert sorted(ended) == [0, 1, 2]


def test_what_was_read_is_json(tmp_path: Path) -> None:
    """A script's stray output, a warning say, disturbs nobody."""
    script = "print('warning: x'); import json; print(json.dumps({'result': {'a': 1}}))"
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        assert json.dumps(connection.run({}, program=doing(script))) == '{"a": 1}'


WORDS = {
    "bash: line 1: sudo: command not found": (127, "sudo is not installed there"),
    "sh: 1: sudo: not found": (127, "sudo is not installed there"),
    "sudo: /usr/bin/python3: command not found": (1, "python3 is not installed there"),
    "sudo: a password is required": (1, "may not use sudo without a password"),
    "deploy is not in the sudoers file.": (1, "may not use sudo without a password"),
    "This account is currently not available.": (1, "has no shell there"),
    "OSError: [Errno 28] No space left on device": (1, "a disk there is full"),
    "OSError: [Errno 12] Cannot allocate memory": (1, "out of memory"),
    '  File "origin-kit", line 3\nSyntaxError: invalid syntax': (1, "python3 is too old"),
    "TypeError: 'type' object is not subscriptable": (1, "python3 is too old"),
    "Traceback (most recent call last):\nKeyError: 'x'": (1, "a bug, please report it"),
    "": (137, "was killed by SIGKILL; out of memory?"),
    " ": (143, "was killed by SIGTERM"),
    "  ": (-1, "was killed; out of memory?"),
    "   ": (199, "was killed by signal 71"),
    "    ": (3, "ended with status 3"),
}


@pytest.mark.parametrize("words", WORDS)
def test_a_script_that_gives_no_answer_is_reported_by_its_cause(words: str) -> None:
    """Missing programs, too little of everything, a signal: what the host says itself decides."""
    status, said = WORDS[words]
    assert said in host_errors.why_dead("deploy", words, status)


def test_a_script_that_is_killed_is_no_lost_connection(tmp_path: Path) -> None:
    """sshd gives no status for a program that a signal ended; the connection is there still."""
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        there.answers_status = False
        with pytest.raises(HostError, match="the work on the host was killed") as caught:
            connection.run({}, program=doing("import os; os.kill(os.getpid(), 9)"))
        assert "lost" not in str(caught.value)


def test_a_connection_that_breaks_meanwhile_is_a_lost_one(tmp_path: Path) -> None:
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        there.breaks = True
        with pytest.raises(
            LostError, match="the connection was lost; the work on the host continues"
        ):
            connection.run({})


def test_a_host_that_is_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line may be dead without an end, or the host frozen: it is lost, and nobody waits for it
    longer."""
    monkeypatch.setattr(hosts, "SILENCE_S", 1.0)
    with (
        server(tmp_path) as there,
        session(there.host, Identity(there.identity)) as connection,
        pytest.raises(LostError, match=r"no sign of life for 1 s.*the work on the host continues"),
    ):
        connection.run({}, program=doing("import time; time.sleep(5); print('{\"result\": {}}')"))


def test_a_host_that_starts_no_program_is_no_lost_connection(tmp_path: Path) -> None:
    """sshd at its MaxSessions, or without room for a process."""
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        there.doors[0].refuses = True
        with pytest.raises(HostError, match="it starts no program for us"):
            connection.run({})


def test_stray_bytes_before_the_answer_are_no_traceback(tmp_path: Path) -> None:
    """A shell's start-up file may greet in any encoding, and in anything that happens to be
    JSON."""
    script = (
        'import sys; sys.stdout.buffer.write(b"gr\\xfc\\xdfe\\n42\\n"); print(\'{"result": {}}\')'
    )
    with server(tmp_path) as there, session(there.host, Identity(there.identity)) as connection:
        assert connection.run({}, program=doing(script)) == {}


def test_no_message_sends_to_the_command_that_shows_it(tmp_path: Path) -> None:
    """`fab status` reads these."""
    problem = OSError(113, "No route to host")
    assert "fab status" not in hosts.explain(Host("b", "203.0.113.1", 22, "deploy", ()), problem)


def texts_in(source: str) -> set[str]:
    """The string literals of a module that are no docstrings."""
    nodes = list(ast.walk(ast.parse(source)))
    documented = [
        node for node in nodes if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
    ]
    docstrings = {ast.get_docstring(node, clean=False) for node in documented}
    literals = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return {text for text in literals - docstrings if isinstance(text, str)}


def test_no_text_that_status_prints_recommends_status() -> None:
    """Only the doctor and the end of `up` recommend it, which `status` does not print."""
    folder = ROOT / "ansible-free-deploy"
    recommend = set()
    for path in [*folder.glob("rollout/**/*.py"), *folder.glob("on_host/**/*.py")]:
        if any("fab status" in text for text in texts_in(path.read_text())):
            recommend.add(str(path.relative_to(folder)))
    assert recommend <= {
        "rollout/check.py",
        "rollout/doctor/checks/answers.py",
        "rollout/doctor/checks/django.py",
        "rollout/doctor/checks/frontend.py",
    }
