"""Take the application's data off a host that is replaced, and put it on the one that replaces it.

Standard library only (Python >= 3.9): this text is sent to the host and runs there as root. It finds its orders in the
global PAYLOAD and prints JSON lines: `{"step": ...}` as it goes, `{"data": base64}` for what is copied off, then
`{"result": ...}` or `{"error": ...}`. Root reads and writes nothing below /var/lib/<app>: READ and WRITE run as the
application's user, and root hands their streams on without looking inside.

The stream is a tar archive: data/..., then `manifest`, one JSON line for each path in order:

    [path, "folder", mode]   [path, "link", target]   [path, "file", mode, bytes, sha256]
    [path, "sqlite", mode, bytes, sha256, {table: rows}]

An SQLite file in it was made by SQLite's backup API, passed its integrity check, and needs no journal beside it. Owners
are not in it: what is the application's there is the application's here. Nor are set-id bits, which no service may set.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import shutil
import signal
import sys
from typing import Any, Callable, Iterator  # noqa: UP035 - Python 3.9 has no other

from rollout import claims, journal, replacement
from rollout.appdata import APP, DATA, in_data, make_user
from rollout.journal import audit
from rollout.onhost import (
    KIT,
    PAYLOAD,
    SILENCE_S,
    Failed,
    Json,
    emit,
    last_lines,
    run,
    send_heartbeats,
    step,
    take_lock,
    trouble,
)

LIMIT_S = 24 * 3600  # for one copy; what counts is that something moves, which the operator's side sees
CHUNK = 1 << 18

# What both sides' scripts share: every path below the data folder in one order, and what is known of it.
_LOOK = r"""
import hashlib, json, os, sqlite3, stat, sys, tarfile, tempfile
MAGIC = b"SQLite format 3\0"

def walk(folder="."):
    with os.scandir(folder) as found:
        entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    for name, is_folder in entries:
        path = os.path.normpath(os.path.join(folder, name))
        yield path
        if is_folder:
            yield from walk(path)

def opened(path):
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")

def is_sqlite(path):
    with opened(path) as file:
        return file.read(16) == MAGIC

class Digest:
    "Reads a file and notes what it has read."
    def __init__(self, file):
        self.file, self.seen, self.size = file, hashlib.sha256(), 0
    def read(self, size):
        data = self.file.read(size)
        self.seen.update(data)
        self.size += len(data)
        return data

def digest(path):
    with opened(path) as file:
        reader = Digest(file)
        while reader.read(1 << 20):
            pass
        return [reader.size, reader.seen.hexdigest()]

def rows(path):
    "Rows of each table; virtual tables are made of others, and need not be known here."
    where = "file:" + os.path.abspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    base = sqlite3.connect(where + "?mode=ro&immutable=1", uri=True)
    try:
        tables = [name for name, sql in base.execute("select name, sql from sqlite_master where type = 'table'")
                  if not (sql or "").upper().startswith("CREATE VIRTUAL")]
        count = 'select count(*) from "{}"'
        return {name: base.execute(count.format(name.replace('"', '""'))).fetchone()[0] for name in sorted(tables)}
    finally:
        base.close()

def known(path, sqlite):
    found = os.lstat(path)
    mode = stat.S_IMODE(found.st_mode) & 0o1777
    if stat.S_ISLNK(found.st_mode):
        return [path, "link", os.readlink(path)]
    if stat.S_ISDIR(found.st_mode):
        return [path, "folder", mode]
    return [path, "sqlite", mode, *digest(path), rows(path)] if sqlite else [path, "file", mode, *digest(path)]
"""

# On the old host, as the application's user: the archive on standard output, what a person has to know on the other.
READ = (
    _LOOK
    + r"""
os.chdir(sys.argv[1])
os.umask(0o077)
scratch = tempfile.mkdtemp(prefix="copy-", dir="/var/tmp")
told = {"files": 0, "bytes": 0, "tables": 0, "rows": 0, "left_out": [], "as_they_are": [], "of_others": []}

def copy_of(path):
    "A copy of the database by SQLite itself, or None for one that it can't read: then its files go as they are."
    place = os.path.join(scratch, "base")
    for name in (place, place + "-journal", place + "-wal", place + "-shm"):
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

def add(path, source, line):
    found, info = os.lstat(path), tarfile.TarInfo("data/" + path)
    info.mode, info.mtime = stat.S_IMODE(found.st_mode) & 0o1777, found.st_mtime
    with opened(source) as file:
        reader = Digest(file)
        info.size = os.fstat(file.fileno()).st_size
        tar.addfile(info, reader)
    told["files"] += 1
    told["bytes"] += reader.size
    return [*line, info.mode, reader.size, reader.seen.hexdigest()]

def take(path, skipped):
    if path in skipped:  # it may be gone: who closes a database as the last one clears up
        return None
    found = os.lstat(path)
    if found.st_uid != os.getuid():
        told["of_others"].append(path)
    if stat.S_ISLNK(found.st_mode) or stat.S_ISDIR(found.st_mode):
        info = tarfile.TarInfo("data/" + path)
        info.mode, info.mtime = stat.S_IMODE(found.st_mode) & 0o1777, found.st_mtime
        info.type = tarfile.DIRTYPE if stat.S_ISDIR(found.st_mode) else tarfile.SYMTYPE
        info.linkname = os.readlink(path) if info.type == tarfile.SYMTYPE else ""
        tar.addfile(info)
        return known(path, False)
    if not stat.S_ISREG(found.st_mode):
        told["left_out"].append(path)
        return None
    if not is_sqlite(path):
        return add(path, path, [path, "file"])
    copy = copy_of(path)
    if copy is None:
        told["as_they_are"].append(path)
        return add(path, path, [path, "file"])
    skipped.update(path + end for end in ("-journal", "-shm", "-wal"))
    line = [*add(path, copy, [path, "sqlite"]), rows(copy)]
    told["tables"] += len(line[-1])
    told["rows"] += sum(line[-1].values())
    return line

try:
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        with tempfile.TemporaryFile(dir=scratch) as manifest:
            skipped = set()
            for path in walk():
                line = take(path, skipped)
                if line:
                    manifest.write(json.dumps(line).encode() + b"\n")
            info = tarfile.TarInfo("manifest")
            info.size = manifest.tell()
            manifest.seek(0)
            tar.addfile(info, manifest)
    sys.stdout.buffer.flush()
    for key in ("left_out", "as_they_are", "of_others"):
        told[key] = [len(told[key]), *told[key][:3]]
    print(json.dumps(told), file=sys.stderr)
except OSError as problem:
    sys.exit("{}: {}".format(problem.filename or "the copy", problem.strerror or problem))
finally:
    for name in os.listdir(scratch):
        os.unlink(os.path.join(scratch, name))
    os.rmdir(scratch)
"""
)

# On the new host, as the application's user: unpacks what comes on standard input into the empty folder, then reads all
# of it again and compares it with the manifest.
WRITE = (
    _LOOK
    + r"""
import itertools, shutil
os.chdir(sys.argv[1])
os.umask(0o077)

def inside(name):
    parts = name.split("/")
    if parts[0] != "data" or len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        sys.exit("the archive reaches outside of the data folder ({!r})".format(name))
    return "/".join(parts[1:])

def put(tar, member, folders):
    path = inside(member.name)
    if member.isdir():
        os.mkdir(path, 0o700)
        folders.append((path, member.mode, member.mtime))
    elif member.issym():
        os.symlink(member.linkname, path)
    elif member.isreg():
        new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(new, "wb") as out:
            shutil.copyfileobj(tar.extractfile(member), out, 1 << 20)
            os.fchmod(new, member.mode)
        os.utime(path, (member.mtime, member.mtime))
    else:
        sys.exit("the archive holds {!r}, which is neither file, folder nor link".format(member.name))

def different(manifest):
    "The first path that is not as it was copied; None where all are."
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

try:
    with tempfile.TemporaryFile(dir="/var/tmp") as manifest:
        folders, whole = [], False
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
            for member in tar:
                if member.name == "manifest":
                    shutil.copyfileobj(tar.extractfile(member), manifest)
                    whole = True
                else:
                    put(tar, member, folders)
        while sys.stdin.buffer.read(1 << 18):
            pass
        if not whole:
            sys.exit("the archive ends before its manifest")
        for path, mode, mtime in reversed(folders):
            os.chmod(path, mode)
            os.utime(path, (mtime, mtime))
        manifest.seek(0)
        wrong, told = different(manifest)
    if wrong is not None:
        sys.exit("{} is not as it was copied".format(wrong))
    print(json.dumps(told))
except (OSError, tarfile.TarError) as problem:
    sys.exit("{}: {}".format(getattr(problem, "filename", None) or "the archive", problem))
"""
)

EMPTY = r"""
import os, shutil, stat, sys
os.chdir(sys.argv[1])
for here, folders, _ in os.walk("."):
    for name in folders:
        path = os.path.join(here, name)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.chmod(path, 0o700)
for name in os.listdir("."):
    shutil.rmtree(name) if stat.S_ISDIR(os.lstat(name).st_mode) else os.unlink(name)
"""


# ------------------------------------------------------------------------------------------------- the old host


def close() -> Json:
    """Nobody else changes this host from here on; its own replacement brings the configuration that takes no writes."""
    if journal.exists():
        raise Failed("a change that was interrupted is open here: run `fab deploy`, then this again")
    mark = replacement.close()
    audit(f"closed: {mark['name']} is being replaced", mark["id"], "replacement")
    return {"closing": mark["closing"]}


def copy() -> Json:
    """Stop the application, then send its data: at most PAYLOAD["most"] bytes, for which the operator has room."""
    mark = replacement.read()
    if mark.get("state") != replacement.CLOSED:
        raise Failed("this host takes writes, so its data can't be copied; run this again")
    step("stop", f"stops {APP}")
    for unit in claims.units_of(APP):
        run("systemctl", "stop", unit)
    claims.nobody_works_as(APP)
    step("copy", "copies the data")
    sender = Sender()
    done = in_data(READ, into=sender, most=sys.maxsize, limit_s=LIMIT_S)
    if done.returncode:
        raise Failed(f"the data can't be copied: {last_lines(done.stdout, 1)}", last_lines(done.stdout))
    return {"closing": mark["closing"], "size": sender.size, "digest": sender.seen.hexdigest(),
            "told": summary(done.stdout)}  # fmt: skip


class Sender:
    """Sends what is written to it to the operator. One who is gone ends it."""

    def __init__(self) -> None:
        self.seen, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self.seen.update(data)
        self.size += len(data)
        if self.size > PAYLOAD["most"]:
            raise Failed(
                f"the data is larger than the {PAYLOAD['most'] >> 20} MiB that are free in {PAYLOAD['place']} on your "
                "side; make room there, then run this again"
            )
        for start in range(0, len(data), CHUNK):
            if not emit(data=base64.b64encode(data[start : start + CHUNK]).decode()):
                raise Failed("the operator is gone")


def summary(said: str) -> Json:
    """What the application's user says of what it read: for a person, nothing rests on it."""
    try:
        found = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def reopen() -> Json:
    """The ordinary configuration is back: forget that this host was closed, and the configuration that it had then."""
    generations = KIT / "generations"
    current = os.path.realpath(str(KIT / "current"))
    for closed in generations.glob(f"{PAYLOAD['generation']}*"):  # its id ends with a mark of the host's secrets
        if str(closed) == current:
            raise Failed("this host is still on the configuration that takes no writes; run this again")
        shutil.rmtree(str(closed))
    replacement.forget()
    audit("reopened", str(PAYLOAD["replacement"]), "replacement")
    return {}


# ------------------------------------------------------------------------------------------------- the new host


def restore() -> Json:
    """Make the user and put the data in its place: all of it, compared with the manifest, or nothing."""
    closing, mark = str(PAYLOAD["closing"]), replacement.read()
    if mark.get("state") == replacement.RESTORED and mark["closing"] == closing:
        return {"restored": False}
    if os.path.lexists(str(DATA)) and mark.get("state") not in (replacement.RESTORING, replacement.RESTORED):
        raise Failed(f"{DATA} is there already, and no `fab replace` has put it there; it was left as it is")
    if found := claims.conflicts(APP):
        raise Failed(f"the name {APP} is taken here by what this kit did not make: {'; '.join(found)}")
    replacement.write(replacement.RESTORING, closing)
    claims.write_mark(APP)
    for unit in claims.units_of(APP):
        run("systemctl", "stop", unit)
    step("user", "makes the application's user")
    make_user()
    claims.nobody_works_as(APP)
    must(in_data(EMPTY), "what an earlier run has left can't be removed")
    step("restore", "restores the data and compares it")
    told = put_back()
    os.sync()
    replacement.write(replacement.RESTORED, closing)
    audit("restored", str(PAYLOAD["replacement"]), "replacement")
    return {"restored": True, "told": told}


def put_back() -> Json:
    seen = hashlib.sha256()
    source = counted(PAYLOAD["size"], seen)
    done = in_data(WRITE, source=source, limit_s=LIMIT_S)
    must(done, "the data was not restored")
    if seen.hexdigest() != PAYLOAD["digest"]:
        raise Failed("the data arrives incomplete; was the connection cut? run this again")
    return summary(done.stdout)


def must(done: Any, what: str) -> None:
    if done.returncode:
        raise Failed(f"{what}: {last_lines(done.stdout, 1)}", last_lines(done.stdout))


def counted(size: int, seen: Any) -> Iterator[bytes]:
    """What the operator sends; it ends early where nothing more comes for a while, which the digest shows."""
    left = size
    while left:
        # What came along with the orders is in the buffer, and `select` sees only what is not.
        if left != size and not select.select([sys.stdin], [], [], SILENCE_S)[0]:
            return
        chunk = sys.stdin.buffer.read1(min(left, CHUNK))  # type: ignore[union-attr]
        if not chunk:
            return
        left -= len(chunk)
        seen.update(chunk)
        yield chunk


def settle() -> Json:
    """The new host serves: it is one as any other."""
    replacement.forget()
    return {}


ACTIONS: dict[str, Callable[[], Json]] = {
    "close": close, "copy": copy, "reopen": reopen, "restore": restore, "settle": settle,
}  # fmt: skip


def main() -> int:
    os.umask(0o022)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    send_heartbeats()
    try:
        with take_lock():
            result = ACTIONS[PAYLOAD["action"]]()
        emit(result=result)
        return 0
    except Failed as problem:
        emit(error=str(problem), detail=problem.detail)
    except OSError as problem:
        emit(error=trouble(problem, DATA), detail="")
    return 1


if __name__ == "__main__" and PAYLOAD:
    sys.exit(main())
