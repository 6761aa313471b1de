"""Who may log in to this host: the user's authorized_keys, kept equal to the contract's list.

ORDERS["logins"] holds `user`, `keys` (OpenSSH public key lines) and `own` (kind and data of the key
that this login used, or None). Without ORDERS["logins"], nothing is touched. The key in use is
never removed, so that whoever deploys can log in again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pwd
import re
from pathlib import Path
from typing import TYPE_CHECKING

from on_host import places
from on_host.orders import ORDERS
from on_host.runtime import Failed, note

if TYPE_CHECKING:
    from on_host.protocol import Logins

NAME = ".ssh/authorized_keys"
OTHER = ".ssh/authorized_keys2"  # sshd reads it too
HEAD = "# Kept equal to ssh_keys of the stack's config by `fab deploy`.\n"
_KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[a-z0-9@.-]+\s+[A-Za-z0-9+/]+={0,3})(?:\s+(.*))?$")


def key_of(line: str) -> str | None:
    """Kind and data of the key in a line, without the options before it; None for a comment."""
    if line.lstrip().startswith("#"):
        return None
    match = _KEY.search(line)
    if match is None:
        return None
    return " ".join(match[1].split())


def has_no_options(line: str) -> bool:
    """Whether the line is a key and perhaps a comment, without options before it."""
    return line.startswith(("ssh-", "ecdsa-", "sk-"))


def comment(line: str) -> str:
    """The comment behind the key; "" where there is none."""
    match = _KEY.search(line)
    if match is None or match[2] is None:
        return ""
    return match[2].strip()


def name_of(line: str) -> str:
    """A key for a person: kind, fingerprint as `ssh-keygen -l` prints it, comment."""
    key = key_of(line)
    if key is None:
        return line[:60]
    kind, data = key.split()
    try:
        digest = hashlib.sha256(base64.b64decode(data)).digest()
    except ValueError:
        return line[:60]
    fingerprint = base64.b64encode(digest).decode().rstrip("=")
    return f"{kind} SHA256:{fingerprint} {comment(line)}".rstrip()


class Change:
    """What the file holds and what it should hold.

    `added`, `removed` and `retained` are lines: keys to add, keys to remove, and the key of this
    login where the list does not have it. `text` is the new file.
    """

    def __init__(self, orders: Logins, lines: list[str]) -> None:
        wanted = {str(key_of(line)): line for line in orders["keys"]}
        own = orders.get("own")
        if own in wanted:
            own = None
        self.added: list[str] = []
        self.removed: list[str] = []
        self.retained: list[str] = []

        in_place = set()
        for line in lines:
            key = key_of(line)
            if key is None:
                continue
            if key in wanted and has_no_options(line):
                in_place.add(key)
            elif key == own and not self.retained:
                self.retained.append(line)
            elif line not in self.retained:
                self.removed.append(line)

        self.text = HEAD
        for key, line in wanted.items():
            if key not in in_place:
                self.added.append(line)
            self.text += f"{key} {comment(line)}".rstrip() + "\n"
        for line in self.retained:
            self.text += f"{line}\n"

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


def home(user: str) -> Path:
    """The user's home folder. Raises Failed where there is no such user."""
    try:
        return Path(str(places.ROOT) + pwd.getpwnam(user).pw_dir)
    except KeyError:
        raise Failed(
            f"there is no user {user} on this host, so their authorized_keys can't be written;"
            " correct the user of this host in the stack's config, or create the user"
        ) from None


def look() -> Change | None:
    """The change that is due, even an empty one; None where the contract has no list."""
    orders = ORDERS.get("logins")
    if not orders:
        return None
    folder = home(orders["user"])
    lines: list[str] = []
    for name in (NAME, OTHER):
        with contextlib.suppress(FileNotFoundError):
            lines += (folder / name).read_text(errors="replace").splitlines()
    return Change(orders, lines)


def differences() -> dict[str, str]:
    """The change in the form of a generation's diffs: path → keys to add and to remove."""
    change = look()
    if not change:
        return {}
    text = f"who may log in ({NAME})\n"
    for line in change.added:
        text += f"+{name_of(line)}\n"
    for line in change.removed:
        text += f"-{name_of(line)}\n"
    return {NAME: text}


def settle() -> bool:
    """Make the file equal to the list; whether it was different. Needs the host's lock."""
    change = look()
    if change is None:
        return False
    for line in change.retained:
        text = f"keeps the key of this login, which ssh_keys does not list: {name_of(line)}"
        note("logins", text)
    if not change:
        return False
    for line in change.added:
        note("logins", f"allows {name_of(line)}")
    for line in change.removed:
        note("logins", f"no longer allows {name_of(line)}")
    write(ORDERS["logins"]["user"], change.text)
    return True


def write(user: str, text: str) -> None:
    """Write the whole file durably, or leave the one before; follow no link of the user's."""
    owner = pwd.getpwnam(user)
    descriptor = os.open(str(home(user)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(".ssh", 0o700, dir_fd=descriptor)
            os.chown(
                ".ssh",
                owner.pw_uid,
                owner.pw_gid,
                dir_fd=descriptor,
                follow_symlinks=False,
            )
        folder = os.open(".ssh", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    try:
        if os.fstat(folder).st_uid not in (0, owner.pw_uid):
            raise Failed(
                f"{home(user)}/.ssh belongs to neither {user} nor root, so authorized_keys was not"
                f" written; run `chown {user}` on that folder, then run this again"
            )
        _replace(folder, text.encode(), owner)
    finally:
        os.close(folder)


def _replace(folder: int, data: bytes, owner: pwd.struct_passwd) -> None:
    new = ".authorized_keys.origin-kit"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(new, flags, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchown(descriptor, owner.pw_uid, owner.pw_gid)
        handle.write(data)
        handle.flush()
        os.fsync(descriptor)
    os.rename(new, Path(NAME).name, src_dir_fd=folder, dst_dir_fd=folder)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(Path(OTHER).name, dir_fd=folder)
    os.fsync(folder)
