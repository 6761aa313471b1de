"""Certificates of the user's own CA and of files on real machines: how they come, are replaced, and
go back. What a page does over https is test_browser.py's."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from infra.core.contract import Contract, Host
from on_host import protocol
from rollout import change, deploy, outputs
from tests.support.certificates import DAY, Authority, Issued
from tests.support.kit import ROOT, Kit, Stack
from tests.support.sampling import sampled

pytestmark = pytest.mark.machines

TEST_CA = Authority.root("Test Root")
STEPS = ["certificate", "check-certificate", "switch-certificate", "reload-nginx"]


@dataclass
class Pair:
    """A pair of machines with https, and what was printed when it came up."""

    stack: Stack
    said: str

    def trusting(self) -> ssl.SSLContext:
        """Trusts the user's own CA and nothing else."""
        return ssl.create_default_context(cafile=str(self.stack.kit.home / "tls/ca.pem"))

    def own_files(self, role: str) -> Path:
        return self.stack.kit.home / "tls/pairs" / f"{self.stack.name}.{role}.pem"

    def served(self, role: str) -> dict[str, object]:
        """What `fab tls.show` says of the role's host."""
        shown = json.loads(self.stack.fab("tls.show", "--json", status=None).stdout)
        return dict(shown[f"{role}-1"])

    def nginx(self) -> str:
        """The main process of each host's nginx, which a reload leaves."""
        question = "systemctl show -p MainPID,ExecMainStartTimestampMonotonic nginx.service"
        return "".join(self.stack.kit.ssh(host, question) for _, host in self.stack.contract.hosts)

    def generations(self) -> list[str]:
        status = json.loads(self.stack.fab("status", "--json", status=None).stdout)
        return [host["generation"] for host in status.values()]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two bare IPs, as in the stack `local-https`."""
    with Stack.of(Kit(tmp_path_factory.mktemp("https") / "home")) as stack:
        config = yaml.safe_load((ROOT / "stacks/Pulumi.local-https.yaml").read_text())["config"]
        stack.usual = {key.removeprefix("origin-kit:"): value for key, value in config.items()}
        stack.write()
        said = stack.fab("up").stdout
        yield Pair(stack, said)


def asked(contract: Contract) -> tuple[str, str]:
    """What both roles answer with 200."""
    return f"{contract.frontend.origin}/", f"{contract.backend.origin}/api/products/"


def test_up_ends_on_https_for_bare_ips(pair: Pair) -> None:
    """Verified with the own CA, which `fab up` says how to trust; a second one changes nothing."""
    assert "to trust it:" in pair.said
    assert "update-ca-certificates" in pair.said
    contract = pair.stack.contract
    for url in asked(contract):
        assert re.match(r"https://[\d.]+/", url)
        with urllib.request.urlopen(url, context=pair.trusting()) as answer:
            assert answer.status == 200
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(url)
    plain = contract.frontend.origin.replace("https:", "http:")
    with urllib.request.urlopen(plain, context=pair.trusting()) as answer:
        assert answer.url == f"{contract.frontend.origin}/"
    assert "unchanged" in pair.stack.fab("deploy").stdout
    status = pair.stack.fab("status").stdout
    assert "as the contract says" in status
    assert "origin-kit CA of" in status
    assert "364 days left" in status


def test_a_key_is_in_its_own_file_and_nowhere_else(pair: Pair) -> None:
    """Searched for: every file, log, process and unit of both hosts, and the home."""
    for role, host in pair.stack.contract.hosts:
        key = pair.own_files(role).read_text().splitlines()[1]
        everywhere = (
            f"grep -rlF '{key}' /etc /opt /var /run /home /root /tmp 2>/dev/null; journalctl"
            f" --no-pager -o cat | grep -cF '{key}'; systemctl show '*' --all | grep -F '{key}';"
            f" ps axww | grep -F '{key}' | grep -v grep"
        )
        found = pair.stack.kit.ssh(host, everywhere, check=False).split()
        lineage = pair.stack.contract.lineage(role)
        versions = f"/etc/origin-kit/tls/{lineage}/versions/"
        files = [one for one in found if one != "0"]
        assert len(files) == 1 and files[0].startswith(versions), found
        about = pair.stack.kit.ssh(host, f"stat -c '%a %U' {files[0]} {versions}").split()
        assert about == ["600", "root", "700", "root"]
        home = [path for path in pair.stack.kit.home.rglob("*") if path.is_file()]
        shared = [path for path in home if not {"machines", "bases"} & {*path.parts}]
        holding = [path for path in shared if key.encode() in path.read_bytes()]
        assert holding == [pair.own_files(role)]
    assert "PRIVATE" not in pair.stack.fab("outputs").stdout + pair.said


def test_another_certificate_is_a_reload_and_no_generation(pair: Pair) -> None:
    """Nothing restarts, no generation is written; `fab plan` says it before, and makes none."""
    before, nginx = pair.generations(), pair.nginx()
    serial = pair.served("backend")["serial"]
    for role in ("frontend", "backend"):
        pair.own_files(role).unlink()
    plan = pair.stack.fab("plan").stdout
    assert "another certificate: nginx reloads" in plan
    assert (
        "differs from the contract: run `fab deploy`" in pair.stack.fab("status", status=1).stdout
    )
    deployed = pair.stack.fab("deploy").stdout
    assert deployed.count("changed; new certificate") == 2
    assert "restarted" not in deployed
    assert (pair.generations(), pair.nginx()) == (before, nginx)
    now_served = pair.served("backend")
    assert now_served["serial"] != serial
    assert (now_served["served"], now_served["on_disk"]) == (True, True)
    assert "unchanged" in pair.stack.fab("deploy").stdout
    assert "replaced the certificate" in pair.stack.fab("history").stdout


def test_what_is_renewed_on_disk_and_not_served_is_seen(pair: Pair) -> None:
    """By a handshake: status 1, and the next deploy reloads."""
    host = pair.stack.contract.backend.hosts[0]
    folder = f"/etc/origin-kit/tls/{pair.stack.contract.lineage('backend')}"
    other = TEST_CA.issue(host.address)
    writes = (
        f"set -e; cp -a {folder}/versions/$(basename $(readlink {folder}/current))"
        f" {folder}/versions/99; cd {folder}; cat > versions/99/chain.pem <<'E'\n{other.pem}E\n"
        f"cat > versions/99/key.pem <<'E'\n{other.key}E\nln -sfn versions/99 current"
    )
    pair.stack.kit.ssh(host, writes)
    status = pair.stack.fab("status", status=1).stdout
    assert "serves another certificate than the one on its disk: run `fab deploy`" in status
    assert "changed; new certificate" in pair.stack.fab("deploy").stdout
    assert "as the contract says" in pair.stack.fab("status").stdout


@contextmanager
def loaded(pair: Pair) -> Iterator[outputs.Outputs]:
    """The stack's outputs, as verbs in this process read them."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ORIGIN_KIT_HOME", str(pair.stack.kit.home))
    try:
        yield outputs.load(pair.stack.name)
    finally:
        patch.undo()


@pytest.mark.parametrize("step", sampled(STEPS, ["reload-nginx"]))
def test_a_kill_at_a_step_leaves_one_of_the_two(pair: Pair, step: str) -> None:
    """SIGKILL just before the step; then the same deploy goes through."""
    for role in ("frontend", "backend"):
        pair.own_files(role).unlink()
    with loaded(pair) as found:
        with pytest.raises(change.ChangeError, match="the work on the host was killed"):
            deploy.run_on_all_hosts(found, protocol.DEPLOY, die_at=step)
        for url in asked(found.contract):
            with urllib.request.urlopen(url, context=pair.trusting()) as answer:
                assert answer.status == 200
        deploy.run_on_all_hosts(found, protocol.DEPLOY)
    assert "as the contract says" in pair.stack.fab("status").stdout


@pytest.mark.soak
@pytest.mark.parametrize("step", ["switch-certificate", "reload-nginx"])
def test_a_pulled_plug_boots_into_the_certificate_before(pair: Pair, step: str) -> None:
    """The machines die with no shutdown: the boot puts the link back, and what it finds serves."""
    before = {role: pair.served(role)["serial"] for role in ("frontend", "backend")}
    for role in before:
        pair.own_files(role).unlink()
    with loaded(pair) as found:
        with pytest.raises(change.ChangeError):
            deploy.run_on_all_hosts(found, protocol.DEPLOY, die_at=step)
        for pid in pair.stack.kit.pids("-1"):
            os.kill(pid, signal.SIGKILL)
        engine = [sys.executable, "-m", "infra.local.engine", "up", "--stack", pair.stack.name]
        environment = pair.stack.kit.environment
        subprocess.run(engine, cwd=ROOT, env=environment, check=True, capture_output=True)
        assert {role: pair.served(role)["serial"] for role in before} == before
        deploy.run_on_all_hosts(found, protocol.DEPLOY)
    assert pair.served("backend")["serial"] != before["backend"]
    assert "as the contract says" in pair.stack.fab("status").stdout


def test_a_generation_and_a_pair_go_back_together(pair: Pair) -> None:
    """Killed after both were switched; whoever comes next wants the old ones, and has them."""
    before = pair.generations()
    serial = pair.served("backend")["serial"]
    kept = {role: pair.own_files(role).read_text() for role in ("frontend", "backend")}
    for role in kept:
        pair.own_files(role).unlink()
    pair.stack.write(max_age_s=77)
    with loaded(pair) as found, pytest.raises(change.ChangeError):
        deploy.run_on_all_hosts(found, protocol.DEPLOY, die_at="probe")
    pair.stack.write()
    for role, text in kept.items():
        pair.own_files(role).write_text(text)
    pair.stack.fab("deploy")
    assert pair.generations() == before
    assert pair.served("backend")["serial"] == serial
    assert "as the contract says" in pair.stack.fab("status").stdout


@contextmanager
def secrets_of(stack: Stack, **values: str) -> Iterator[None]:
    """The stack's secrets file."""
    path = ROOT / "stacks" / f"{stack.name}.secrets"
    lines = [f"{name}={value}".replace("\n", "\\n") for name, value in values.items()]
    try:
        path.touch(0o600)
        path.write_text("\n".join([*lines, ""]))
        yield
    finally:
        path.unlink()


def issued(host: Host, left_days: int) -> Issued:
    """A certificate of 90 days for the host's address, so many of them left."""
    left = left_days * DAY
    return TEST_CA.issue(host.address, starts=left - 90 * DAY, ends=left)


def in_files(pairs: dict[str, Issued]) -> dict[str, str]:
    found: dict[str, str] = {}
    for role, one in pairs.items():
        found |= {f"{role}_chain": one.pem + TEST_CA.pem, f"{role}_key": one.key}
    return found


def test_files_bring_their_own_certificates(pair: Pair) -> None:
    """From the secrets file, checked before anything is sent; they age as all do."""
    contract = pair.stack.contract
    hosts = {"frontend": contract.frontend.hosts[0], "backend": contract.backend.hosts[0]}
    good = {role: issued(host, 89) for role, host in hosts.items()}
    pair.stack.write(tls="files")
    try:
        missing = pair.stack.fab("deploy", status=2).stderr
        assert "frontend_chain: not set, and tls is files" in missing
        before = pair.generations()
        mixed = in_files(good) | {"backend_key": good["frontend"].key}
        with secrets_of(pair.stack, **mixed):
            refused = pair.stack.fab("deploy", status=2).stderr
            assert "backend_key: the key of another certificate than the first one" in refused
            assert good["frontend"].key.splitlines()[1] not in refused
        assert pair.generations() == before
        with secrets_of(pair.stack, **in_files(good)):
            deployed = pair.stack.fab("deploy").stdout
            assert "new certificate" in deployed
            assert "certificate of Test Root: 88 days left" in deployed
            shown = pair.stack.fab("tls.show").stdout
            assert "Test Root" in shown and "88 days left" in shown
        old = {role: issued(host, 15) for role, host in hosts.items()}
        with secrets_of(pair.stack, **in_files(old)):
            pair.stack.fab("deploy")
            status = pair.stack.fab("status", status=1).stdout
            assert "certificate 14 days left: set a new chain and key" in status
            assert (
                json.loads(pair.stack.fab("tls.show", "--json", status=1).stdout)["backend-1"][
                    "state"
                ]
                == "warning"
            )
    finally:
        pair.stack.write()
        pair.stack.fab("deploy")
    for role, host in hosts.items():
        lineages = pair.stack.kit.ssh(host, "ls /etc/origin-kit/tls").split()
        assert contract.lineage(role) in lineages
