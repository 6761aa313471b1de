"""The operator's own keys and SSH configuration, against OpenSSH's server and agent."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from infra.core.contract import Host
from rollout import hosts, ssh_config, ssh_keys
from rollout.host_errors import ConnectError, HostError
from rollout.hosts import Identity, session
from tests.support.kit import Kit, Stack
from tests.support.programs import doing

pytestmark = pytest.mark.machines
USER = "ada"
PASSPHRASE = "correct horse"
ANSWER = 'import json; print(json.dumps({"result": {"well": True}}))'
OWN = Identity()


def run(*words: str | Path) -> str:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=True).stdout


def make_key(path: Path, passphrase: str = "") -> str:
    """A new key; its public line."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path)
    return path.with_name(f"{path.name}.pub").read_text()


@dataclass(frozen=True)
class Server:
    """A machine with a user who may become root, and who may log in with the keys that `authorize`
    lists."""

    kit: Kit
    machine: Host

    @property
    def host(self) -> Host:
        return replace(self.machine, user=USER)

    @property
    def address(self) -> str:
        return self.machine.address

    @property
    def key(self) -> str:
        return " ".join(self.machine.host_keys[0].split()[:2])

    def authorize(self, *lines: str) -> None:
        text = "".join(lines)
        self.kit.ssh(self.machine, f"cat > ~{USER}/.ssh/authorized_keys <<'END'\n{text}END\n")

    def log(self) -> str:
        return self.kit.ssh(self.machine, "journalctl -u ssh --no-pager -q")


@pytest.fixture(scope="module")
def pair(stack: Stack) -> Iterator[list[Server]]:
    """A jump host and the host behind it."""
    contract = stack.contract
    made = [
        Server(stack.kit, contract.frontend.hosts[0]),
        Server(stack.kit, contract.backend.hosts[0]),
    ]
    add = f"""
        useradd --create-home --shell /bin/sh {USER}
        install -d -m 700 -o {USER} -g {USER} ~{USER}/.ssh
        install -m 600 -o {USER} -g {USER} /dev/null ~{USER}/.ssh/authorized_keys
        echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}
    """
    for one in made:
        stack.kit.ssh(one.machine, add)
    yield made
    for one in made:
        stack.kit.ssh(
            one.machine, f"rm /etc/sudoers.d/{USER}; pkill -KILL -u {USER}; userdel --remove {USER}"
        )


@pytest.fixture
def servers(pair: list[Server]) -> list[Server]:
    """Both, where nobody may log in."""
    for one in pair:
        one.authorize()
    return pair


@pytest.fixture
def host(servers: list[Server]) -> Server:
    return servers[1]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's SSH configuration, with no key, no agent and nobody at a terminal."""
    path = tmp_path / "ssh_config"
    monkeypatch.setenv(ssh_config.FILE, str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(ssh_keys, "_opened", {})
    path.write_text("IdentityFile none\n")
    return path


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    yield path
    process.terminate()
    process.wait(timeout=10)


def give(agent: Path, key: Path, passphrase: str = "") -> None:
    """`ssh-add`, as from a terminal."""
    ask = key.with_name("ask")
    ask.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
    ask.chmod(0o700)
    environment = {
        **os.environ,
        "SSH_AUTH_SOCK": str(agent),
        "SSH_ASKPASS": str(ask),
        "SSH_ASKPASS_REQUIRE": "force",
    }
    subprocess.run(
        ["ssh-add", "-q", str(key)], env=environment, check=True, stdin=subprocess.DEVNULL
    )


def enters(host: Host, identity: Identity = OWN) -> bool:
    with session(host, identity) as there:
        return bool(there.run({}, program=doing(ANSWER))["well"])


def refusal(host: Host, identity: Identity = OWN) -> str:
    with pytest.raises(HostError) as caught, session(host, identity):
        pass
    return str(caught.value).split(": ", 1)[1]


def test_a_key_that_the_configuration_names_opens_the_host(
    host: Server, config: Path, tmp_path: Path
) -> None:
    """IdentityFile, for this address alone; another address has no key."""
    host.authorize(make_key(tmp_path / "work"))
    config.write_text(f"Host {host.address}\n  IdentityFile {tmp_path}/work\n")
    assert enters(host.host)


def test_a_host_alias_has_to_show_its_key(
    servers: list[Server], config: Path, tmp_path: Path
) -> None:
    """HostName and Port are followed; what they lead to is believed no more than before."""
    other, host = servers
    line = make_key(tmp_path / "work")
    for one in servers:
        one.authorize(line)
    text = f"Host 192.0.2.7\n  HostName HERE\n  Port 22\nHost *\n  IdentityFile {tmp_path}/work\n"
    config.write_text(text.replace("HERE", host.address))
    named = replace(host.host, address="192.0.2.7")
    assert enters(named)
    config.write_text(text.replace("HERE", other.address))
    assert "its host key is not the one in the contract" in refusal(named)
    config.write_text(text.replace("HERE", host.address).replace("Port 22", "Port 2222"))
    assert "refused the connection" in refusal(named)


def test_a_passphrase_is_asked_for_or_the_agent_named(
    host: Server, config: Path, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No terminal: one line that says `ssh-add`. In the agent it opens the host, and so it does
    when it is typed."""
    key = tmp_path / "work"
    host.authorize(make_key(key, PASSPHRASE))
    for identity in (Identity(key), Identity()):
        config.write_text(f"IdentityFile {key}\n")
        assert (
            "has a passphrase, and there is no terminal to ask at: give it to an agent with"
            f" `ssh-add {key}`" in (refusal(host.host, identity))
        )
    give(agent, key, PASSPHRASE)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    assert enters(host.host, Identity(key)) and enters(host.host)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    config.write_text(f"IdentityFile {key}\nIdentityAgent {agent}\n")
    assert enters(host.host)
    config.write_text(f"IdentityFile {key}\n")
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return PASSPHRASE

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", ask)
    assert enters(host.host) and enters(host.host)
    assert asked == [f"passphrase of {key}: "]


def test_an_agent_with_many_keys_differs_from_a_wrong_key(
    host: Server, config: Path, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSH hangs up at the sixth key; IdentitiesOnly picks the right one of the same agent."""
    keys = [tmp_path / f"key-{number}" for number in range(8)]
    lines = [make_key(key) for key in keys]
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    give(agent, keys[0])
    assert "it refused 1 key of your agent for user" in refusal(host.host)
    for key in keys[1:]:
        give(agent, key)
    host.authorize(lines[7])
    message = refusal(host.host)
    assert (
        "of your keys, before the right one had its turn" in message and "IdentitiesOnly" in message
    )
    config.write_text(f"IdentityFile {keys[7]}\nIdentitiesOnly yes\n")
    assert enters(host.host)
    config.write_text("IdentityFile none\n")
    keys[7].unlink()
    assert enters(host.host, Identity(keys[7]))  # the agent has it


def test_no_key_and_a_wrong_key_are_different_messages(
    host: Server, config: Path, tmp_path: Path
) -> None:
    assert "you have no SSH key: no agent runs" in refusal(host.host)
    make_key(tmp_path / "work")
    config.write_text(f"IdentityFile {tmp_path}/work\n")
    message = refusal(host.host)
    assert (
        f"it refused the key {tmp_path}/work for user {USER}" in message and "`ssh_keys`" in message
    )


@pytest.mark.soak
def test_a_file_that_is_no_key_is_named_if_chosen(
    host: Server, config: Path, tmp_path: Path
) -> None:
    """Old files in ~/.ssh are in nobody's way."""
    host.authorize(make_key(tmp_path / "work"))
    (tmp_path / "old").write_text("no key\n")
    config.write_text(f"IdentityFile {tmp_path}/old\nIdentityFile {tmp_path}/work\n")
    assert enters(host.host)
    assert f"{tmp_path}/old is no private key" in refusal(host.host, Identity(tmp_path / "old"))


@pytest.mark.soak
def test_a_certificate_opens_the_host(host: Server, config: Path, tmp_path: Path) -> None:
    """The server knows the authority alone. The certificate stands next to the key, or
    CertificateFile names it."""
    authority, key = tmp_path / "authority", tmp_path / "work"
    host.authorize(f"cert-authority {make_key(authority)}")
    make_key(key)
    config.write_text(f"IdentityFile {key}\n")
    assert "it refused" in refusal(host.host)
    run("ssh-keygen", "-q", "-s", authority, "-I", "ada", "-n", USER, f"{key}.pub")
    assert enters(host.host)
    ssh_keys._opened.clear()
    shutil.move(f"{key}-cert.pub", tmp_path / "certificate.pub")
    config.write_text(f"IdentityFile {key}\nCertificateFile {tmp_path}/certificate.pub\n")
    assert enters(host.host)


def through(
    servers: list[Server], config: Path, key: Path, known: bool = True, port: int = 22
) -> Host:
    """The second machine, behind the first one: `Host` sections as people write them."""
    jump, host = servers
    known_hosts = config.with_name("known_hosts")
    known_hosts.write_text(
        f"[{jump.address}]:{port} {jump.key}\n{jump.address} {jump.key}\n" if known else ""
    )
    config.write_text(
        f"Host bastion\n  HostName {jump.address}\n  Port {port}\n  User {USER}\n "
        f" UserKnownHostsFile {known_hosts}\nHost {host.address}\n  ProxyJump bastion\nHost *\n "
        f" IdentityFile {key}\n"
    )
    return host.host


def test_a_host_is_reached_through_a_jump_host(
    servers: list[Server],
    config: Path,
    agent: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ProxyJump, an alias, and a key with a passphrase that is in the agent; both let the same key
    in."""
    line = make_key(tmp_path / "work", PASSPHRASE)
    for one in servers:
        one.authorize(line)
    give(agent, tmp_path / "work", PASSPHRASE)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    there = through(servers, config, tmp_path / "work")
    blob = tmp_path / "blob"
    blob.write_bytes(os.urandom(3_000_000))
    with session(there) as connection:
        text = (
            'import json, sys; print(json.dumps({"result": {"got": len(sys.stdin.buffer.read())}}))'
        )
        assert connection.run({}, program=doing(text), blob=blob) == {"got": 3_000_000}
    assert f"Accepted publickey for {USER} from {servers[0].address} " in servers[1].log()
    wrong = replace(there, host_keys=(servers[0].key,))
    assert "its host key is not the one in the contract" in refusal(wrong)


def test_a_whole_deploy_goes_through_a_jump_host(
    stack: Stack,
    servers: list[Server],
    config: Path,
    agent: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`fab status`, `deploy` and `logs` from a machine of somebody who has the contract and a key
    in an agent."""
    line = make_key(tmp_path / "work", PASSPHRASE)
    for one in servers:
        one.authorize(line)
    give(agent, tmp_path / "work", PASSPHRASE)
    through(servers, config, tmp_path / "work")
    contract = json.loads(stack.fab("outputs").stdout)
    for role in ("frontend", "backend"):
        contract[role]["hosts"][0]["user"] = USER
    (tmp_path / "contract.json").write_text(json.dumps(contract))
    away = Kit(
        tmp_path / "another-home", {"SSH_AUTH_SOCK": str(agent), ssh_config.FILE: str(config)}
    )
    for words in (("status",), ("deploy", "--restart"), ("logs", "--lines", "2")):
        assert "backend-1" in away.fab(*words, "--outputs", str(tmp_path / "contract.json")).stdout


def test_a_way_that_leads_nowhere_names_the_jump_host(
    servers: list[Server], config: Path, tmp_path: Path
) -> None:
    """A jump host that is not known, allows nobody, can't reach the host, or is not there: four
    messages."""
    jump, host = servers
    line = make_key(tmp_path / "work")
    host.authorize(line)
    there = through(servers, config, tmp_path / "work", known=False)
    assert "the way through bastion failed: its host key is not in known_hosts" in refusal(there)
    there = through(servers, config, tmp_path / "work")
    assert "Permission denied (publickey); does `ssh bastion` work?" in refusal(there)
    jump.authorize(line)
    assert enters(there)
    assert "it can't reach the host (connect failed: Connection refused)" in refusal(
        replace(there, port=2222)
    )
    there = through(servers, config, tmp_path / "work", port=2222)
    assert "Connection refused; does `ssh bastion` work?" in refusal(there)


RELAY = """
import os, socket, sys, threading

there = socket.create_connection((sys.argv[1], int(sys.argv[2])))

def back():
    while data := there.recv(65536):
        os.write(1, data)

threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 65536):
    there.sendall(data)
"""


@pytest.mark.soak
def test_a_proxy_command_is_a_way_too(host: Server, config: Path, tmp_path: Path) -> None:
    """Its tokens are those of ssh_config(5)."""
    host.authorize(make_key(tmp_path / "work"))
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    config.write_text(f"IdentityFile {tmp_path}/work\nProxyCommand python3 {relay} %h %p\n")
    assert enters(host.host)


def test_a_configuration_that_openssh_refuses_is_one_message(host: Server, config: Path) -> None:
    config.write_text("NoSuchThing yes\n")
    message = refusal(host.host)
    assert message.startswith("your SSH configuration can't be used: ")
    assert "nosuchthing" in message.lower()


def test_machines_of_the_kit_leave_the_configuration_alone(
    host: Server, config: Path, tmp_path: Path
) -> None:
    """A `Host *` with a jump host is for other people's machines."""
    host.authorize(make_key(tmp_path / "kit"))
    config.write_text("Host *\n  ProxyJump nowhere.invalid\n")
    assert enters(host.host, Identity(tmp_path / "kit", own_config=False))


def test_nothing_of_a_way_is_left(servers: list[Server], config: Path, tmp_path: Path) -> None:
    """When the session ends, so does the process that led to it."""
    line = make_key(tmp_path / "work")
    for one in servers:
        one.authorize(line)
    with session(through(servers, config, tmp_path / "work")) as there:
        process = there.connection.jump._process
        assert process.poll() is None
    assert process.poll() is not None


@pytest.mark.soak
def test_a_mute_jump_host_times_out(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "CONNECT_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        config.write_text(f"ProxyJump 127.0.0.1:{mute.getsockname()[1]}\nIdentityFile none\n")
        there = Host(
            "backend-1", "192.0.2.1", 22, USER, ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHV1",)
        )
        with pytest.raises(ConnectError):
            enters(there)
