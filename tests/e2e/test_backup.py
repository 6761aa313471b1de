"""`fab backup` and `fab restore` on real machines, under load, and what each refuses."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout import deploy
from rollout.backup import restoring
from rollout.host_errors import HostError
from tests.e2e.test_replace import PASSWORD, Shopper, products
from tests.support.age_keys import new_key
from tests.support.kit import Kit, Stack, manage

pytestmark = pytest.mark.machines
LEFT_BY_THE_APPLICATION = r"""
cd /var/lib/shop && sudo -u shop sh -ec 'echo "one picture" > media/kept.txt'
"""
DATA = (
    "cd /var/lib/shop && sha256sum secret_key media/kept.txt && stat -c '%n %U %a' media secret_key"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return {"own": folder / "own.key", "wrong": folder / "wrong.key"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Path]) -> Iterator[Stack]:
    """A pair whose backups are encrypted, with a user, an upload and a timer, which is there again
    after a restore."""
    public = new_key(keys["own"])
    new_key(keys["wrong"])
    kit = Kit(tmp_path_factory.mktemp("backup") / "home")
    nightly = {"run": "manage.py check", "at": "daily"}
    with Stack.of(kit, backup={"key": public}, timers={"nightly": nightly}) as made:
        made.fab("up", "--engine", "embedded")
        fill(made)
        yield made


def fill(stack: Stack) -> None:
    backend = stack.contract.backend.hosts[0]
    stack.kit.ssh(backend, manage("shop", f"createdemo ada {PASSWORD}"))
    stack.kit.ssh(backend, LEFT_BY_THE_APPLICATION)


def data(stack: Stack) -> str:
    """What the backend holds besides its database."""
    return stack.kit.ssh(stack.contract.backend.hosts[0], DATA)


def made_under_load(stack: Stack, folder: Path) -> tuple[Path, set[str], Shopper]:
    """A backup that is made while a shopper orders; what was acknowledged before it began."""
    shopper = Shopper(stack)
    shopper.start()
    while len(shopper.made) < 5:
        assert not shopper.over.wait(0.05)
        assert shopper.is_alive()
    before = set(shopper.made)
    stack.fab("backup", str(folder))
    count = len(shopper.made)
    shopper.stop()
    assert len(before) < count, "it took orders meanwhile"
    (file,) = folder.glob("shop.*.age")
    return file, before, shopper


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("shop.*.age")
    return file


def restore(stack: Stack, file: Path, key: Path, *words: str, status: int = 0) -> str:
    """`fab restore` with a key and no question; all that it says."""
    done = stack.fab("restore", str(file), "--identity", str(key), "--yes", *words, status=status)
    return done.stdout + done.stderr


def test_a_backup_under_load_is_restored_or_refused(
    stack: Stack, keys: dict[str, Path], tmp_path: Path
) -> None:
    """Every write that was acknowledged before it is back. A truncated one, another key, no answer
    and a full target leave the running database alone."""
    was = data(stack)
    file, before, shopper = made_under_load(stack, tmp_path)
    assert not shopper.other, "no request failed meanwhile"
    assert b"SQLite" not in file.read_bytes() and file.stat().st_mode & 0o777 == 0o600
    assert str(file) in stack.fab("backups", str(tmp_path)).stdout
    now = products(stack)
    refused(stack, keys, file, tmp_path)
    assert (products(stack), data(stack)) == (now, was)
    stack.kit.ssh(
        stack.contract.backend.hosts[0], manage("shop", f"shell -c '{MAKE.format('backup')}'")
    )
    assert "after-backup" in products(stack)
    assert "all as they were copied" in restore(stack, tmp_path, keys["own"])
    assert before <= products(stack) and "after-backup" not in products(stack)
    assert data(stack) == was
    left = (
        "ls -A /var/lib | grep restored; ls /etc/origin-kit/restore.json; ls /var/lib/shop/backups"
    )
    assert "before-restore" in stack.kit.ssh(stack.contract.backend.hosts[0], left, check=False)
    assert stack.fab("status").stdout.count("as the contract says") == 2


def refused(stack: Stack, keys: dict[str, Path], file: Path, folder: Path) -> None:
    """What is no good backup, or no good place for one."""
    short = folder / "truncated"
    short.write_bytes(file.read_bytes()[:-40])
    assert "damaged or truncated" in restore(stack, short, keys["own"], status=1)
    assert "to another key than the one in" in restore(stack, file, keys["wrong"], status=2)
    asked = stack.fab("restore", str(file), "--identity", str(keys["own"]), status=3)
    assert "nothing was changed: there is no terminal" in asked.stderr
    assert "is whole" in restore(stack, file, keys["own"], "--check")
    full = folder / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=66m", "none", full], check=True)
    try:
        (full / "fill").write_bytes(bytes((2 << 20) - 4096))
        said = stack.fab("backup", str(full), status=1).stderr
        assert "larger than the 0 MiB that are free in" in said
        assert [path.name for path in full.iterdir()] == ["fill"]
    finally:
        subprocess.run(["umount", full], check=True)


@pytest.mark.soak
def test_acknowledged_writes_outlive_a_destroyed_stack(
    stack: Stack, keys: dict[str, Path], tmp_path: Path
) -> None:
    """Back up under load, destroy, up, restore: every write from before the backup is there."""
    was = data(stack)
    _, before, _ = made_under_load(stack, tmp_path)
    stack.fab("down", "--yes")
    stack.fab("up", "--engine", "embedded")
    assert not before & products(stack)
    restore(stack, tmp_path, keys["own"])
    assert before <= products(stack)
    assert data(stack) == was
    assert stack.fab("status").stdout.count("as the contract says") == 2


def killed_at(
    step: str,
    stack: Stack,
    file: Path,
    key: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restore whose unit on the host is killed where it begins a step."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(stack.kit.home))
    orders = deploy.orders
    monkeypatch.setattr(
        deploy, "orders", lambda contract, role: {**orders(contract, role), "die_at": step}
    )
    with pytest.raises(HostError, match="the work on the host was killed"):
        restoring.restore(stack.contract, file, key, restoring.read(file, key))
    monkeypatch.undo()


@pytest.mark.soak
@pytest.mark.parametrize("step", ["migrate", "stop", "switch", "start", "finish"])
def test_a_killed_restore_leaves_one_of_the_two(
    stack: Stack,
    keys: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """The next deploy ends it: the whole backup serves, or what was there before."""
    stack.fab("backup", str(tmp_path))
    file = only_file(tmp_path)
    before = products(stack)
    stack.kit.ssh(
        stack.contract.backend.hosts[0], manage("shop", f"shell -c '{MAKE.format(step)}'")
    )
    killed_at(step, stack, file, keys["own"], monkeypatch)
    stack.fab("deploy", "--restart")
    kept = step in ("start", "finish")
    assert products(stack) == (before if kept else before | {f"after-{step}"})
    assert stack.fab("status").stdout.count("as the contract says") == 2
    restore(stack, file, keys["own"])
    assert products(stack) == before


MAKE = (
    'from catalog.models import Product; Product.objects.create(name="after-{}", price=1, stock=1)'
)
POISON = r"""
mkdir -p /etc/systemd/system/shop.service.d
printf '[Service]
ExecStartPre=/usr/bin/test ! -e /var/lib/shop/media/poison
'     > /etc/systemd/system/shop.service.d/test.conf
systemctl daemon-reload
"""


@pytest.mark.soak
def test_data_that_does_not_serve_is_taken_back(
    stack: Stack, keys: dict[str, Path], tmp_path: Path
) -> None:
    """The service does not start with it: what was there before serves again."""
    backend = stack.contract.backend.hosts[0]
    stack.kit.ssh(backend, "sudo -u shop touch /var/lib/shop/media/poison")
    stack.fab("backup", str(tmp_path))
    stack.kit.ssh(backend, "rm /var/lib/shop/media/poison")
    stack.kit.ssh(backend, POISON)
    before = products(stack)
    try:
        said = restore(stack, only_file(tmp_path), keys["own"], status=1)
        assert "the data from before serves again" in said
        assert products(stack) == before
        assert stack.kit.ssh(backend, "ls /var/lib/shop/media/poison || true") == ""
        stack.fab("status")
    finally:
        drop = "rm -r /etc/systemd/system/shop.service.d; systemctl daemon-reload"
        stack.kit.ssh(backend, drop)


@pytest.mark.soak
def test_another_stacks_backup_leaves_the_key(
    stack: Stack, keys: dict[str, Path], tmp_path: Path
) -> None:
    """It needs a word, brings the data, and the secret key of this stack stays."""
    was = data(stack)
    stack.fab("backup", str(tmp_path))
    file = only_file(tmp_path)
    with Stack.of(stack.kit) as other:
        other.fab("up", "--engine", "embedded")
        own = other.kit.ssh(other.contract.backend.hosts[0], "cat /var/lib/shop/secret_key")
        assert "--from-other-stack" in restore(other, file, keys["own"], status=2)
        restore(other, file, keys["own"], "--from-other-stack")
        assert products(other) == products(stack)
        assert own == other.kit.ssh(other.contract.backend.hosts[0], "cat /var/lib/shop/secret_key")
        assert data(other) != was
