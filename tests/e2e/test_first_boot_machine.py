"""The first-boot text, booted for real: by Debian's cloud-init (NoCloud), and as a script where
there is none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from infra.core import home
from infra.core.contract import Host
from infra.core.first_boot import TRIES, FirstBoot, cloud_config, startup_script
from infra.local import image, nspawn
from infra.local.machines import NetworkProvider
from infra.local.networks import Network
from rollout import host_errors, hosts, ready
from rollout.ready import Clock
from tests.support.programs import doing

pytestmark = pytest.mark.machines


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base image with what a cloud's has, and nothing of the kit: no deploy user, no host key,
    no sshd rules."""
    tree = tmp_path_factory.mktemp("debian") / "tree"
    subprocess.run(["cp", "-a", str(image.ensure()), str(tree)], check=True)
    if image.first_user():
        back = ["--private-users=identity", "--private-users-ownership=chown"]
        give = [
            "systemd-nspawn",
            "-q",
            "-D",
            str(tree),
            *back,
            "--register=no",
            "--keep-unit",
            "/bin/true",
        ]
        subprocess.run(give, check=True, capture_output=True)
    for given in (
        "/etc/resolv.conf",
        "/etc/ssl/certs/ca-certificates.crt",
        *map(str, Path("/etc/apt/apt.conf.d").iterdir()),
    ):
        shutil.copy(given, tree / given[1:])
    install = (
        "set -e; export DEBIAN_FRONTEND=noninteractive; apt-get -q update; apt-get -q -y install"
        " --no-install-recommends cloud-init nftables; userdel -r deploy; rm -f"
        " /etc/sudoers.d/deploy /etc/ssh/sshd_config.d/origin-kit.conf /etc/ssh/ssh_host_*; rm -rf"
        " /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*"
    )
    done = subprocess.run(
        ["chroot", str(tree), "sh", "-c", install], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return tree


@dataclass
class Booted:
    """A machine of that tree, and the key that should open it."""

    machine: nspawn.Machine
    boot: FirstBoot
    key: Path

    @property
    def host(self) -> Host:
        return Host("backend-1", self.machine.address, 22, "deploy", (self.boot.host_public_key,))

    def enter(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As root inside, past SSH."""
        command = [
            "nsenter",
            "-t",
            str(self.machine.pid),
            "-a",
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            *words,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def root(self, command: str) -> str:
        """As root through SSH and sudo; the host key is pinned."""
        text = (
            "import json,subprocess;"
            " d=subprocess.run(['sh','-c',orders['c']],stdout=-1,stderr=-2,text=True)\n"
        )
        text += "print(json.dumps({'result': {'out': d.stdout}}))"
        with hosts.session(self.host, hosts.Identity(self.key)) as session:
            return str(session.run({"c": command}, program=doing(text))["out"])

    def ssh(self, user: str, *options: str) -> subprocess.CompletedProcess[str]:
        strict = [
            "-oBatchMode=yes",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-oConnectTimeout=5",
        ]
        command = [
            "ssh",
            *strict,
            *options,
            "-i",
            str(self.key),
            f"{user}@{self.machine.address}",
            "true",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@pytest.fixture
def start(
    debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, Callable[[Path, FirstBoot], None]], Booted]]:
    """Boots the tree for a cloud, after `prepare` has seen its root and what the first boot will be
    reported."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    networks = NetworkProvider()
    network = networks.create({"stack": "boot", "wanted_subnet": ""})
    assert network.outs is not None
    found = Network(network.outs["bridge"], network.outs["subnet"])
    made: list[nspawn.Machine] = []

    def start(metadata: str, prepare: Callable[[Path, FirstBoot], None]) -> Booted:
        key, host_key = tmp_path / "operator", tmp_path / "host"
        for path in (key, host_key):
            home.make_key(path, "x")
        public = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
        boot = FirstBoot(
            "backend-1",
            (key.with_suffix(".pub").read_text().strip(),),
            host_key.read_text(),
            public,
            metadata,
        )
        wanted = nspawn.Machine(
            id="boot",
            name="backend-1",
            container="okboot",
            address=found.address(1),
            bridge=found.bridge,
            image="x",
            memory_mb=512,
        )

        def furnish(machine: nspawn.Machine) -> nspawn.Machine:
            unit = machine.root / "etc/systemd/network/10-host0.network"
            unit.write_text(
                f"[Match]\nName=host0\n\n[Network]\nAddress={machine.address}/24\nLinkLocalAddressing=no\n"
            )
            prepare(machine.root, boot)
            return replace(machine, host_key=public)

        monkeypatch.setattr(nspawn, "_furnish", furnish)
        made.append(wanted)
        image.hold(wanted.image, debian)
        return Booted(nspawn.create(wanted), boot, key)

    try:
        yield start
    finally:
        for machine in made:
            nspawn.delete(machine.id)
        networks.delete(network.id, {})


def wait(booted: Booted) -> None:
    """As `fab up` does: until SSH answers with the pinned key and the first boot is done."""
    ready._one(booted.host, hosts.Identity(booted.key), 90, Clock())


def holds(booted: Booted) -> None:
    """What both clouds' texts promise."""
    assert booted.root(
        "id -u; hostname; cat /var/lib/origin-kit-first-boot/done && echo marked"
    ).split() == ["0", "backend-1", "marked"]
    assert booted.ssh("deploy").returncode == 0
    for user in ("root", "admin", "debian"):
        assert "Permission denied (publickey)" in booted.ssh(user).stderr
    password = booted.ssh(
        "deploy", "-oPubkeyAuthentication=no", "-oPreferredAuthentications=password"
    )
    assert "Permission denied (publickey)" in password.stderr
    assert "NP" not in booted.root("passwd -S deploy")
    assert booted.root("ls /etc/ssh/ssh_host_*").split() == [
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_ed25519_key.pub",
    ]
    assert booted.root("stat -c '%a %U' /etc/ssh/ssh_host_ed25519_key").strip() == "600 root"
    assert "No such file" in booted.root("ls /etc/nginx/sites-enabled/default")
    metadata_is_for_root(booted)


def metadata_is_for_root(booted: Booted) -> None:
    """A listener on the address of the metadata service: root gets through, nobody else does."""
    listen = (
        "ip addr add 169.254.169.254/32 dev lo; systemd-run -q --unit metadata python3 -c 'import"
        ' socket,time; s=socket.create_server(("169.254.169.254",80)); time.sleep(300)\'; until ss'
        " -Hlnt sport = :80 | grep -q 169.254; do sleep 0.05; done"
    )
    booted.root(listen)
    knock = (
        'python3 -c \'import socket; socket.create_connection(("169.254.169.254", 80), 3);'
        ' print("in")\' 2>&1 | tail -1'
    )
    assert booted.root(knock).strip() == "in"
    assert "Connection refused" in booted.root(f"sudo -u deploy sh -c {shell(knock)}")
    assert "Connection refused" in booted.root(f"sudo -u www-data sh -c {shell(knock)}")


def shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def test_cloud_init_makes_the_host_that_the_contract_names(
    start: Callable[[str, Callable[[Path, FirstBoot], None]], Booted],
) -> None:
    """AWS's user data, from NoCloud's folder."""

    def seed(root: Path, boot: FirstBoot) -> None:
        folder = root / "var/lib/cloud/seed/nocloud"
        folder.mkdir(parents=True)
        (folder / "user-data").write_text(cloud_config(boot))
        (folder / "meta-data").write_text("instance-id: i-1\n")
        (root / "etc/cloud/cloud.cfg.d/90-here.cfg").write_text(
            "datasource_list: [NoCloud]\nnetwork: {config: disabled}\nlocale: false\n"
        )

    booted = start("aws", seed)
    wait(booted)
    holds(booted)


@pytest.mark.soak
def test_the_startup_script_makes_the_same_host(
    start: Callable[[str, Callable[[Path, FirstBoot], None]], Booted],
) -> None:
    """Google's, run as its agent runs it, as root at every boot. Until then another host key
    answers: refused."""

    def prepare(root: Path, boot: FirstBoot) -> None:
        subprocess.run(["chroot", str(root), "ssh-keygen", "-q", "-A"], check=True)
        (root / "usr/bin/cloud-init").unlink()
        (root / "etc/cloud/cloud-init.disabled").touch()
        (root / "root/startup-script").write_text(startup_script(boot))

    booted = start("gcp", prepare)
    with (
        pytest.raises(host_errors.ConnectError, match="host key"),
        hosts.session(booted.host, hosts.Identity(booted.key)),
    ):
        pass
    for _ in range(2):
        done = booted.enter("sh", "/root/startup-script")
        assert done.returncode == 0, done.stdout + done.stderr
    wait(booted)
    holds(booted)
    changed = booted.root("stat -c %Y /etc/ssh/ssh_host_ed25519_key /etc/origin-kit-metadata.nft")
    assert booted.enter("sh", "/root/startup-script").returncode == 0
    assert (
        booted.root("stat -c %Y /etc/ssh/ssh_host_ed25519_key /etc/origin-kit-metadata.nft")
        == changed
    )


def test_a_first_boot_that_fails_is_reported_with_its_step(
    start: Callable[[str, Callable[[Path, FirstBoot], None]], Booted],
) -> None:
    """A package that can't be had: the operator can log in already, and the step's name reaches the
    one who waits."""

    def prepare(root: Path, boot: FirstBoot) -> None:
        subprocess.run(["chroot", str(root), "ssh-keygen", "-q", "-A"], check=True)
        (root / "usr/bin/cloud-init").unlink()
        (root / "etc/cloud/cloud-init.disabled").touch()
        text = startup_script(boot).replace("nftables sudo", "nothing-of-that-name")
        (root / "root/startup-script").write_text(text.replace(f"-le {TRIES}", "-le 2"))

    booted = start("gcp", prepare)
    assert booted.enter("sh", "/root/startup-script").returncode != 0
    with pytest.raises(host_errors.HostError, match="first boot failed: packages"):
        wait(booted)
