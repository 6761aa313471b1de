"""The archive of a data folder: what stands in it, and what is compared.

It is a tar, plain or in gzip: `backup.json` where it is a backup, data/..., then `manifest`, one
JSON line for each path in order:

    [path, "folder", mode]   [path, "link", target]   [path, "file", mode, bytes, sha256]
    [path, "sqlite", mode, bytes, sha256, {table: rows}]

An SQLite file in it was made by SQLite's backup API and passed its integrity check; it needs no
journal. The archive has no owners: the application's files become the application's again. It has
no set-id bits either, which no service may set.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import stat
from typing import (  # noqa: UP035 - Python 3.9 evaluates the aliases below
    IO,
    Any,
    BinaryIO,
    Dict,
    Iterator,
    List,
)

Line = List[Any]  # noqa: UP006 - of the manifest
Totals = Dict[str, Any]  # noqa: UP006
FACTS = "backup.json"  # what a backup says of itself: a JSON object
FORMAT = 1  # of a backup, in its facts
MANIFEST = "manifest"
MAGIC = b"SQLite format 3\0"
KEPT_MODE = 0o1777  # the bits of a file's mode that are copied
AT_ONCE = 1 << 20  # bytes
SAFE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
# Where a ship puts its copies of the databases, next to what else may lie in that folder.
COPIES = "backups"
COPY = re.compile(r"\d+-before-[0-9a-z]+")


def walk(folder: str = ".") -> Iterator[str]:
    """Every path below the folder, in the same order on all machines."""
    is_folder_by_name = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder_by_name[entry.name] = entry.is_dir(follow_symlinks=False)
    for name, is_folder in sorted(is_folder_by_name.items()):
        path = os.path.normpath(os.path.join(folder, name))
        yield path
        if is_folder:
            yield from walk(path)


def opened(path: str) -> BinaryIO:
    """The file, opened without following a link or waiting for a pipe."""
    return open(os.open(path, SAFE), "rb")


def is_sqlite(path: str) -> bool:
    with opened(path) as file:
        return file.read(len(MAGIC)) == MAGIC


class DigestReader:
    """Reads a file and keeps the size and SHA-256 of what it has read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.sha256.update(data)
        self.size += len(data)
        return data


def size_and_digest(path: str) -> Line:
    """Size and SHA-256 of a file."""
    with opened(path) as file:
        reader = DigestReader(file)
        while reader.read(AT_ONCE):
            pass
    return [reader.size, reader.sha256.hexdigest()]


def address(path: str) -> str:
    """The URI of a database that nobody writes to."""
    quoted = os.path.abspath(path)
    for character, code in (("%", "%25"), ("?", "%3f"), ("#", "%23")):
        quoted = quoted.replace(character, code)
    return f"file:{quoted}?mode=ro&immutable=1"


def rows(path: str) -> dict[str, int]:
    """The number of rows of each table, without virtual tables.

    A virtual table consists of others, and its module may be unknown here.
    """
    database = sqlite3.connect(address(path), uri=True)
    try:
        tables = database.execute(
            "select name, sql from sqlite_master where type = 'table' order by name"
        ).fetchall()
        counts = {}
        for name, sql in tables:
            if (sql or "").upper().startswith("CREATE VIRTUAL"):
                continue
            table = name.replace('"', '""')
            counted = database.execute(f'select count(*) from "{table}"').fetchone()
            counts[name] = counted[0]
        return counts
    finally:
        database.close()


def manifest_line(path: str, sqlite: bool) -> Line:
    """The manifest's line for a path as it is on the disk."""
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode) & KEPT_MODE
    if stat.S_ISLNK(status.st_mode):
        return [path, "link", os.readlink(path)]
    if stat.S_ISDIR(status.st_mode):
        return [path, "folder", mode]
    if sqlite:
        return [path, "sqlite", mode, *size_and_digest(path), rows(path)]
    return [path, "file", mode, *size_and_digest(path)]


def new_totals() -> Totals:
    return {"files": 0, "bytes": 0, "tables": 0, "rows": 0}
