"""Run the kit as a person does, and look at what is there afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import yaml

from infra.core.contract import Contract, Host

ROOT = Path(__file__).parents[2]
OLD = "http://localhost:7001"
FAB = str(Path(sys.executable).with_name("fab"))


@dataclass(frozen=True)
class Kit:
    """A home of its own, so that tests never touch the environments of whoever runs them."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ORIGIN_KIT_HOME": str(self.home), **self.variables}

    def fab(
        self,
        *words: str,
        status: int | None = 0,
        cwd: Path = ROOT,
        timeout: float = 300,
        within: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """`fab WORDS`, its output as text. Asserts the exit status unless it is None.

        `within` is a command that runs it, e.g. `unshare` with its options.
        """
        done = subprocess.run(
            [*within, FAB, *words],
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert status in (
            None,
            done.returncode,
        ), f"fab {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def contract(self, stack: str) -> Contract:
        return Contract.from_json(json.loads(self.fab("outputs", "--stack", stack).stdout))

    def pids(self, name: str) -> list[int]:
        """The first process of each machine of this name, as this host numbers it."""
        return [
            json.loads(record.read_text())["pid"]
            for record in self.home.glob(f"machines/*{name}*/machine.json")
        ]

    def ssh(self, host: Host, command: str, check: bool = True) -> str:
        """Run a shell command as root on a host, through SSH, with the contract's key and no
        other."""
        known = self.home.with_name(f"{self.home.name}-known-{host.name}-{host.address}")
        known.write_text("".join(f"{host.address} {key}\n" for key in host.host_keys))
        options = [
            "-oBatchMode=yes",
            "-oIdentityAgent=none",
            f"-oUserKnownHostsFile={known}",
            "-oStrictHostKeyChecking=yes",
            "-oConnectTimeout=10",
        ]
        words = [
            "ssh",
            *options,
            "-i",
            str(self.home / "ssh" / "id_ed25519"),
            f"{host.user}@{host.address}",
            "sudo -n sh",
        ]
        done = subprocess.run(
            words, input=command, capture_output=True, text=True, timeout=120, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout


class Stack:
    """A stack file of this test's own, gone when the test is; `usual` keys stand in it unless asked
    otherwise."""

    def __init__(self, kit: Kit, name: str = "", **usual: object) -> None:
        self.kit = kit
        self.name = name or f"test-{uuid4().hex[:6]}"
        self.path = ROOT / "stacks" / f"Pulumi.{self.name}.yaml"
        self.usual = usual
        self.write()

    def write(self, **config: object) -> None:
        """The local stack's config with the usual keys and these on top."""
        config = self.usual | config
        base = yaml.safe_load((ROOT / "stacks" / "Pulumi.local.yaml").read_text())["config"]
        self.path.write_text(
            yaml.safe_dump(
                {"config": base | {f"origin-kit:{key}": value for key, value in config.items()}}
            )
        )

    @classmethod
    @contextmanager
    def of(cls, kit: Kit, name: str = "", **usual: object) -> Iterator[Stack]:
        made = cls(kit, name, **usual)
        try:
            yield made
        finally:
            made.write()
            made.fab("down", "--yes", status=None)
            made.path.unlink()

    def fab(
        self, verb: str, *words: str, status: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        return self.kit.fab(verb, "--stack", self.name, *words, status=status)

    def started(
        self, verb: str, *words: str, stderr: int | None = subprocess.PIPE, alone: bool = False
    ) -> subprocess.Popen[str]:
        """`fab VERB WORDS` under way, its output a pipe; `alone`: in a process group of its own,
        which takes signals as a terminal's does."""
        return subprocess.Popen(
            [FAB, verb, "--stack", self.name, *words],
            cwd=ROOT,
            env=self.kit.environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=alone,
        )

    @property
    def contract(self) -> Contract:
        return self.kit.contract(self.name)

    def processes(self) -> str:
        """Main process and start time of each service on every host."""
        question = (
            "systemctl show -p MainPID,ExecMainStartTimestampMonotonic nginx.service shop.service"
        )
        return "".join(self.kit.ssh(host, question) for _, host in self.contract.hosts)


def unwrapped(text: str) -> str:
    """The text on one line: a report breaks its sentences at 80 columns."""
    return " ".join(text.split())


def manage(app: str, words: str) -> str:
    """The shell command for `manage.py WORDS` as the application's user, with the settings that
    gunicorn runs under."""
    settings = (
        "PYTHONPATH=/etc/origin-kit/current/django DJANGO_SETTINGS_MODULE=origin_kit_settings "
        f"ORIGIN_KIT_RELEASE=/opt/{app}/current ORIGIN_KIT_DATA=/var/lib/{app}"
    )
    return (
        f"cd /opt/{app}/current/app && sudo -u {app} env {settings} ../venv/bin/python manage.py"
        f" {words}"
    )


def copy_of_the_checkout(folder: Path) -> Path:
    """What runs of this checkout, somewhere else."""
    ignored = shutil.ignore_patterns("__pycache__", "artifacts")
    for name in ("infra", "ansible-free-deploy", "stacks", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("Pulumi.yaml", "pyproject.toml", "uv.lock", "fabfile.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@contextmanager
def a_copy_of_the_example() -> Iterator[Path]:
    """The example backend in a folder below the repository, where a stack can name it."""
    copy = ROOT / "artifacts" / f"backend-{uuid4().hex[:6]}"
    shutil.copytree(
        ROOT / "examples" / "backend", copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    try:
        yield copy
    finally:
        shutil.rmtree(copy)
