"""Prepare the application's data folder, and look after the SQLite databases in it.

    python -I -c TEXT prepare FOLDER                  makes media/ and secret_key
    python -I -c TEXT has-databases FOLDER            status 0, or NONE where there is no database
    python -I -c TEXT back-up FOLDER RELEASE KEPT     copies them, prints the folder of the copy
    python -I -c TEXT close FOLDER                    makes them unreadable for other users

It runs as the application's user: in its own folder it can only harm itself.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import stat
import sys

NONE = 10
MAGIC = b"SQLite format 3\0"


def prepare() -> None:
    os.makedirs("media", exist_ok=True)
    os.chmod("media", 0o755)
    if not os.path.exists("secret_key"):
        write_secret_key()
    os.chmod("secret_key", 0o600)


def write_secret_key() -> None:
    """Write a new key durably, or nothing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    new = os.open(".secret_key.new", flags, 0o600)
    os.write(new, secrets.token_urlsafe(48).encode())
    os.fsync(new)
    os.rename(".secret_key.new", "secret_key")


def databases() -> list[str]:
    return [name for name in sorted(os.listdir(".")) if is_sqlite(name)]


def is_sqlite(name: str) -> bool:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return is_regular and file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def back_up(release: str, kept: int) -> str:
    """Copy every database by SQLite's own means; the folder of the copy.

    Only the `kept` newest copies stay.
    """
    os.umask(0o077)
    os.makedirs("backups", exist_ok=True)
    highest = max((number_of(name) for name in numbered()), default=0)
    folder = os.path.join("backups", f"{highest + 1:05d}-before-{release}")
    os.makedirs(folder)
    for name in databases():
        source = sqlite3.connect(name, timeout=30)
        copy = sqlite3.connect(os.path.join(folder, name))
        source.backup(copy)
        copy.close()
        source.close()
    for name in numbered()[:-kept]:
        shutil.rmtree(os.path.join("backups", name))
    return folder


def numbered() -> list[str]:
    """The names of all copies, the oldest first."""
    return sorted(name for name in os.listdir("backups") if number_of(name))


def number_of(name: str) -> int:
    """The number that a copy's name begins with; 0 for other names."""
    number, _, _ = name.partition("-")
    return int(number) if number.isdigit() else 0


def main(action: str, folder: str, *words: str) -> int:
    os.chdir(folder)
    if action == "prepare":
        prepare()
    elif action == "has-databases":
        return 0 if databases() else NONE
    elif action == "back-up":
        release, kept = words
        copy = back_up(release, int(kept))
        print(os.path.join(folder, copy))
    elif action == "close":
        for name in databases():
            os.chmod(name, 0o600)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
