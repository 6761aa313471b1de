"""Where the local cloud keeps what it makes, and how it knows its own."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from infra.core.errors import KitError

KIT = "origin-kit"
MARK = ".origin-kit-home"
CERTIFICATES = "tls"  # the user's own CA, and what it has issued
_NOT_COUNTED = {MARK, "lost+found"}


class LocalCloudError(KitError):
    """This host can't do what the local cloud asks of it; the text names what, and the next
    step."""


def home() -> Path:
    """State, machines and keys: $ORIGIN_KIT_HOME, else /var/lib/origin-kit."""
    return Path(os.environ.get("ORIGIN_KIT_HOME") or f"/var/lib/{KIT}").absolute()


def cache() -> Path:
    """What can be made again: $ORIGIN_KIT_CACHE, else /var/cache/origin-kit for root and the user's
    own for others."""
    if chosen := os.environ.get("ORIGIN_KIT_CACHE"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path(f"/var/cache/{KIT}")
    import platformdirs  # here, since root's part runs with the standard library alone

    return platformdirs.user_cache_path(KIT)


def state_dir() -> Path:
    """The Pulumi file backend of local stacks."""
    return home() / "state"


def short_id(*words: str) -> str:
    """Eight hex digits that stand for these words in this home: names of bridges and machines come
    from it."""
    return sha256("\0".join([str(home()), *words]).encode()).hexdigest()[:8]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file until the block ends; it goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def occupying() -> Iterator[None]:
    """Held for the moment in which a run notes in the home that it is there, and while a home that
    nobody has noted anything in is removed: neither falls into the middle of the other. The lock is
    in the cache, since the home goes."""
    with locked(cache_folder("homes") / f"{short_id()}.lock"):
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock file."""
    try:
        with path.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old or the new one."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_text(text)
    new.replace(path)


# --------------------------------------------------------------------------- nobody else's business


def private(folder: Path) -> Path:
    """The folder, there, and open to its owner alone: set-uid files of a machine, and code, may lie
    below it.

    Raises LocalCloudError for one that another user owns: they could swap what root runs there.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_others(folder)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        os.chown(folder, os.geteuid(), os.getegid())
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


def cache_folder(name: str) -> Path:
    """A folder of the cache, private. A cache folder that you chose keeps its own mode."""
    root = cache()
    if "ORIGIN_KIT_CACHE" not in os.environ or not root.exists():
        private(root)
    return private(root / name)


def _refuse_others(folder: Path) -> None:
    found = folder.stat()
    # Whoever became root by sudo is trusted with what root runs.
    trusted = {os.geteuid()}
    if os.geteuid() == 0:
        trusted.add(int(os.environ.get("SUDO_UID") or 0))
    if found.st_mode & stat.S_ISVTX:
        raise LocalCloudError(
            f"{folder} is shared by all users, like /tmp", cure="name a folder inside of it"
        )
    if found.st_uid not in trusted:
        cure = f"run it as that user (`sudo -u {user_name(found.st_uid)}`)"
        if os.geteuid() == 0:
            cure = (
                f"name a folder of root's, or run `chown root {folder}` if you trust everything"
                " in it"
            )
        raise LocalCloudError(
            f"{folder} belongs to {user_name(found.st_uid)}, not to you", cure=cure
        )


def user_name(uid: int) -> str:
    """The name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# ----------------------------------------------------------------------------------------- the home


def claim() -> Path:
    """The home, there, private and marked as the kit's. Raises LocalCloudError as `refuse_foreign`
    does."""
    folder = home()
    refuse_foreign()
    private(folder)
    if not (folder / MARK).exists():
        write_whole(folder / MARK, json.dumps({"made_by": KIT, "id": uuid4().hex}) + "\n")
    tighten()
    return folder


def tighten() -> None:
    """Close a home and machines that an older version left open to all users of this host."""
    with suppress(PermissionError):  # somebody who only reads, and whose home it is not
        for folder in (home(), *(home() / "machines").glob("*")):
            if folder.is_dir() and folder.stat().st_mode & 0o077:
                folder.chmod(0o700)


def refuse_foreign() -> None:
    """Raises LocalCloudError where the home is a folder that the kit did not make, or another
    user's."""
    folder = home()
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise LocalCloudError(f"{folder} is not a folder", cure="set ORIGIN_KIT_HOME to a new one")
    _refuse_others(folder)
    made_before_marks = (folder / "state" / ".pulumi").is_dir()
    if (folder / MARK).exists() or made_before_marks:
        return
    if found := _others(folder):
        raise LocalCloudError(
            f"{folder} was not made by the kit and holds {found[0]}"
            + (f" and {len(found) - 1} more" if found[1:] else "")
            + "; set ORIGIN_KIT_HOME to a new or an empty folder"
        )


def identity() -> str:
    """What this home is known by, wherever it is moved to."""
    return str(json.loads((claim() / MARK).read_text())["id"])


def _others(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in _NOT_COUNTED)


def leave() -> list[str]:
    """Remove what the kit has made in its home when no stack is left, then the home. Returns what
    is not the kit's, which stays, and the home with it. The user's CA stays too: browsers may trust
    it."""
    folder = home()
    if not folder.is_dir():
        return []
    for name in ("bases", "state/.pulumi/locks", "state/.pulumi/history", "state/.pulumi/backups"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in _FILES:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    for name in _FOLDERS:
        _remove_empty(folder / name)
    left = _others(folder)
    if not left:
        (folder / MARK).unlink(missing_ok=True)
        _remove_empty(folder)
    return [name for name in left if name != CERTIFICATES]


_FILES = (
    "passphrase",
    "config/Pulumi.*.yaml",
    "owners/*.json",
    "owners/*.new",
    "owners/.lock",
    f"{MARK}.*.new",
    "ssh/id_ed25519*",
    "ssh/.lock",
    "state/gate.lock",
    "state/.pulumi/meta.yaml*",
    "state/.pulumi/stacks/*/*.json.*",
    "machines/.lock",
    "replace/*.json",
    "replace/*.new",
    "replace/*.partial",
    "replace/*.lock",
    "previews/*.json",
    "previews/*.new",
    "previews/.*.lock",
    "builds/.lock",
    f"{CERTIFICATES}/.lock",
    f"{CERTIFICATES}/.*.new",
    f"{CERTIFICATES}/pairs/*.pem",
    f"{CERTIFICATES}/pairs/*.json",
    f"{CERTIFICATES}/pairs/*.new",
    f"{CERTIFICATES}/pairs/.*.new",
)
_FOLDERS = (
    "machines",
    "builds",
    "replace",
    "previews",
    f"{CERTIFICATES}/pairs",
    CERTIFICATES,
    "config",
    "owners",
    "ssh",
    "state/.pulumi/stacks/*",
    "state/.pulumi/stacks",
    "state/.pulumi",
    "state",
)


def _remove_empty(folder: Path) -> None:
    """A mount point, a link, or a folder with something in it stays."""
    for path in folder.parent.glob(folder.name):
        with suppress(OSError):
            path.rmdir()


# --------------------------------------------------------------------------------------------- keys


def operator_key_path() -> Path:
    """Where the private key is that opens local machines, made or not."""
    return home() / "ssh" / "id_ed25519"


def operator_key() -> Path:
    """The private key that opens local machines, made on first use; its public half lies next to
    it."""
    path = operator_key_path()
    claim()
    with locked(home() / "ssh" / ".lock"):
        if not path.with_suffix(".pub").exists():
            path.unlink(missing_ok=True)
            make_key(path, f"{KIT} operator")
    return path


def make_key(path: Path, comment: str) -> None:
    """An ed25519 key pair at `path` and `path`.pub, without a passphrase, mode 0600."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True
    )
