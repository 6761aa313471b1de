"""What root reads of the application's files, whatever the application puts there."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from on_host import places, untrusted
from on_host.runtime import Failed
from on_host.untrusted import receive, within, worker_records

GOOD = {"fingerprint": "f", "release": "/opt/shop/releases/a"}


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of records below another root, where every living process counts."""
    monkeypatch.setattr(places, "ROOT", tmp_path)
    folder = tmp_path / "run/shop/workers"
    folder.mkdir(parents=True)
    return folder


def test_records_of_living_workers_are_read(workers: Path) -> None:
    """Records of ended processes, and files with other names, do not count."""
    (workers / str(os.getpid())).write_text(json.dumps({**GOOD, "more": 1}))
    (workers / "99999999").write_text(json.dumps(GOOD))
    (workers / ".1").write_text(json.dumps(GOOD))
    assert worker_records("shop") == [GOOD]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 4000,
        b'{"fingerprint": 1, "release": "r"}',
        b" " * 5000 + b"{}",
    ],
    ids=["empty", "no keys", "a list", "null", "no text", "deep", "a number", "long"],
)
def test_a_broken_record_is_ignored(workers: Path, text: bytes) -> None:
    """Whatever the file contains, no error is raised."""
    (workers / "1").write_bytes(text)
    assert worker_records("shop") == []


def test_only_small_regular_files_are_read(workers: Path, tmp_path: Path) -> None:
    """A pipe that nobody writes to, a link to a good record, a terabyte, a folder, a socket."""
    good = tmp_path / "good"
    good.write_text(json.dumps(GOOD))
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as out:
        out.truncate(1 << 40)
    name = workers / str(os.getpid())
    os.mkfifo(name)
    assert worker_records("shop") == []
    name.unlink()
    for target in (good, sparse, Path("/dev/zero")):
        name.symlink_to(target)
        assert worker_records("shop") == []
        name.unlink()
    sparse.rename(name)
    assert worker_records("shop") == []
    name.unlink()
    name.mkdir()
    assert worker_records("shop") == []
    name.rmdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(name))
        assert worker_records("shop") == []


def test_a_folder_that_is_a_link_is_not_entered(workers: Path, tmp_path: Path) -> None:
    """Not even where the link leads to good records."""
    elsewhere = tmp_path / "elsewhere"
    workers.rename(elsewhere)
    (elsewhere / str(os.getpid())).write_text(json.dumps(GOOD))
    workers.symlink_to(elsewhere)
    assert worker_records("shop") == []


def test_the_number_of_records_is_limited(workers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of files takes no longer."""
    monkeypatch.setattr(untrusted, "MOST_RECORDS", 10)
    for number in range(50):
        (workers / f"x{number}").touch()
    assert worker_records("shop") == []


def test_without_a_folder_there_is_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first start of the service there is no folder of records."""
    monkeypatch.setattr(places, "ROOT", tmp_path)
    assert worker_records("shop") == []


def test_a_process_outside_of_the_unit_is_no_worker(
    workers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process must be in the unit's control group; process 1 is in no application's."""
    monkeypatch.setattr(places, "ROOT", Path("/"))
    assert not untrusted._in_unit(1, "shop.service")
    assert not untrusted._in_unit(99999999, "shop.service")


# ------------------------------------------------------------------------------------- static files


def sent(*files: tuple[object, object, bytes], end: object = None) -> io.BytesIO:
    text = b"".join(json.dumps([path, size]).encode() + b"\n" + data for path, size, data in files)
    return io.BytesIO(text + json.dumps(["", len(files) if end is None else end]).encode() + b"\n")


def test_files_arrive_with_fixed_modes(tmp_path: Path) -> None:
    """Each has its content and mode 0644."""
    receive(sent(("a/b.css", 3, b"css"), ("c", 0, b"")), tmp_path)
    assert (tmp_path / "a/b.css").read_bytes() == b"css"
    assert (tmp_path / "a/b.css").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "c").read_bytes() == b""


@pytest.mark.parametrize(
    "source",
    [
        io.BytesIO(b""),
        io.BytesIO(b"128 static files copied\n"),
        io.BytesIO(b"[" * 100_000),
        sent(("a", 3, b"abc"), end=2),
        sent(("a", 300, b"abc")),
        sent(("a", -1, b"")),
        sent(("a", True, b"")),
        sent(("a", "3", b"abc")),
        sent((7, 3, b"abc")),
        sent(("../../etc/evil", 1, b"x")),
        sent(("/etc/evil", 1, b"x")),
        sent(("a//b", 1, b"x")),
        sent(("a\0b", 1, b"x")),
        sent(("a", 1, b"x"), ("a", 1, b"y")),
        sent(("a", 1, b"x"), ("a/b", 1, b"y")),
        sent(("a/b", 1, b"x"), ("a", 1, b"y")),
        sent(("x" * 300, 1, b"x")),
        sent(("x/" * 50 + "x", 1, b"x")),
    ],
)
def test_unexpected_input_is_refused(tmp_path: Path, source: io.BytesIO) -> None:
    """Incomplete, outside, twice, too deep or no file at all: always an error."""
    folder = tmp_path / "static"
    folder.mkdir()
    with pytest.raises(Failed, match="did not arrive completely"):
        receive(source, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["static"]


def test_more_files_than_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the limit."""
    monkeypatch.setattr(untrusted, "MOST_FILES", 2)
    with pytest.raises(Failed, match="more than 2 files"):
        receive(sent(*((f"{number}", 0, b"") for number in range(3))), tmp_path)


# ------------------------------------------------------------------------------------------ answers


def test_an_answer_has_a_time_limit() -> None:
    """A socket's own time-out starts again with every byte."""
    near, far = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.05):
            far.send(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    began = time.monotonic()
    near.settimeout(5)
    try:
        with pytest.raises(TimeoutError, match=r"no complete answer within 0.5 s"), within(0.5):
            while near.recv(1):
                pass
    finally:
        stop.set()
        dripping.join()
        near.close()
        far.close()
    assert time.monotonic() - began < 4
