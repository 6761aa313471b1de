"""The operator's own SSH configuration for a host, as OpenSSH itself evaluates it.

`ssh -G` evaluates `Host`, `Match`, `Include` and the defaults of ssh_config(5). What is taken over:
HostName, Port, IdentityFile, CertificateFile, IdentitiesOnly, IdentityAgent, ProxyJump and
ProxyCommand. User is not: the contract's wins, as it does with `ssh USER@HOST`. The address needs
no trust: the contract pins the host's keys.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.core.contract import Host

# Names a file in place of ~/.ssh/config and /etc/ssh/ssh_config, or `none`.
FILE = "ORIGIN_KIT_SSH_CONFIG"
_LIMIT_S = 10
_DEFAULT_PORT = 22


@dataclass(frozen=True)
class SshConfig:
    """The settings for one host. `identities` are files that exist; `agent` is a socket, `none`, or
    empty: usual."""

    hostname: str
    port: int
    identities: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    identities_only: bool = False
    agent: str = ""
    proxy_jump: str = ""
    proxy_command: str = ""


def read(host: Host) -> SshConfig:
    """The settings for this host; none where OpenSSH is not on PATH. Raises ValueError where they
    can't be used."""
    if shutil.which("ssh") is None:
        return SshConfig(host.address, host.port)
    words = ["ssh", "-G", *file_words()]
    if host.port != _DEFAULT_PORT:
        words += ["-p", str(host.port)]
    words += ["-l", host.user, "--", host.address]
    answer = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if answer.returncode:
        lines = answer.stderr.strip().splitlines() or [f"status {answer.returncode}"]
        raise ValueError(f"your SSH configuration can't be used: {lines[0]}")
    return parse(answer.stdout)


def file_words() -> list[str]:
    """The option that names the configuration file to `ssh`."""
    name = os.environ.get(FILE)
    return ["-F", name] if name else []


def parse(text: str) -> SshConfig:
    """The settings that the lines of `ssh -G` give."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value.strip())

    def one(key: str) -> str:
        value = values.get(key, [""])[0]
        return "" if value == "none" and key != "identityagent" else value

    return SshConfig(
        hostname=one("hostname"),
        port=int(one("port")),
        identities=_files(values.get("identityfile", [])),
        certificates=_files(values.get("certificatefile", [])),
        identities_only=one("identitiesonly") == "yes",
        agent=_agent(one("identityagent")),
        proxy_jump=one("proxyjump"),
        proxy_command=one("proxycommand"),
    )


def _files(names: list[str]) -> tuple[Path, ...]:
    """Those that are there, with the tokens of ssh_config(5) that make sense in a file's name."""
    home = str(Path.home())
    paths: list[Path] = []
    for name in names:
        path = Path(name.replace("%d", home).replace("%%", "%")).expanduser()
        if path.is_file():
            paths.append(path)
    return tuple(paths)


def _agent(value: str) -> str:
    if value in ("", "SSH_AUTH_SOCK"):
        return ""
    if value.startswith("$"):
        return os.environ.get(value[1:], "none")
    if value == "none":
        return value
    return str(Path(value).expanduser())
