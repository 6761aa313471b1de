"""What is looked for on a host that is emptied. That it is gone there hold tests on machines."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from on_host import emptying, places
from on_host.runtime import Failed

ME = pwd.getpwuid(os.getuid())
NOBODY = pwd.struct_passwd(("left", "x", 64_321, 64_321, "", "/nonexistent", "/bin/false"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another root, with a folder of this user's."""
    monkeypatch.setattr(places, "ROOT", tmp_path)
    (tmp_path / "tmp/mine").mkdir(parents=True)
    return tmp_path


def test_links_to_the_kit_are_found_whoever_made_them(root: Path) -> None:
    """And no others: what a link leads to need not be there."""
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "shop.service").symlink_to("/etc/origin-kit/current/systemd/shop.service")
    (units / "other.service").symlink_to("/etc/origin-kits/other.service")
    assert emptying.belongings(None) == [str(units / "shop.service")]
    assert emptying.belongings(NOBODY) == [str(units / "shop.service")]


def test_a_folder_of_the_user_s_stands_for_what_is_in_it(root: Path) -> None:
    (root / "tmp/mine/inside").write_text("")
    assert emptying.belongings(ME) == [str(root)]


def test_any_name_is_removed_and_no_link_is_followed(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A line break, bytes that are no text, a dash in front."""
    other = tmp_path_factory.mktemp("other") / "file"
    other.write_text("stays")
    folder = os.fsencode(root / "tmp/mine")
    names = [b"a\nb", b"\xff\xfe", b"-rf"]
    for name in names:
        Path(os.fsdecode(os.path.join(folder, name))).mkdir()  # noqa: PTH118
    (root / "tmp/mine/link").symlink_to(other)
    (root / "tmp/mine/folder").symlink_to(other.parent)
    emptying.remove(*(str(path) for path in (root / "tmp/mine").iterdir()))
    assert list((root / "tmp/mine").iterdir()) == [] and other.read_text() == "stays"


def test_what_can_not_be_removed_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "link").symlink_to("/etc/origin-kit/current")
    monkeypatch.setattr(emptying, "remove", lambda *found: None)
    with pytest.raises(Failed, match=r"/link can't be removed"):
        emptying.remove_belongings(None)


def test_the_kernel_s_lists_have_the_columns_that_are_read() -> None:
    """Of shared memory, queues and semaphores, and of processes."""
    for kind, (column, _) in emptying.IPC.items():
        assert list(emptying.shared_by(kind, column, NOBODY.pw_uid)) == []
    assert str(os.getpid()) in emptying.processes_of(ME.pw_uid)
    assert emptying.processes_of(NOBODY.pw_uid) == []


def test_no_file_system_of_this_host_s_own_is_left_out() -> None:
    """Memory is searched as disks are; the kernel's own and other machines' are not."""
    words = emptying.skipped()
    assert {"proc", "sysfs", "devpts"} <= set(words)
    assert not {"tmpfs", "overlay", "ext4", "mqueue", "btrfs", "xfs"} & set(words)
