"""A way to a host through another one: OpenSSH makes it, with its own configuration, known hosts
and agent.

The jump host is trusted as far as `known_hosts` says. The host behind it has to show the key that
the contract pins all the same, so a jump host can keep a connection from coming about, and can't
read or change one.
"""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import tempfile
from typing import IO, Any

from infra.core.contract import Host
from rollout.ssh_config import SshConfig, file_words

_END_S = 5


class Jump:
    """A process that leads to the host; `socket` is its near end."""

    def __init__(
        self,
        host: Host,
        config: SshConfig,
        timeout_s: int,
    ) -> None:
        self.name = config.proxy_jump or "ProxyCommand"
        self.socket, far = socket.socketpair()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the way
        words = _command(host, config, timeout_s)
        self._process = subprocess.Popen(
            words,
            stdin=far.fileno(),
            stdout=far.fileno(),
            stderr=self._said,
        )
        far.close()

    def close(self) -> None:
        """End it. What it said is forgotten."""
        self.socket.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def problem(self) -> str | None:
        """Why it leads nowhere, in OpenSSH's words and with the next step; None while it runs."""
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return None
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        lines = []
        for line in said.splitlines():
            if line.strip():
                lines.append(line.strip())
        return f"the way through {self.name} failed: {_explain(self.name, lines)}"


def is_used(config: SshConfig) -> bool:
    """Whether the configuration leads through another host."""
    return bool(config.proxy_jump or config.proxy_command)


def _command(host: Host, config: SshConfig, timeout_s: int) -> list[str]:
    if not config.proxy_jump:
        values: dict[str, Any] = {
            "h": config.hostname,
            "p": config.port,
            "r": host.user,
            "n": host.address,
            "%": "%",
        }
        words = re.sub(
            "%([hprn%])", lambda found: shlex.quote(str(values[found[1]])), config.proxy_command
        )
        return ["/bin/sh", "-c", f"exec {words}"]
    *through, last = config.proxy_jump.split(",")
    batch = [] if sys.stdin.isatty() else ["-oBatchMode=yes"]
    hops = ["-J", ",".join(through)] if through else []
    target = f"[{config.hostname}]:{config.port}"
    return [
        "ssh",
        *file_words(),
        *batch,
        f"-oConnectTimeout={timeout_s}",
        *hops,
        "-W",
        target,
        "--",
        f"ssh://{last}",
    ]


def _explain(name: str, lines: list[str]) -> str:
    said = lines[-1].rstrip(".") if lines else "it ended without a word"
    text = "\n".join(lines)
    first = name.split(",")[-1]
    if "Host key verification failed" in text:
        return (
            f"its host key is not in known_hosts, or is another one; run `ssh {first}` once and"
            " compare it"
        )
    if "Permission denied" in text:
        return (
            f"{said}; does `ssh {first}` work? A key with a passphrase belongs in an agent"
            " (`ssh-add`)"
        )
    if refused := re.search(r"open failed: (.*)", text):
        return (
            f"it can't reach the host ({refused[1]}); is that running, and does its firewall"
            " (ssh_from) allow it?"
        )
    return f"{said}; does `ssh {first}` work?"
