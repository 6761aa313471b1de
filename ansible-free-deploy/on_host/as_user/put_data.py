"""Put an archive of `copy_data.py` into a folder, and compare it with its manifest.

python -I -c TEXT empty FOLDER           removes everything in the folder
python -I -c TEXT write FOLDER           unpacks standard input into the empty folder, then reads
                                         all of it again and compares it with the manifest
python -I -c TEXT keep FOLDER OTHER      gives FOLDER the secret key of OTHER
python -I -c TEXT carry FOLDER OTHER     moves the copies of ships from OTHER to FOLDER
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import stat
import sys
import tarfile
import tempfile
import zlib
from typing import IO

from on_host.as_user.archive import (
    AT_ONCE,
    COPIES,
    COPY,
    FACTS,
    MANIFEST,
    Totals,
    address,
    manifest_line,
    new_totals,
    walk,
)

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
KEY = "secret_key"


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
    except (OSError, EOFError, zlib.error, tarfile.TarError) as problem:
        where = getattr(problem, "filename", None) or "the archive"
        sys.exit(f"{where}: {problem}")
    if different is not None:
        sys.exit(f"{different} differs from what was copied")
    print(json.dumps(totals))


def unpack(manifest: IO[bytes]) -> None:
    """Put everything in its place, and the archive's manifest into `manifest`."""
    folders: list[tarfile.TarInfo] = []
    complete = False
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|*") as tar:
        for member in tar:
            if member.name == MANIFEST:
                shutil.copyfileobj(content(tar, member), manifest)
                complete = True
            elif member.name != FACTS:
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
        is_database = wanted[1] == "sqlite"
        if manifest_line(path, is_database) != wanted or (is_database and not is_sound(path)):
            return wanted[0], totals
        if wanted[1] in ("file", "sqlite"):
            totals["files"] += 1
            totals["bytes"] += wanted[3]
        if is_database:
            totals["tables"] += len(wanted[5])
            totals["rows"] += sum(wanted[5].values())
    return None, totals


def is_sound(path: str) -> bool:
    """Whether a database passes SQLite's integrity check here."""
    database = sqlite3.connect(address(path), uri=True)
    try:
        checked = database.execute("pragma integrity_check(1)").fetchone()
        return bool(checked[0] == "ok")
    except sqlite3.OperationalError as problem:
        # Its digest is that of a copy which has passed where the module is known.
        return "no such module" in str(problem)
    finally:
        database.close()


def keep(other: str) -> None:
    """Take the secret key of another data folder in the place of the one that is here."""
    descriptor = os.open(os.path.join(other, KEY), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        key = file.read(AT_ONCE)
    if os.path.lexists(KEY):
        os.unlink(KEY)
    with open(os.open(KEY, NEW, 0o600), "wb") as out:
        out.write(key)


def carry(other: str) -> None:
    """Move what ships have copied there; a copy of the same name stays where it is."""
    there = os.path.join(other, COPIES)
    if not os.path.isdir(there) or os.path.islink(there):
        return
    os.makedirs(COPIES, exist_ok=True)
    for name in sorted(os.listdir(there)):
        if COPY.fullmatch(name) and not os.path.lexists(os.path.join(COPIES, name)):
            os.rename(os.path.join(there, name), os.path.join(COPIES, name))


if __name__ == "__main__":
    actions = {"empty": empty, "write": write, "keep": keep, "carry": carry}
    os.chdir(sys.argv[2])
    actions[sys.argv[1]](*sys.argv[3:])  # type: ignore[operator]
