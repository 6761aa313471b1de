"""Read the data folder of a host into one archive, and restore it on another host.

    python -I -c TEXT read FOLDER     writes the archive to standard output, and a summary for a
                                      person to standard error
    python -I -c TEXT empty FOLDER    removes everything in the folder
    python -I -c TEXT write FOLDER    unpacks standard input into the empty folder, then reads all
                                      of it again and compares it with the manifest

The archive is a tar: data/..., then `manifest`, one JSON line for each path in order:

    [path, "folder", mode]   [path, "link", target]   [path, "file", mode, bytes, sha256]
    [path, "sqlite", mode, bytes, sha256, {table: rows}]

An SQLite file in it was made by SQLite's backup API and passed its integrity check; it needs no
journal. The archive has no owners: the application's files become the application's again. It has
no set-id bits either, which no service may set.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import sqlite3
import stat
import sys
import tarfile
import tempfile
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
MAGIC = b"SQLite format 3\0"
KEPT_MODE = 0o1777  # the bits of a file's mode that are copied
SQLITE_FILES = ("-journal", "-wal", "-shm")  # endings of SQLite's files next to a database
AT_ONCE = 1 << 20  # bytes
SAFE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


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

    def __init__(self, file: BinaryIO) -> None:
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


def rows(path: str) -> dict[str, int]:
    """The number of rows of each table, without virtual tables.

    A virtual table consists of others, and its module may be unknown here.
    """
    quoted = os.path.abspath(path)
    for character, code in (("%", "%25"), ("?", "%3f"), ("#", "%23")):
        quoted = quoted.replace(character, code)
    database = sqlite3.connect(f"file:{quoted}?mode=ro&immutable=1", uri=True)
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


# ------------------------------------------------------------------------------------- the old host


class Reader:
    """Writes the archive of the folder that this process is in."""

    def __init__(self, tar: tarfile.TarFile, scratch: str) -> None:
        self.tar = tar
        self.scratch = scratch
        self.skipped: set[str] = set()
        self.left_out: list[str] = []
        self.as_they_are: list[str] = []
        self.of_others: list[str] = []
        self.totals = new_totals()

    def summary(self) -> Totals:
        """What a person has to know; of long lists their length and the first three."""
        summary = dict(self.totals)
        for key in ("left_out", "as_they_are", "of_others"):
            paths = getattr(self, key)
            summary[key] = [len(paths), *paths[:3]]
        return summary

    def add_path(self, path: str) -> Line | None:
        """Add a path to the archive; its line of the manifest, or None where it is left out."""
        if path in self.skipped:
            return None  # it may be gone: the last program to close a database removes its files
        status = os.lstat(path)
        if status.st_uid != os.getuid():
            self.of_others.append(path)
        if stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode):
            return self.add_link_or_folder(path, status)
        if not stat.S_ISREG(status.st_mode):
            self.left_out.append(path)
            return None
        if is_sqlite(path):
            return self.add_database(path)
        return self.add_file(path, path, "file")

    def add_link_or_folder(self, path: str, status: os.stat_result) -> Line:
        info = info_of(path, status)
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        else:
            info.type = tarfile.SYMTYPE
            info.linkname = os.readlink(path)
        self.tar.addfile(info)
        return manifest_line(path, sqlite=False)

    def add_database(self, path: str) -> Line:
        """Add a copy of the database, without SQLite's files next to it."""
        copy = copy_of_database(path, os.path.join(self.scratch, "base"))
        if copy is None:
            self.as_they_are.append(path)
            return self.add_file(path, path, "file")
        self.skipped.update(path + end for end in SQLITE_FILES)
        counts = rows(copy)
        self.totals["tables"] += len(counts)
        self.totals["rows"] += sum(counts.values())
        return [*self.add_file(path, copy, "sqlite"), counts]

    def add_file(self, path: str, source: str, kind: str) -> Line:
        """Add a file with the bytes of `source`."""
        info = info_of(path, os.lstat(path))
        with opened(source) as file:
            reader = DigestReader(file)
            info.size = os.fstat(file.fileno()).st_size
            self.tar.addfile(info, reader)  # type: ignore[arg-type]
        self.totals["files"] += 1
        self.totals["bytes"] += reader.size
        return [path, kind, info.mode, reader.size, reader.sha256.hexdigest()]


def info_of(path: str, status: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo("data/" + path)
    info.mode = stat.S_IMODE(status.st_mode) & KEPT_MODE
    info.mtime = status.st_mtime
    return info


def copy_of_database(path: str, place: str) -> str | None:
    """A copy made by SQLite itself at `place`.

    None for a database that SQLite can't read: its files are copied unchanged.
    """
    for name in (place, *(place + end for end in SQLITE_FILES)):
        if os.path.exists(name):
            os.unlink(name)
    try:
        if not back_up(path, place):
            return None
        rows(place)
    except sqlite3.DatabaseError:
        return None
    return place


def back_up(path: str, place: str) -> bool:
    """Copy a database; whether the copy passes SQLite's integrity check."""
    source = sqlite3.connect(path, timeout=30)
    copy = sqlite3.connect(place)
    try:
        source.backup(copy)
        checked = copy.execute("pragma integrity_check(1)").fetchone()
        return bool(checked[0] == "ok")
    finally:
        copy.close()
        source.close()


def read() -> None:
    os.umask(0o077)
    scratch = tempfile.mkdtemp(prefix="copy-", dir="/var/tmp")
    try:
        summary = send_archive(scratch)
        print(json.dumps(summary), file=sys.stderr)
    except OSError as problem:
        where = problem.filename or "the copy"
        sys.exit(f"{where}: {problem.strerror or problem}")
    finally:
        shutil.rmtree(scratch)


def send_archive(scratch: str) -> Totals:
    """Write the archive to standard output; its summary."""
    out = sys.stdout.buffer
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        reader = Reader(tar, scratch)
        with tempfile.TemporaryFile(dir=scratch) as manifest:
            for path in walk():
                line = reader.add_path(path)
                if line is not None:
                    manifest.write(json.dumps(line).encode() + b"\n")
            info = tarfile.TarInfo("manifest")
            info.size = manifest.tell()
            manifest.seek(0)
            tar.addfile(info, manifest)
    sys.stdout.buffer.flush()
    return reader.summary()


# ------------------------------------------------------------------------------------- the new host


def empty() -> None:
    for here, folders, _ in os.walk("."):
        for name in folders:
            path = os.path.join(here, name)
            if stat.S_ISDIR(os.lstat(path).st_mode):
                os.chmod(path, 0o700)
    for name in os.listdir("."):
        if stat.S_ISDIR(os.lstat(name).st_mode):
            shutil.rmtree(name)
        else:
            os.unlink(name)


def write() -> None:
    os.umask(0o077)
    try:
        with tempfile.TemporaryFile(dir="/var/tmp") as manifest:
            unpack(manifest)
            manifest.seek(0)
            different, totals = compare(manifest)
    except (OSError, tarfile.TarError) as problem:
        where = getattr(problem, "filename", None) or "the archive"
        sys.exit(f"{where}: {problem}")
    if different is not None:
        sys.exit(f"{different} differs from what was copied")
    print(json.dumps(totals))


def unpack(manifest: IO[bytes]) -> None:
    """Put everything in its place, and the archive's manifest into `manifest`."""
    folders: list[tarfile.TarInfo] = []
    complete = False
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for member in tar:
            if member.name == "manifest":
                shutil.copyfileobj(content(tar, member), manifest)
                complete = True
            else:
                put(tar, member, folders)
    while sys.stdin.buffer.read(1 << 18):
        pass
    if not complete:
        sys.exit("the archive ends before its manifest")
    # Folders come last: writing into one changes its time, and it may have to be writable.
    for folder in reversed(folders):
        path = inside(folder.name)
        os.chmod(path, folder.mode)
        os.utime(path, (folder.mtime, folder.mtime))


def put(tar: tarfile.TarFile, member: tarfile.TarInfo, folders: list[tarfile.TarInfo]) -> None:
    """Put one member of the archive in its place; a folder also goes into `folders`."""
    path = inside(member.name)
    if member.isdir():
        os.mkdir(path, 0o700)
        folders.append(member)
    elif member.issym():
        os.symlink(member.linkname, path)
    elif member.isreg():
        new = os.open(path, NEW, 0o600)
        with os.fdopen(new, "wb") as out:
            shutil.copyfileobj(content(tar, member), out, AT_ONCE)
            os.fchmod(new, member.mode)
        os.utime(path, (member.mtime, member.mtime))
    else:
        sys.exit(f"the archive holds {member.name!r}, which is neither file, folder nor link")


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    if file is None:
        sys.exit(f"the archive holds {member.name!r}, which is no file")
    return file


def inside(name: str) -> str:
    """The member's path below the data folder. Exits for one that is outside of it."""
    top, *parts = name.split("/")
    climbs = any(part in ("", ".", "..") for part in parts)
    if top != "data" or not parts or climbs:
        sys.exit(f"the archive reaches outside of the data folder ({name!r})")
    return "/".join(parts)


def compare(manifest: IO[bytes]) -> tuple[str | None, Totals]:
    """The first path that differs from the manifest, or None; and how much there is."""
    totals = new_totals()
    lines = (json.loads(line) for line in manifest)
    for wanted, path in itertools.zip_longest(lines, walk()):
        if wanted is None:
            return path, totals
        if path is None:
            return wanted[0], totals
        line = manifest_line(path, wanted[1] == "sqlite")
        if line != wanted:
            return wanted[0], totals
        kind = line[1]
        if kind in ("file", "sqlite"):
            totals["files"] += 1
            totals["bytes"] += line[3]
        if kind == "sqlite":
            totals["tables"] += len(line[5])
            totals["rows"] += sum(line[5].values())
    return None, totals


if __name__ == "__main__":
    actions = {"read": read, "empty": empty, "write": write}
    os.chdir(sys.argv[2])
    actions[sys.argv[1]]()
