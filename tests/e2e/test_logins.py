"""Who may log in, on real hosts: a colleague comes, leaves, and nobody locks themselves out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from infra.core.contract import Host
from tests.support.kit import Stack

pytestmark = pytest.mark.machines


def new_key(folder: Path, name: str) -> tuple[Path, str]:
    """A private key's file, and its public line."""
    path = folder / name
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name}@laptop", "-f", str(path)]
    subprocess.run(words, check=True)
    return path, path.with_suffix(".pub").read_text().strip()


def gets_in(host: Host, key: Path) -> bool:
    """Whether sshd takes this key and no other."""
    options = [
        "-oBatchMode=yes",
        "-oIdentitiesOnly=yes",
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
    ]
    words = [
        "ssh",
        *options,
        "-oIdentityAgent=none",
        "-i",
        str(key),
        f"{host.user}@{host.address}",
        "true",
    ]
    return subprocess.run(words, capture_output=True, timeout=60).returncode == 0


def test_the_hosts_take_the_keys_of_the_list_and_no_other(stack: Stack, tmp_path: Path) -> None:
    """Added: gets in on every host. Taken out: no longer, though its line had options. Twice:
    nothing to do. The key of the deploy itself stays, and the deploy says so, until somebody who is
    listed deploys."""
    own = (stack.kit.home / "ssh" / "id_ed25519.pub").read_text().strip()
    ada, ada_line = new_key(tmp_path, "ada")
    bob, bob_line = new_key(tmp_path, "bob")
    hosts = [host for _, host in stack.contract.hosts]
    file = tmp_path / "outputs.json"

    def fab(verb: str, *keys: str) -> str:
        file.write_text(json.dumps({**stack.contract.to_json(), "ssh_keys": keys}))
        return stack.kit.fab(verb, "--outputs", str(file)).stdout

    stack.kit.ssh(hosts[0], f"echo 'no-pty {bob_line}' >> /home/deploy/.ssh/authorized_keys")
    assert gets_in(hosts[0], bob)

    planned = fab("plan", own, ada_line)
    assert "+ssh-ed25519 SHA256:" in planned
    assert "-ssh-ed25519 SHA256:" in planned
    assert "ada@laptop" in fab("deploy", own, ada_line)
    assert [gets_in(host, ada) for host in hosts] == [True, True]
    assert not gets_in(hosts[0], bob)
    assert "allows" not in fab("deploy", own, ada_line)
    assert "as the contract says" in fab("status", own, ada_line)

    assert "keeps the key of this login, which ssh_keys does not list" in fab("deploy", ada_line)
    assert all(gets_in(host, stack.kit.home / "ssh" / "id_ed25519") for host in hosts)

    assert "no longer allows" in fab("deploy", own)
    assert not any(gets_in(host, ada) for host in hosts)
