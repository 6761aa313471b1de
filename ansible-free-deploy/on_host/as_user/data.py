"""The application's data folder: make what belongs there, and look after the SQLite databases in
it.

    python -I -c TEXT prepare FOLDER                      media/ and secret_key python -I -c TEXT
    has-databases FOLDER                status 0, or NONE where there is no database python -I -c
    TEXT back-up FOLDER RELEASE KEPT         copies them, prints the folder of the copy python -I -c
    TEXT close FOLDER                        no other user may read them

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


def prepare() -> None:
    os.makedirs("media", exist_ok=True)
    os.chmod("media", 0o755)
    if not os.path.exists("secret_key"):
        new = os.open(
            ".secret_key.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
        )
        os.write(new, secrets.token_urlsafe(48).encode())
        os.fsync(new)
        os.rename(".secret_key.new", "secret_key")
    os.chmod("secret_key", 0o600)


def databases() -> list[str]:
    return [name for name in sorted(os.listdir(".")) if is_sqlite(name)]


def is_sqlite(name: str) -> bool:
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return (
                stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                and file.read(16) == b"SQLite format 3\0"
            )
    except OSError:
        return False


def back_up(release: str, kept: int) -> str:
    """Copy every database by SQLite's own means; the folder of the copy. Only the `kept` newest
    copies stay."""
    os.umask(0o077)
    os.makedirs("backups", exist_ok=True)
    number = max(map(number_of, numbered()), default=0) + 1
    folder = os.path.join("backups", f"{number:05d}-before-{release}")
    os.makedirs(folder)
    for name in databases():
        source, copy = (
            sqlite3.connect(name, timeout=30),
            sqlite3.connect(os.path.join(folder, name)),
        )
        source.backup(copy)
        copy.close()
        source.close()
    for name in numbered()[:-kept]:
        shutil.rmtree(os.path.join("backups", name))
    return folder


def numbered() -> list[str]:
    return sorted(name for name in os.listdir("backups") if name.split("-")[0].isdigit())


def number_of(name: str) -> int:
    return int(name.split("-")[0])


def main(action: str, folder: str, *words: str) -> int:
    os.chdir(folder)
    if action == "prepare":
        prepare()
    elif action == "has-databases":
        return 0 if databases() else NONE
    elif action == "back-up":
        print(os.path.join(folder, back_up(words[0], int(words[1]))))
    elif action == "close":
        for name in databases():
            os.chmod(name, 0o600)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
