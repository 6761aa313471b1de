"""A backup as the operator's side makes it, opens it and refuses it; the host's part runs here."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.core.settings import Settings, SettingsError
from on_host import as_user
from on_host.answers import BackupAnswer
from on_host.data_copy import summary
from rollout.backup import age, making, names, places, restoring
from rollout.backup.errors import BackupError, UseError
from tests.support.age_keys import new_key
from tests.test_settings import GOOD

MADE = "20261201T031236Z"
FACTS: dict[str, object] = {
    "app": "shop",
    "stack": "prod",
    "made": MADE,
    "format": 1,
    "release": "ab",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: a database below a name that sorts last, media, a key, copies of ships."""
    folder = tmp_path / "data"
    (folder / "media").mkdir(parents=True)
    (folder / "media" / "a.jpg").write_bytes(b"picture" * 1000)
    (folder / "secret_key").write_text("s3cret")
    (folder / "backups" / "00001-before-0abc").mkdir(parents=True)
    (folder / "backups" / "00001-before-0abc" / "db").write_text("old")
    (folder / "backups" / "of-my-own.txt").write_text("mine")
    with sqlite3.connect(folder / "zoo.sqlite3") as base:
        base.execute("create table orders (id integer primary key, file text)")
        base.executemany("insert into orders (file) values (?)", [("a.jpg",)] * 50)
    base.close()
    return folder


def archive(folder: Path, facts: dict[str, object] = FACTS) -> tuple[bytes, dict[str, Any]]:
    """What a host sends of the folder, and what it says of that."""
    command = [sys.executable, "-I", "-c", as_user.text("copy_data")]
    command += ["read", str(folder), json.dumps(facts)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return done.stdout, summary(done.stderr.decode())


def sender(content: bytes, counted: dict[str, Any]) -> Any:
    def send(take: making.Take) -> BackupAnswer:
        for start in range(0, len(content), 1 << 18):
            take(content[start : start + (1 << 18)])
        return {
            "size": len(content),
            "digest": hashlib.sha256(content).hexdigest(),
            "counted": counted,
        }

    return send


@pytest.fixture
def backup(data: Path, tmp_path: Path) -> Path:
    """A backup of that folder; own.key opens it."""
    public = new_key(tmp_path / "own.key")
    place = tmp_path / "kept" / names.name_of("shop", "prod", MADE)
    place.parent.mkdir()
    made = making.keep(place, public, sender(*archive(data)))
    assert made.counted["rows"] == 50
    return place


def members(backup: Path, key: Path) -> list[str]:
    with age.opened(backup, key) as stream:
        content = stream.read()
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        return tar.getnames()


def test_a_backup_opens_with_the_private_key_alone(backup: Path, tmp_path: Path) -> None:
    """It is 0600, says whose it is, and holds all but the copies that ships have made."""
    assert backup.stat().st_mode & 0o777 == 0o600
    assert b"picture" not in backup.read_bytes()
    facts = restoring.read(backup, tmp_path / "own.key")
    assert (facts.app, facts.stack, facts.made) == ("shop", "prod", "20261201T031236Z")
    inside = members(backup, tmp_path / "own.key")
    assert inside[0] == "backup.json" and inside[-1] == "manifest"
    assert "data/media/a.jpg" in inside and "data/backups/of-my-own.txt" in inside
    assert not [name for name in inside if "before" in name]
    counted = restoring.check(backup, tmp_path / "own.key")
    assert (counted["tables"], counted["rows"], counted["files"]) == (1, 50, 4)


def test_another_key_is_refused_by_name(backup: Path, tmp_path: Path) -> None:
    """One that is no key as well, and one that is not there."""
    new_key(tmp_path / "wrong.key")
    with pytest.raises(UseError, match=r"encrypted to another key than the one in .*wrong\.key"):
        restoring.read(backup, tmp_path / "wrong.key")
    (tmp_path / "no.key").write_text("hello\n")
    with pytest.raises(UseError, match="nothing was changed"):
        restoring.read(backup, tmp_path / "no.key")
    with pytest.raises(UseError, match=r"there is no private key .*gone\.key"):
        restoring.read(backup, tmp_path / "gone.key")


@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_backup_is_refused(backup: Path, tmp_path: Path, part: float) -> None:
    """Wherever it ends."""
    whole = backup.read_bytes()
    backup.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(BackupError, match=r"damaged or truncated|is no backup"):
        restoring.read(backup, tmp_path / "own.key")


def test_a_damaged_backup_is_refused(backup: Path, tmp_path: Path) -> None:
    """One bit in its middle."""
    changed = bytearray(backup.read_bytes())
    changed[len(changed) // 2] ^= 1
    backup.write_bytes(changed)
    with pytest.raises(BackupError, match="damaged or truncated"):
        restoring.read(backup, tmp_path / "own.key")


def encrypted(content: bytes, public: str, place: Path) -> Path:
    command = ["age", "-r", public, "-o", str(place)]
    subprocess.run(command, input=content, check=True)
    return place


def test_what_is_no_backup_is_refused(tmp_path: Path, data: Path) -> None:
    """A text, an encrypted text, an archive of another kind, one of a newer kit."""
    public = new_key(tmp_path / "own.key")
    text = tmp_path / "text"
    text.write_text("hello, world; this is no backup at all, but it is long enough\n" * 9)
    with pytest.raises(UseError, match="is no backup: age did not write it"):
        restoring.read(text, tmp_path / "own.key")
    hello = encrypted(b"hello" * 1000, public, tmp_path / "hello")
    with pytest.raises(BackupError, match="opens, and holds no archive"):
        restoring.read(hello, tmp_path / "own.key")
    newer = encrypted(archive(data, {**FACTS, "format": 2})[0], public, tmp_path / "newer")
    with pytest.raises(UseError, match="is of format 2, and this kit reads 1"):
        restoring.read(newer, tmp_path / "own.key")


def test_data_that_differs_from_its_manifest_is_not_kept(data: Path, tmp_path: Path) -> None:
    """The trial restore finds it, and no file is left."""
    public = new_key(tmp_path / "own.key")
    content, counted = archive(data)
    place = tmp_path / names.name_of("shop", "prod", "20261201T031236Z")
    with pytest.raises(BackupError, match="a restore into a scratch folder here fails"):
        making.keep(place, public, sender(content[: len(content) // 2], counted))
    with pytest.raises(BackupError, match="the host says 51 rows, and a restore here has 50"):
        making.keep(place, public, sender(content, {**counted, "rows": 51}))
    assert not list(tmp_path.glob("*.age*")) and not list(tmp_path.glob(".*.partial"))


def test_a_full_target_is_named(tmp_path: Path) -> None:
    """age says so as soon as the disk takes no more."""
    public = new_key(tmp_path / "own.key")
    with Path("/dev/full").open("wb") as full:
        child = age.encrypting(public, full)
        try:
            with pytest.raises(BrokenPipeError):
                for _ in range(100):
                    child.write(b"x" * (1 << 20))
            assert child.end() != 0
            assert "no space left on device" in child.words()
        finally:
            child.stop()


class Writer(threading.Thread):
    """Writes orders and their pictures, the picture first, as Django does."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.written = 0
        self.over = threading.Event()

    def run(self) -> None:
        base = sqlite3.connect(self.folder / "zoo.sqlite3", timeout=30)
        while not self.over.is_set():
            name = f"{self.written}.jpg"
            (self.folder / "media" / name).write_text(name)
            with base:
                base.execute("insert into orders (file) values (?)", (name,))
            self.written += 1
            log = self.folder / "media" / "log"
            log.write_text("x" * (self.written % 7) * 10_000)
        base.close()


@pytest.fixture
def writer(data: Path) -> Iterator[Writer]:
    thread = Writer(data)
    thread.start()
    yield thread
    thread.over.set()
    thread.join()


def test_every_row_of_a_live_copy_has_its_file(data: Path, writer: Writer, tmp_path: Path) -> None:
    """Files come, grow and shrink meanwhile: what was written before the copy is in it, and the
    media of every row."""
    while writer.written < 20:
        assert writer.is_alive()
    before = writer.written
    content, counted = archive(data)
    other = tmp_path / "other"
    other.mkdir()
    command = [sys.executable, "-I", "-c", as_user.text("put_data"), "write", str(other)]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == counted["rows"] >= before + 50
    base = sqlite3.connect(other / "zoo.sqlite3")
    files = [row[0] for row in base.execute("select file from orders")]
    base.close()
    assert [file for file in files if not (other / "media" / file).exists()] == []


def test_only_this_stacks_backups_are_its_own(tmp_path: Path) -> None:
    """By application and stack as a whole, sorted by time; whatever else lies there is nobody's."""
    for name in (
        "shop.prod.20261202T000000Z.tar.gz.age",
        "shop.prod.20261130T235959Z.tar.gz.age",
        "shop.prod-2.20261201T000000Z.tar.gz.age",
        "my-shop.prod.20261201T000000Z.tar.gz.age",
        "shop.prod.yesterday.tar.gz.age",
        ".shop.prod.20261203T000000Z.tar.gz.age.7.partial",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    assert [found.made for found in names.own(tmp_path, "shop", "prod")] == [
        "20261130T235959Z",
        "20261202T000000Z",
    ]
    assert restoring.chosen(tmp_path, "shop", "prod").name.startswith("shop.prod.20261202")
    assert names.own(tmp_path / "none", "shop", "prod") == []
    with pytest.raises(UseError, match="holds no backup of shop, stack dev"):
        restoring.chosen(tmp_path, "shop", "dev")


def test_what_is_no_folder_of_backups_is_named(tmp_path: Path) -> None:
    """A file, or one that may not be read; a folder that is not there holds none."""
    (tmp_path / "file").touch()
    with pytest.raises(UseError, match="can't be read as a folder of backups: Not a directory"):
        names.own(tmp_path / "file", "shop", "prod")
    assert names.own(tmp_path / "nothing", "shop", "prod") == []


def test_a_foreign_backup_needs_a_word(backup: Path, tmp_path: Path) -> None:
    """Another stack's data is restored where it was asked for, and not in passing."""
    facts = restoring.read(backup, tmp_path / "own.key")
    wanted = Settings.read(GOOD, "staging")
    with pytest.raises(UseError, match=r"backup of shop, stack prod, .*--from-other-stack"):
        restoring.refuse_foreign(facts, wanted, allowed=False)
    restoring.refuse_foreign(facts, wanted, allowed=True)


def test_only_folders_take_backups(tmp_path: Path) -> None:
    """A bucket is refused by its name, and so is a file in the place of a folder."""
    wanted = Settings.read(GOOD, "prod")
    with pytest.raises(UseError, match="s3://mine: backups go to a folder"):
        places.folder("s3://mine", wanted)
    assert places.folder("", wanted).name == "shop.prod"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[1]", "backup: '[1]' is not a map"),
        ('{"keys": "x"}', "backup: keys is no part of it; there are key"),
        ('{"key": "x"}', "backup: key is 'x': expected age1"),
        ('{"key": "AGE-SECRET-KEY-1QQ"}', "backup: key is the private key"),
        ('{"key": "ecdsa-sha2-nistp256 AAAA"}', "backup: key is"),
    ],
)
def test_a_key_that_no_backup_can_use_is_refused(value: str, said: str) -> None:
    """In the config, before anything is made; a private key above all."""
    with pytest.raises(SettingsError, match=re.escape(said)):
        Settings.read(GOOD | {"backup": value}, "x")


def test_keys_of_age_and_of_ssh_are_taken(tmp_path: Path) -> None:
    """As `age-keygen` writes them, and as `ssh-keygen` does, without the comment."""
    public = new_key(tmp_path / "own.key")
    assert Settings.read(GOOD | {"backup": json.dumps({"key": public})}, "x").backup == {
        "key": public
    }
    ssh = tmp_path / "id"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", str(ssh)]
    subprocess.run(command, check=True)
    line = ssh.with_suffix(".pub").read_text().strip()
    found = Settings.read(GOOD | {"backup": json.dumps({"key": line})}, "x").backup
    assert found == {"key": line.removesuffix(" ada")}
    with pytest.raises(UseError, match="there is no key to encrypt a backup to"):
        making.key_of(Settings.read(GOOD, "x"))
