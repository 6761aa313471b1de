"""Run the kit as a person does, and look at what is there afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from infra.contract import Contract, Host

ROOT = Path(__file__).parents[2]
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
        self, *words: str, status: int | None = 0, cwd: Path = ROOT, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """`fab WORDS`, its output as text. Asserts the exit status unless it is None."""
        done = subprocess.run(
            [FAB, *words], cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert status in (None, done.returncode), (
            f"fab {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def contract(self, stack: str) -> Contract:
        return Contract.from_json(json.loads(self.fab("outputs", "--stack", stack).stdout))

    def ssh(self, host: Host, command: str, check: bool = True) -> str:
        """Run a shell command as root on a host, through SSH, with the contract's key and no other."""
        known = self.home / f"known-{host.name}-{host.address}"
        known.write_text("".join(f"{host.address} {key}\n" for key in host.host_keys))
        options = [
            "-oBatchMode=yes",
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
        done = subprocess.run(words, input=command, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout
