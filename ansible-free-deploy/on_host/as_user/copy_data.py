"""Read the data folder of a host into one archive (`archive.py` describes it).

    python -I -c TEXT read FOLDER [FACTS]    writes the archive to standard output, and a summary
                                             for a person to standard error

With FACTS, a JSON object about the backup, the application may go on writing meanwhile. All
databases are copied first, then the other files: a file that a row names was there before the row.
The copies that ships have made in backups/ are left out then, and the archive is in gzip.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import sqlite3
import stat
import sys
import tarfile
import tempfile
from typing import IO, Any, Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host.as_user.archive import (
    COPIES,
    COPY,
    FACTS,
    KEPT_MODE,
    MANIFEST,
    DigestReader,
    Line,
    Totals,
    is_sqlite,
    manifest_line,
    new_totals,
    opened,
    rows,
    walk,
)

SQLITE_FILES = ("-journal", "-wal", "-shm")  # endings of SQLite's files next to a database
# In SQLite's words: not the database is at fault.
HOST_REFUSES = ("is full", "is locked", "disk I/O error", "unable to open", "out of memory")
LISTS = ("left_out", "as_they_are", "of_others", "changed")  # of the summary


class Whole(DigestReader):
    """Reads as many bytes as the file had, also where it has become shorter meanwhile."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__(file)
        self.left = size
        self.lacks = False

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, self.left))
        wanted = min(size, self.left)
        if len(data) < wanted:
            self.lacks = True
            data += bytes(wanted - len(data))
        self.left -= len(data)
        self.sha256.update(data)
        self.size += len(data)
        return data


class Reader:
    """Writes the archive of the folder that this process is in."""

    def __init__(self, tar: tarfile.TarFile, scratch: str, is_live: bool) -> None:
        self.tar = tar
        self.scratch = scratch
        self.is_live = is_live
        # By path, where the copy of a database is; None for one that SQLite can't read.
        self.copies: dict[str, str | None] = {}
        self.skipped: set[str] = set()
        self.left_out: list[str] = []
        self.as_they_are: list[str] = []
        self.of_others: list[str] = []
        self.changed: list[str] = []
        self.totals = new_totals()

    def summary(self) -> Totals:
        """What a person has to know; of long lists their length and the first three."""
        summary = dict(self.totals)
        for key in LISTS:
            paths = getattr(self, key)
            summary[key] = [len(paths), *paths[:3]]
        return summary

    def paths(self) -> Iterator[str]:
        """Every path that belongs into the archive."""
        for path in walk():
            parts = path.split("/")
            is_copy = len(parts) > 1 and parts[0] == COPIES and COPY.fullmatch(parts[1])
            if not (self.is_live and is_copy):
                yield path

    def copy_databases(self) -> None:
        """Copy every database, before any other file is read."""
        for path in self.paths():
            if path in self.skipped:
                continue
            with self.gone():
                if stat.S_ISREG(os.lstat(path).st_mode) and is_sqlite(path):
                    self.copy_of(path)

    def copy_of(self, path: str) -> str | None:
        """The copy of a database, which is made once; None where SQLite can't read it."""
        if path not in self.copies:
            place = os.path.join(self.scratch, str(len(self.copies)))
            self.copies[path] = copy_of_database(path, place)
            if self.copies[path] is not None:
                self.skipped.update(path + end for end in SQLITE_FILES)
        return self.copies[path]

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Take a path that is not there any more for no mistake while the application writes."""
        try:
            yield
        except FileNotFoundError:
            if not self.is_live:
                raise

    def add_all(self, manifest: IO[bytes]) -> None:
        """Add every path to the archive, and its line to the manifest."""
        self.copy_databases()
        for path in self.paths():
            line = None
            with self.gone():
                line = self.add_path(path)
            if line is not None:
                manifest.write(json.dumps(line).encode() + b"\n")

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
        if path in self.copies or is_sqlite(path):
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
        copy = self.copy_of(path)
        if copy is None:
            self.as_they_are.append(path)
            return self.add_file(path, path, "file")
        counts = rows(copy)
        self.totals["tables"] += len(counts)
        self.totals["rows"] += sum(counts.values())
        return [*self.add_file(path, copy, "sqlite"), counts]

    def add_file(self, path: str, source: str, kind: str) -> Line:
        """Add a file with the bytes of `source`."""
        info = info_of(path, os.lstat(path))
        with opened(source) as file:
            info.size = os.fstat(file.fileno()).st_size
            reader = Whole(file, info.size)
            self.tar.addfile(info, reader)  # type: ignore[arg-type]
        if reader.lacks:
            self.changed.append(path)
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
    try:
        if not back_up(path, place):
            return None
        rows(place)
    except sqlite3.DatabaseError as problem:
        if any(word in str(problem) for word in HOST_REFUSES):
            sys.exit(f"{path} can't be copied: {problem}")
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


def read(facts: str = "") -> None:
    os.umask(0o077)
    scratch = tempfile.mkdtemp(prefix="copy-", dir="/var/tmp")
    try:
        summary = send_archive(scratch, facts)
        print(json.dumps(summary), file=sys.stderr)
    except OSError as problem:
        where = problem.filename or "the copy"
        sys.exit(f"{where}: {problem.strerror or problem}")
    finally:
        shutil.rmtree(scratch)


@contextlib.contextmanager
def written(is_packed: bool) -> Iterator[tarfile.TarFile]:
    """The archive that goes to standard output. Speed counts: a host has other work."""
    out: Any = sys.stdout.buffer
    if is_packed:
        out = gzip.GzipFile(fileobj=sys.stdout.buffer, mode="wb", compresslevel=1)
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        yield tar
    if is_packed:
        out.close()  # it leaves standard output open
    sys.stdout.buffer.flush()


def send_archive(scratch: str, facts: str) -> Totals:
    """Write the archive to standard output; its summary."""
    with written(bool(facts)) as tar, tempfile.TemporaryFile(dir=scratch) as manifest:
        if facts:
            add_text(tar, FACTS, facts.encode())
        reader = Reader(tar, scratch, bool(facts))
        reader.add_all(manifest)
        info = tarfile.TarInfo(MANIFEST)
        info.size = manifest.tell()
        manifest.seek(0)
        tar.addfile(info, manifest)
    return reader.summary()


def add_text(tar: tarfile.TarFile, name: str, text: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(text)
    tar.addfile(info, io.BytesIO(text))


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    read(*sys.argv[3:])
