"""Where the local cloud keeps what it makes. Standard library only."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

KIT = "origin-kit"


class LocalCloudError(ValueError):
    """This host can't do what the local cloud asks of it; the text names what, and the next step."""


def home() -> Path:
    """State, machines and keys: $ORIGIN_KIT_HOME, else /var/lib/origin-kit."""
    return Path(os.environ.get("ORIGIN_KIT_HOME") or f"/var/lib/{KIT}").absolute()


def cache() -> Path:
    """What can be made again: $ORIGIN_KIT_CACHE, else /var/cache/origin-kit."""
    return Path(os.environ.get("ORIGIN_KIT_CACHE") or f"/var/cache/{KIT}").absolute()


def state_dir() -> Path:
    """The Pulumi file backend of local stacks."""
    return home() / "state"


def short_id(*words: str) -> str:
    """Eight hex digits that stand for these words in this home: names of bridges and machines come from it."""
    return sha256("\0".join([str(home()), *words]).encode()).hexdigest()[:8]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file until the block ends; it goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def operator_key_path() -> Path:
    """Where the private key is that opens local machines, made or not."""
    return home() / "ssh" / "id_ed25519"


def operator_key() -> Path:
    """The private key that opens local machines, made on first use; its public half lies beside it."""
    path = operator_key_path()
    with locked(home() / "ssh" / ".lock"):
        if not path.with_suffix(".pub").exists():
            path.unlink(missing_ok=True)
            make_key(path, f"{KIT} operator")
    return path


def make_key(path: Path, comment: str) -> None:
    """An ed25519 key pair at `path` and `path`.pub, without a passphrase, mode 0600."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)
