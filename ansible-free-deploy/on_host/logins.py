"""Who may log in to this host: the user's authorized_keys, kept equal to the list that the contract
holds.

ORDERS["logins"] holds `user`, `keys` (OpenSSH public key lines) and `own` (kind and data of the key
that this login used, or None); without it nothing is touched. The key in use is never taken away:
whoever deploys stays able to.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pwd
import re
from pathlib import Path

from on_host import places
from on_host.orders import ORDERS, Json
from on_host.runtime import Failed, emit

NAME = ".ssh/authorized_keys"
OTHER = ".ssh/authorized_keys2"  # sshd reads it too
HEAD = "# Kept equal to ssh_keys of the stack's config by `fab deploy`.\n"
_KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[a-z0-9@.-]+\s+[A-Za-z0-9+/]+={0,3})(?:\s+(.*))?$")


def key_of(line: str) -> str | None:
    """Kind and data of the key in a line, whatever options stand before it; None for a comment."""
    found = None if line.lstrip().startswith("#") else _KEY.search(line)
    return " ".join(found[1].split()) if found else None


def plain(line: str) -> bool:
    """Whether the line is a key and perhaps a comment, without options before it."""
    return line.startswith(("ssh-", "ecdsa-", "sk-"))


def name_of(line: str) -> str:
    """A key for a person: kind, fingerprint as `ssh-keygen -l` gives it, comment."""
    found = _KEY.search(line)
    if found is None:
        return line[:60]
    kind, data = found[1].split()
    try:
        digest = hashlib.sha256(base64.b64decode(data)).digest()
    except ValueError:
        return line[:60]
    words = [kind, "SHA256:" + base64.b64encode(digest).decode().rstrip("="), found[2] or ""]
    return " ".join(filter(None, words))


class Change:
    """What the file holds, what it should hold, and so who comes, who goes and who only stays for
    now."""

    def __init__(self, orders: Json, lines: list[str]) -> None:
        wanted = {str(key_of(line)): line for line in orders["keys"]}
        there = [line for line in lines if key_of(line)]
        own = orders.get("own")
        listed = [line for line in there if key_of(line) in wanted and plain(line)]
        self.stays = [line for line in there if own and key_of(line) == own and own not in wanted][
            :1
        ]
        self.comes = [line for key, line in wanted.items() if key not in map(key_of, listed)]
        self.goes = [line for line in there if line not in listed and line not in self.stays]
        texts = [" ".join(filter(None, [key, comment(line)])) for key, line in wanted.items()]
        self.text = HEAD + "".join(f"{line}\n" for line in [*texts, *self.stays])

    def __bool__(self) -> bool:
        return bool(self.comes or self.goes)


def comment(line: str) -> str:
    found = _KEY.search(line)
    return (found[2] or "").strip() if found else ""


def home(user: str) -> Path:
    try:
        return Path(str(places.ROOT) + pwd.getpwnam(user).pw_dir)
    except KeyError:
        raise Failed(
            f"there is no user {user} here, whose authorized_keys are to be written"
        ) from None


def look() -> Change | None:
    """The change that is due, also an empty one; None where the contract has no list."""
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
    """As a generation's: the file, and who would come and go."""
    change = look()
    if not change:
        return {}
    lines = [f"+{name_of(line)}\n" for line in change.comes] + [
        f"-{name_of(line)}\n" for line in change.goes
    ]
    return {NAME: "".join([f"who may log in ({NAME})\n", *lines])}


def settle() -> bool:
    """Make the file equal to the list; whether it was another. Needs the host's lock."""
    change = look()
    if change is None:
        return False
    for line in change.stays:
        emit(
            step="logins",
            text=f"keeps the key of this login, which ssh_keys does not list: {name_of(line)}",
        )
    if not change:
        return False
    for verb, lines in (("lets in", change.comes), ("no longer lets in", change.goes)):
        for line in lines:
            emit(step="logins", text=f"{verb} {name_of(line)}")
    write(str(ORDERS["logins"]["user"]), change.text)
    return True


def write(user: str, text: str) -> None:
    """The whole file or the one before, durably. No link in the user's folder is followed."""
    owner = pwd.getpwnam(user)
    descriptor = os.open(str(home(user)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(".ssh", 0o700, dir_fd=descriptor)
            os.chown(".ssh", owner.pw_uid, owner.pw_gid, dir_fd=descriptor, follow_symlinks=False)
        folder = os.open(".ssh", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    try:
        if os.fstat(folder).st_uid not in (0, owner.pw_uid):
            raise Failed(f"{home(user)}/.ssh belongs to neither {user} nor root: not written")
        _replace(folder, text.encode(), owner)
    finally:
        os.close(folder)


def _replace(folder: int, data: bytes, owner: pwd.struct_passwd) -> None:
    new, final, other = ".authorized_keys.origin-kit", Path(NAME).name, Path(OTHER).name
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(new, flags, 0o600, dir_fd=folder), "wb") as handle:
        os.fchown(handle.fileno(), owner.pw_uid, owner.pw_gid)
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(new, final, src_dir_fd=folder, dst_dir_fd=folder)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(other, dir_fd=folder)
    os.fsync(folder)
