"""The application's data, copied from one folder to another as on the old and the new host."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from on_host import as_user, data_copy, orders
from on_host.runtime import Failed

ORDERS = '''
import os, signal, sqlite3, sys
base = sqlite3.connect(sys.argv[1])
base.execute("pragma journal_mode = wal")
base.execute('create table "the ""orders""" (id integer primary key)')
base.execute("create virtual table words using fts5(text)")
base.executemany('insert into "the ""orders""" values (?)', [(number,) for number in range(100)])
base.commit()
os.kill(os.getpid(), signal.SIGKILL)
'''


def run(action: str, folder: Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [
        sys.executable,
        "-I",
        "-c",
        as_user.text("copy_data" if action == "read" else "put_data"),
        action,
        str(folder),
    ]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with odd files and a database whose last writes are only in its log."""
    folder = tmp_path / "data"
    (folder / "media" / "a b").mkdir(parents=True)
    (folder / "media" / "a b" / "\u00fc\n.txt").write_text("odd name")
    (folder / "secret_key").write_text("s3cret")
    (folder / "secret_key").chmod(0o600)
    (folder / "closed").mkdir()
    (folder / "closed" / "inside").write_text("x")
    (folder / "closed").chmod(0o500)
    (folder / "link").symlink_to("/etc/shadow")
    os.mkfifo(folder / "pipe")
    (folder / "broken.sqlite3").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    done = subprocess.run([sys.executable, "-c", ORDERS, str(folder / "shop.db")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "shop.db-wal").stat().st_size > 0
    return folder


def manifest(archive: bytes) -> list[Any]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = tar.extractfile("manifest")
        assert found is not None
        return [json.loads(line) for line in found.read().splitlines()]


def test_restored_data_equals_the_original(data: Path, tmp_path: Path) -> None:
    """Rows in the write-ahead log, modes, times and links too; what was not copied is reported."""
    read = run("read", data)
    assert read.returncode == 0, read.stderr
    summary = data_copy.summary(read.stderr.decode())
    assert summary["left_out"] == [1, "pipe"] and summary["as_they_are"] == [1, "broken.sqlite3"]
    assert summary["of_others"] == [0]
    lines = {line[0]: line for line in manifest(read.stdout)}
    assert lines["shop.db"][1] == "sqlite" and lines["shop.db"][5]['the "orders"'] == 100
    assert not {"shop.db-wal", "shop.db-shm", "pipe"} & lines.keys()
    assert lines["link"] == ["link", "link", "/etc/shadow"]
    assert lines["closed"] == ["closed", "folder", 0o500]
    other = tmp_path / "other"
    other.mkdir()
    written = run("write", other, read.stdout)
    assert written.returncode == 0, written.stderr
    again = data_copy.summary(written.stdout.decode())
    assert {key: again[key] for key in again} == {key: summary[key] for key in again}
    base = sqlite3.connect(other / "shop.db")
    assert base.execute('select count(*) from "the ""orders"""').fetchone() == (100,)
    assert (other / "secret_key").stat().st_mode & 0o777 == 0o600
    assert (other / "media" / "a b").stat().st_mtime == (data / "media" / "a b").stat().st_mtime
    assert (other / "broken.sqlite3").read_bytes() == (data / "broken.sqlite3").read_bytes()


def rewritten(archive: bytes, change: Any) -> bytes:
    """The archive with each member as `change` gives it: (name, content or None) or nothing."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=out, mode="w") as new,
    ):
        for member in old:
            file = old.extractfile(member) if member.isreg() else None
            found = change(member, file.read() if file else None)
            if found is not None:
                member, content = found
                member.size = len(content or b"")
                new.addfile(member, io.BytesIO(content) if content is not None else None)
    return out.getvalue()


def one_bit(member: tarfile.TarInfo, content: bytes | None) -> Any:
    if member.name == "data/secret_key":
        content = b"S3cret"
    return member, content


def one_less(member: tarfile.TarInfo, content: bytes | None) -> Any:
    return None if member.name == "data/secret_key" else (member, content)


def out_of_it(member: tarfile.TarInfo, content: bytes | None) -> Any:
    member.name = member.name.replace("data/secret_key", "data/../escaped")
    return member, content


def through_a_link(member: tarfile.TarInfo, content: bytes | None) -> Any:
    member.name = member.name.replace("data/secret_key", "data/link/escaped")
    return member, content


def one_more(member: tarfile.TarInfo, content: bytes | None) -> Any:
    if member.name == "manifest":
        content = (content or b"").replace(b'["secret_key"', b'["secret_kez"')
    return member, content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_bit, "secret_key differs from what was copied"),
        (one_less, "differs from what was copied"),
        (one_more, "differs from what was copied"),
        (out_of_it, "reaches outside of the data folder"),
        (through_a_link, "/etc/shadow|link/escaped"),
    ],
)
def test_a_changed_archive_is_refused(data: Path, tmp_path: Path, change: Any, said: str) -> None:
    """A changed byte, a missing file, an additional one, a path that leads out."""
    archive = rewritten(run("read", data).stdout, change)
    other = tmp_path / "other"
    other.mkdir()
    written = run("write", other, archive)
    assert written.returncode != 0
    assert any(part in written.stderr.decode() for part in said.split("|")), written.stderr
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_refused(data: Path, tmp_path: Path, part: float) -> None:
    """Wherever it ends before the end of its manifest."""
    archive = run("read", data).stdout
    other = tmp_path / "other"
    other.mkdir()
    begin_of_manifest = archive.rindex(b"manifest")
    assert run("write", other, archive[: int(begin_of_manifest * part)]).returncode != 0


def test_empty_removes_everything(data: Path) -> None:
    """Also folders that their owner has made read-only."""
    assert run("empty", data).returncode == 0
    assert list(data.iterdir()) == []


def test_too_much_data_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operator's disk is not filled, whatever is there (a sparse file of a terabyte)."""
    monkeypatch.setitem(orders.ORDERS, "most", 3 << 20)
    monkeypatch.setitem(orders.ORDERS, "place", "/var/lib/origin-kit/replace")
    sender = data_copy.Sender()
    sender.write(b"x" * (2 << 20))
    assert capsys.readouterr().out.count('"data"') == 8
    with pytest.raises(
        Failed, match="larger than the 3 MiB that are free in /var/lib/origin-kit/replace"
    ):
        sender.write(b"x" * (2 << 20))


def test_a_summary_may_be_anything() -> None:
    """The application writes it: root takes it for an object, or for nothing."""
    for said in ("", "no json", "[1]", "[" * 100_000, "3"):
        assert data_copy.summary(said) == {}
