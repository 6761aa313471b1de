"""Who does the job: the kit, Ansible and pyinfra, each as one command line with an environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import Any

from infra.core.contract import Contract
from tests.bench.peers import job
from tests.support.kit import FAB, ROOT, Stack

HERE = Path(__file__).parent
PEERS = {"Ansible": "ansible-core", "pyinfra": "pyinfra"}


Contender = Callable[[Path], bool]


@dataclass(frozen=True)
class Bench:
    """What all contenders have in common: the machines, a folder for what they write, the peers'
    environments."""

    stack: Stack
    folder: Path

    @property
    def key(self) -> Path:
        return self.stack.kit.home / "ssh" / "id_ed25519"

    def program(self, peer: str, name: str) -> str:
        return str(self.folder / "venvs" / peer / "bin" / name)

    def install(self) -> dict[str, str]:
        """Each peer in a throw-away environment of its own; their versions."""
        return {peer: self._install(peer, package) for peer, package in PEERS.items()}

    def _install(self, peer: str, package: str) -> str:
        python = self.program(peer, "python")
        subprocess.run(
            [sys.executable, "-m", "venv", str(self.folder / "venvs" / peer)], check=True
        )
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", package],
            check=True,
        )
        question = f"import importlib.metadata as m; print(m.version({package!r}))"
        return subprocess.run(
            [python, "-c", question], check=True, capture_output=True, text=True
        ).stdout.strip()

    def contenders(self) -> dict[str, Contender]:
        """Name → the work, which gets the folder that `prepare` made and returns whether anything
        changed, as it says."""
        return {"ours": self.ours, **{peer: getattr(self, peer.lower()) for peer in PEERS}}

    def ours(self, work: Path) -> bool:
        """All hosts at once, as the peers do it."""
        return self.one_by_one(work, "--batch", str(len(self.hosts(work))))

    def one_by_one(self, work: Path, *more: str) -> bool:
        words = [
            FAB,
            "deploy",
            "--stack",
            self.stack.name,
            "--outputs",
            str(work / "outputs.json"),
            *more,
        ]
        return bool(re.search(r"  changed\b", run(words, self.stack.kit.environment)))

    def bare(self, work: Path) -> bool:
        """What a change costs the hosts whoever asks for it: only the checks, restarts and
        questions, by plain ssh."""
        for word, host in self.hosts(work).items():
            check = shlex.join(["sh", "-c", (HERE / "check.sh").read_text(), "check", host["app"]])
            # Without the new one, which is not there: no file is.
            asked = {**host["probes"], "allowed": host["probes"]["allowed"][:-1]}
            probe = shlex.join(
                ["python3", "-c", (HERE / "probe.py").read_text(), json.dumps(asked)]
            )
            restarts = [f"systemctl restart {unit}" for unit in (host["app"], "nginx")]
            (work / word / "bare.sh").write_text(
                " && ".join([check, "systemctl daemon-reload", *restarts, probe])
            )
        said = run(["sh", "-c", "\n".join([*self._side_by_side(work), "wait"])], dict(os.environ))
        if "failed" in said:
            raise SystemExit(said[-4000:])
        return True

    def _side_by_side(self, work: Path) -> Iterator[str]:
        for word, host in self.hosts(work).items():
            key, options = host["ansible_ssh_private_key_file"], host["ansible_ssh_common_args"]
            where = f"-p {host['ansible_port']} {host['ansible_user']}@{host['ansible_host']}"
            yield (
                f"(ssh -i {key} {options} {where} sudo -n sh < {work / word / 'bare.sh'} || echo"
                " failed) &"
            )

    def hosts(self, work: Path) -> dict[str, dict[str, Any]]:
        """What Ansible gets to know of each host."""
        found: dict[str, dict[str, Any]] = json.loads((work / "inventory.json").read_text())["all"][
            "hosts"
        ]
        return found

    def ansible(self, work: Path) -> bool:
        words = [
            self.program("Ansible", "ansible-playbook"),
            "-i",
            str(work / "inventory.json"),
            str(work / "site.yml"),
        ]
        environment = {
            **os.environ,
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_FORKS": str(len(self.hosts(work))),
            "ANSIBLE_STRATEGY": "free",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=10m",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.control),
        }
        return bool(re.search(r"changed=[1-9]", run(words, environment)))

    @property
    def control(self) -> Path:
        """Where Ansible's SSH connections wait for its next run."""
        return self.folder / "c"

    def pyinfra(self, work: Path) -> bool:
        words = ["-y", str(work / "inventory.py"), str(HERE / "pyinfra" / "deploy.py")]
        said = run([self.program("pyinfra", "pyinfra"), *words], dict(os.environ))
        return bool(re.search(r"Grand total +\d+ +[1-9]", said))

    def prepare(self, work: Path, contract: Contract) -> None:
        """The job for `contract` in a folder, with what each peer wants to know of the hosts."""
        work.mkdir()
        job.write(work, contract)
        known = work / "known_hosts"
        known.write_text(job.known_hosts(contract))
        for name in ("check.sh", "probe.py"):
            (work / name).write_text((HERE / name).read_text())
        (work / "site.yml").write_text((HERE / "ansible" / "site.yml").read_text())
        (work / "inventory.json").write_text(
            json.dumps(self._ansible_inventory(work, contract, known))
        )
        (work / "inventory.py").write_text(
            f"hosts = {self._pyinfra_inventory(work, contract, known)!r}\n"
        )

    def _ansible_inventory(self, work: Path, contract: Contract, known: Path) -> object:
        def facts(name: str) -> dict[str, object]:
            job = json.loads((work / name / "job.json").read_text())
            return {key: job[key] for key in ("app", "absent", "probes")}

        options = (
            f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
        )
        hosts = {
            host.name: {
                "ansible_host": host.address,
                "ansible_port": host.port,
                "ansible_user": host.user,
                "ansible_ssh_private_key_file": str(self.key),
                "ansible_ssh_common_args": options,
                "job": str(work / host.name),
                **facts(host.name),
            }
            for _, host in contract.hosts
        }
        return {"all": {"hosts": hosts}}

    def _pyinfra_inventory(self, work: Path, contract: Contract, known: Path) -> object:
        return [
            (
                host.name,
                {
                    "ssh_hostname": host.address,
                    "ssh_port": host.port,
                    "ssh_user": host.user,
                    "ssh_key": str(self.key),
                    "ssh_known_hosts_file": str(known),
                    "ssh_strict_host_key_checking": "yes",
                    "ssh_look_for_keys": False,
                    "ssh_allow_agent": False,
                    "_sudo": True,
                    "job": str(work / host.name),
                },
            )
            for _, host in contract.hosts
        ]


def run(words: list[str], environment: dict[str, str]) -> str:
    """What it says. Where it fails that ends the bench: a contender that fails is never the faster
    one."""
    # A session of its own: Ansible's forks outlive it where only the first process is ended.
    with Popen(
        words,
        cwd=ROOT,
        env=environment,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        start_new_session=True,
    ) as done:
        try:
            said, _ = done.communicate()
        except BaseException:
            os.killpg(done.pid, signal.SIGKILL)
            raise
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.returncode}\n{said[-4000:]}")
    return said
