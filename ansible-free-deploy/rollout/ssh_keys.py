"""Which of the operator's keys are offered to a host, in OpenSSH's order, and what to say where
none opens it."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.auth_strategy import AuthFailure, AuthStrategy, InMemoryPrivateKey, OnDiskPrivateKey

from rollout.ssh_config import SshConfig

_MANY = 5  # keys; OpenSSH's MaxAuthTries allows six tries, and hangs up then
_asking = threading.Lock()  # several hosts at once need the same key: it is asked for once
_opened: dict[Path, paramiko.PKey] = {}


class NeedsPassphraseError(ValueError):
    """A key is encrypted, and there is no terminal to ask at."""


class Keys(AuthStrategy):  # type: ignore[misc]  # paramiko ships no types
    """Offers, one after the other: certificates, keys of the agent, files. `only` is a file that is
    to be used alone.

    Keys that the configuration names come first, as with OpenSSH; with IdentitiesOnly there are no
    others.
    """

    def __init__(
        self,
        user: str,
        config: SshConfig,
        only: Path | None = None,
    ) -> None:
        super().__init__(ssh_config=None)
        self.user, self.config, self.only = user, config, only
        self.locked: list[Path] = []  # encrypted, and nobody to ask

    def get_sources(self) -> Iterator[Any]:
        """One source a key; a file is opened only when its turn comes."""
        files = [self.only] if self.only else list(self.config.identities)
        agent = agent_keys(self.config.agent)
        in_agent = {key.get_base64() for key in agent}
        if not self.only:
            yield from self._certified(files)
        for key in self._of_agent(agent, files):
            yield InMemoryPrivateKey(self.user, key)
        for path in files:
            if public_text(path) in in_agent:
                continue
            opened = self._open(path)
            if opened:
                yield OnDiskPrivateKey(self.user, "ssh-config", path, opened)

    def _of_agent(self, agent: list[Any], files: list[Path]) -> list[Any]:
        """The agent's keys: those of the files first, then the others, where they may be used."""
        named = [public_text(path) for path in files]
        first = [key for key in agent if key.get_base64() in named]
        if self.only or self.config.identities_only:
            return first
        return [*first, *(key for key in agent if key not in first)]

    def _certified(self, files: list[Path]) -> Iterator[Any]:
        """Keys with a certificate: named by CertificateFile, or next to the key as NAME-cert.pub
        (ssh_config(5))."""
        for path in files:
            certificates = list(self.config.certificates)
            neighbour = path.with_name(f"{path.name}-cert.pub")
            if neighbour.is_file():
                certificates.append(neighbour)
            for certificate in certificates:
                opened = self._open(path) if certifies(certificate, path) else None
                if opened:
                    opened.load_certificate(str(certificate))
                    yield OnDiskPrivateKey(self.user, "ssh-config", path, opened)

    def _open(self, path: Path) -> paramiko.PKey | None:
        try:
            return load_key(path)
        except NeedsPassphraseError:
            if path not in self.locked:
                self.locked.append(path)
        except ValueError:
            if self.only:  # OpenSSH skips the others too: a kind of key that is no longer used
                raise
        return None


def agent_keys(at: str) -> list[Any]:
    """The keys of the agent: the usual one, or the one whose socket is `at`; none for `none` and
    where none runs."""
    if at == "none":
        return []
    if not at:
        return list(paramiko.Agent().get_keys())
    agent = paramiko.agent.AgentSSH()
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(at)
        agent._connect(connection)  # paramiko.Agent takes no address
    except (OSError, paramiko.SSHException):
        return []
    return list(agent.get_keys())


def public_text(path: Path) -> str | None:
    """The base64 of the public key that stands next to a private one."""
    try:
        return path.with_name(f"{path.name}.pub").read_text().split()[1]
    except (OSError, IndexError, UnicodeDecodeError):
        return None


def certifies(certificate: Path, path: Path) -> bool:
    """Whether the certificate is one of this key: CertificateFile may name several, for several
    keys."""
    try:
        blob = paramiko.pkey.PublicBlob.from_file(str(certificate))
        key = _opened[path] if path in _opened else paramiko.PKey.from_path(path)
    except paramiko.PasswordRequiredException:
        return True  # the server decides
    except (OSError, ValueError, TypeError, paramiko.SSHException):
        return False
    return bool(blob.key_type.startswith(key.get_name()))


def load_key(path: Path) -> paramiko.PKey:
    """A private key; its passphrase is asked for where there is a terminal, once for all hosts.

    Raises NeedsPassphraseError where there is none, ValueError that names the file and what is
    wrong with it.
    """
    with _asking:
        if path not in _opened:
            _opened[path] = _load(path)
        return _opened[path]


def _load(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except OSError as problem:
        raise ValueError(
            f"the key {path} can't be read: {problem.strerror}; see ORIGIN_KIT_SSH_KEY"
        ) from problem
    except (TypeError, paramiko.PasswordRequiredException):
        return _ask(path)
    except (ValueError, paramiko.SSHException, UnicodeDecodeError) as problem:
        raise ValueError(
            f"{path} is no private key ({problem}); see ORIGIN_KIT_SSH_KEY"
        ) from problem


def _ask(path: Path) -> paramiko.PKey:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NeedsPassphraseError(
            f"the key {path} has a passphrase, and there is no terminal to ask at: {ADD} {path}`"
        )
    for _ in range(3):
        passphrase = getpass.getpass(f"passphrase of {path}: ").encode()
        try:
            return paramiko.PKey.from_path(path, passphrase)
        except (ValueError, paramiko.SSHException):
            print("that is not its passphrase", file=sys.stderr)
    raise ValueError(f"the key {path} stays locked: {ADD} {path}`")


ADD = "give it to an agent with `ssh-add"


def explain(failure: AuthFailure) -> str:
    """Why no key opened the host: there is none, they are locked, they are too many, or they are
    others."""
    keys: Keys = failure.result.strategy
    offered = []
    for source, answer in failure.result:
        if not _cut(answer):
            offered.append(source)
    cut = len(offered) < len(failure.result)
    if not failure.result and keys.locked:
        names = ", ".join(map(str, keys.locked))
        return (
            f"your key {names} has a passphrase, and there is no terminal to ask at: {ADD}"
            f" {keys.locked[0]}`"
        )
    if not failure.result:
        agent = "your agent holds none" if os.environ.get("SSH_AUTH_SOCK") else "no agent runs"
        return (
            f"you have no SSH key: {agent}, and ~/.ssh has none; make one with `ssh-keygen`, or set"
            " ORIGIN_KIT_SSH_KEY"
        )
    if cut and len(offered) >= _MANY:
        return (
            f"it hung up after {len(offered)} of your keys, before the right one had its turn: set"
            " ORIGIN_KIT_SSH_KEY, or IdentityFile and IdentitiesOnly for it in ~/.ssh/config"
        )
    if cut:
        return (
            f"it hung up during the login ({failure.result[-1].result}); is it starting, or out of"
            " memory? try again"
        )
    also = f"; {keys.locked[0]} was not tried: {ADD} {keys.locked[0]}`" if keys.locked else ""
    return (
        f"it refused {_names(offered)} for user {keys.user}{also}; `ssh_keys` in the stack's config"
        " says who may log in"
    )


def _cut(answer: Any) -> bool:
    """Whether the server ended the connection instead of refusing the key."""
    if isinstance(answer, (EOFError, OSError)):
        return True
    if isinstance(answer, paramiko.AuthenticationException):
        text = str(answer)
        return "EOF" in text or "imeout" in text
    return isinstance(answer, Exception)


def _names(offered: list[Any]) -> str:
    files = []
    for source in offered:
        if isinstance(source, OnDiskPrivateKey):
            files.append(str(source.path))
    of_agent = len(offered) - len(files)
    parts = []
    if of_agent:
        parts.append(f"{of_agent} key{'s' if of_agent > 1 else ''} of your agent")
    if files:
        parts.append(f"the key {', '.join(dict.fromkeys(files))}")
    return " and ".join(parts)
