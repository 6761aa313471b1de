"""Take the data folder off a host as one archive, and put it on another one.

    python -I -c TEXT read FOLDER     the archive on standard output, what a person has to know on
    standard error python -I -c TEXT empty FOLDER    removes everything in it python -I -c TEXT
    write FOLDER    unpacks standard input into the empty folder, then reads all of it again and
                                      compares it with the manifest

The archive is a tar: data/..., then `manifest`, one JSON line for each path in order:

    [path, "folder", mode]   [path, "link", target]   [path, "file", mode, bytes, sha256]
    [path, "sqlite", mode, bytes, sha256, {table: rows}]

An SQLite file in it was made by SQLite's backup API, passed its integrity check, and needs no
journal beside it. Owners are not in it: what is the application's there is the application's here.
Nor are set-id bits, which no service may set.
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
Told = Dict[str, Any]  # noqa: UP006
MAGIC = b"SQLite format 3\0"
MODE = 0o1777  # of a file's mode, what is kept
BESIDE = ("-journal", "-wal", "-shm")  # what SQLite leaves beside a database


def walk(folder: str = ".") -> Iterator[str]:
    """Every path below the folder, in one order on all machines."""
    with os.scandir(folder) as found:
        entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    for name, is_folder in entries:
        path = os.path.normpath(os.path.join(folder, name))
        yield path
        if is_folder:
            yield from walk(path)


def opened(path: str) -> BinaryIO:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def is_sqlite(path: str) -> bool:
    with opened(path) as file:
        return file.read(len(MAGIC)) == MAGIC


class Digest:
    """Reads a file and notes what it has read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seen = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.seen.update(data)
        self.size += len(data)
        return data


def digest(path: str) -> Line:
    """Size and SHA-256."""
    with opened(path) as file:
        reader = Digest(file)
        while reader.read(1 << 20):
            pass
    return [reader.size, reader.seen.hexdigest()]


def rows(path: str) -> dict[str, int]:
    """Rows of each table; virtual tables are made of others, and need not be known here."""
    quoted = os.path.abspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    base = sqlite3.connect(f"file:{quoted}?mode=ro&immutable=1", uri=True)
    try:
        found = {}
        for name, sql in list(
            base.execute("select name, sql from sqlite_master where type = 'table' order by name")
        ):
            if not (sql or "").upper().startswith("CREATE VIRTUAL"):
                table = name.replace('"', '""')
                found[name] = base.execute(f'select count(*) from "{table}"').fetchone()[0]
        return found
    finally:
        base.close()


def known(path: str, sqlite: bool) -> Line:
    """What the manifest says of a path."""
    found = os.lstat(path)
    mode = stat.S_IMODE(found.st_mode) & MODE
    if stat.S_ISLNK(found.st_mode):
        return [path, "link", os.readlink(path)]
    if stat.S_ISDIR(found.st_mode):
        return [path, "folder", mode]
    if sqlite:
        return [path, "sqlite", mode, *digest(path), rows(path)]
    return [path, "file", mode, *digest(path)]


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
        self.told: Told = {"files": 0, "bytes": 0, "tables": 0, "rows": 0}

    def summary(self) -> Told:
        """What a person has to know; of long lists their length and the first three."""
        lists = {
            "left_out": self.left_out,
            "as_they_are": self.as_they_are,
            "of_others": self.of_others,
        }
        return {**self.told, **{key: [len(paths), *paths[:3]] for key, paths in lists.items()}}

    def take(self, path: str) -> Line | None:
        """Add a path to the archive; its line of the manifest, or None where it is left out."""
        if path in self.skipped:  # it may be gone: who closes a database as the last one clears up
            return None
        found = os.lstat(path)
        if found.st_uid != os.getuid():
            self.of_others.append(path)
        if stat.S_ISLNK(found.st_mode) or stat.S_ISDIR(found.st_mode):
            return self.add_link_or_folder(path, found)
        if not stat.S_ISREG(found.st_mode):
            self.left_out.append(path)
            return None
        if not is_sqlite(path):
            return self.add(path, path, "file")
        return self.add_database(path)

    def add_link_or_folder(self, path: str, found: os.stat_result) -> Line:
        info = info_of(path, found)
        info.type = tarfile.DIRTYPE if stat.S_ISDIR(found.st_mode) else tarfile.SYMTYPE
        info.linkname = os.readlink(path) if info.type == tarfile.SYMTYPE else ""
        self.tar.addfile(info)
        return known(path, False)

    def add_database(self, path: str) -> Line:
        copy = copy_of_database(path, os.path.join(self.scratch, "base"))
        if copy is None:
            self.as_they_are.append(path)
            return self.add(path, path, "file")
        self.skipped.update(path + end for end in BESIDE)
        counted = rows(copy)
        self.told["tables"] += len(counted)
        self.told["rows"] += sum(counted.values())
        return [*self.add(path, copy, "sqlite"), counted]

    def add(self, path: str, source: str, kind: str) -> Line:
        """Add a file with the bytes of `source`."""
        info = info_of(path, os.lstat(path))
        with opened(source) as file:
            reader = Digest(file)
            info.size = os.fstat(file.fileno()).st_size
            self.tar.addfile(info, reader)  # type: ignore[arg-type]
        self.told["files"] += 1
        self.told["bytes"] += reader.size
        return [path, kind, info.mode, reader.size, reader.seen.hexdigest()]


def info_of(path: str, found: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo("data/" + path)
    info.mode, info.mtime = stat.S_IMODE(found.st_mode) & MODE, found.st_mtime
    return info


def copy_of_database(path: str, place: str) -> str | None:
    """A copy by SQLite itself at `place`, or None for one that it can't read: then its files go as
    they are."""
    for name in (place, *(place + end for end in BESIDE)):
        if os.path.exists(name):
            os.unlink(name)
    try:
        source, copy = sqlite3.connect(path, timeout=30), sqlite3.connect(place)
        try:
            source.backup(copy)
            if copy.execute("pragma integrity_check(1)").fetchone()[0] != "ok":
                return None
        finally:
            copy.close()
            source.close()
        rows(place)
        return place
    except sqlite3.DatabaseError:
        return None


def read() -> None:
    os.umask(0o077)
    scratch = tempfile.mkdtemp(prefix="copy-", dir="/var/tmp")
    try:
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            reader = Reader(tar, scratch)
            with tempfile.TemporaryFile(dir=scratch) as manifest:
                for path in walk():
                    line = reader.take(path)
                    if line:
                        manifest.write(json.dumps(line).encode() + b"\n")
                info = tarfile.TarInfo("manifest")
                info.size = manifest.tell()
                manifest.seek(0)
                tar.addfile(info, manifest)
        sys.stdout.buffer.flush()
        print(json.dumps(reader.summary()), file=sys.stderr)
    except OSError as problem:
        sys.exit("{}: {}".format(problem.filename or "the copy", problem.strerror or problem))
    finally:
        shutil.rmtree(scratch)


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
            wrong, told = compare(manifest)
    except (OSError, tarfile.TarError) as problem:
        sys.exit("{}: {}".format(getattr(problem, "filename", None) or "the archive", problem))
    if wrong is not None:
        sys.exit(f"{wrong} is not as it was copied")
    print(json.dumps(told))


def unpack(manifest: IO[bytes]) -> None:
    """Put everything in its place, and what the archive says of it into `manifest`."""
    folders: list[tarfile.TarInfo] = []
    whole = False
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for member in tar:
            if member.name == "manifest":
                shutil.copyfileobj(content(tar, member), manifest)
                whole = True
            else:
                put(tar, member, folders)
    while sys.stdin.buffer.read(1 << 18):
        pass
    if not whole:
        sys.exit("the archive ends before its manifest")
    for folder in reversed(
        folders
    ):  # last: what is in a folder changes its time, and may need its being writable
        path = inside(folder.name)
        os.chmod(path, folder.mode)
        os.utime(path, (folder.mtime, folder.mtime))


def put(tar: tarfile.TarFile, member: tarfile.TarInfo, folders: list[tarfile.TarInfo]) -> None:
    path = inside(member.name)
    if member.isdir():
        os.mkdir(path, 0o700)
        folders.append(member)
    elif member.issym():
        os.symlink(member.linkname, path)
    elif member.isreg():
        new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(new, "wb") as out:
            shutil.copyfileobj(content(tar, member), out, 1 << 20)
            os.fchmod(new, member.mode)
        os.utime(path, (member.mtime, member.mtime))
    else:
        sys.exit(f"the archive holds {member.name!r}, which is neither file, folder nor link")


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    found = tar.extractfile(member)
    if found is None:
        sys.exit(f"the archive holds {member.name!r}, which is no file")
    return found


def inside(name: str) -> str:
    parts = name.split("/")
    if parts[0] != "data" or len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        sys.exit(f"the archive reaches outside of the data folder ({name!r})")
    return "/".join(parts[1:])


def compare(manifest: IO[bytes]) -> tuple[str | None, Told]:
    """The first path that is not as it was copied, or None where all are; and how much there is."""
    told = {"files": 0, "bytes": 0, "tables": 0, "rows": 0}
    lines = (json.loads(line) for line in manifest)
    for wanted, path in itertools.zip_longest(lines, walk()):
        if wanted is None or path is None:
            return path or wanted[0], told
        found = known(path, wanted[1] == "sqlite")
        if found != wanted:
            return wanted[0], told
        if found[1] in ("file", "sqlite"):
            told["files"] += 1
            told["bytes"] += found[3]
        if found[1] == "sqlite":
            told["tables"] += len(found[5])
            told["rows"] += sum(found[5].values())
    return None, told


if __name__ == "__main__":
    work = {"read": read, "empty": empty, "write": write}[sys.argv[1]]
    os.chdir(sys.argv[2])
    work()
