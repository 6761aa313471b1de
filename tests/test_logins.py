"""Who may log in: the contract's list compared with the authorized_keys on a host."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from on_host import logins, places
from on_host.logins import Change
from on_host.runtime import Failed
from tests.support.graph import _key

ADA, BOB, EVE, KIT = (f"{_key(name)[0]} {name}@laptop" for name in ("ada", "bob", "eve", "kit"))


def key(line: str) -> str:
    return " ".join(line.split()[:2])


def change(there: list[str], wanted: list[str], own: str | None = None) -> Change:
    return Change({"user": "deploy", "keys": wanted, "own": own and key(own)}, there)


def lines(change: Change) -> list[str]:
    return [line for line in change.text.splitlines() if not line.startswith("#")]


def test_listed_keys_are_added_others_removed() -> None:
    """A new colleague gets access, and one who left loses it."""
    due = change([ADA, BOB], [ADA, EVE], own=ADA)
    assert (due.added, due.removed, due.retained) == ([EVE], [BOB], [])
    assert lines(due) == [ADA, EVE]


def test_the_key_in_use_is_kept_if_not_listed() -> None:
    """Whoever takes their own key out of the list by mistake can still put it back."""
    due = change([ADA, BOB], [EVE], own=ADA)
    assert (due.added, due.removed, due.retained) == ([EVE], [BOB], [ADA])
    assert lines(due) == [EVE, ADA]


def test_the_next_deploy_removes_that_key() -> None:
    """An unlisted key is removed when somebody with a listed key deploys."""
    due = change([EVE, ADA], [EVE], own=EVE)
    assert (due.removed, due.retained) == ([ADA], [])


def test_a_file_equal_to_the_list_is_not_written() -> None:
    """Comments, order and the unlisted key in use make no difference."""
    assert not change(["# by hand", f"{key(BOB)} another", key(ADA)], [ADA, BOB])
    assert not change([EVE, KIT], [EVE], own=KIT)


@pytest.mark.parametrize(
    "options", ['command="/bin/sh" ', 'from="10.0.0.0/8",no-pty ', 'environment="X=ssh-rsa AAAA" ']
)
def test_options_of_a_listed_key_are_removed(options: str) -> None:
    """The list says who may log in, not that they may run one command."""
    due = change([options + ADA], [ADA], own=ADA)
    assert (due.added, due.removed) == ([ADA], [options + ADA])
    assert lines(due) == [ADA]


def test_the_key_in_use_keeps_its_options() -> None:
    """An unlisted key that is kept for this login stays exactly as it is in the file."""
    due = change([f'from="10.0.0.0/8" {ADA}'], [EVE], own=ADA)
    assert lines(due) == [EVE, f'from="10.0.0.0/8" {ADA}']


def test_a_key_is_named_as_ssh_keygen_does(tmp_path: Path) -> None:
    """People can compare the name with the output of `ssh-keygen -l`."""
    import subprocess

    (tmp_path / "key.pub").write_text(ADA + "\n")
    said = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True
    )
    assert said.stdout.split()[1] in logins.name_of(ADA)
    assert logins.name_of(ADA).endswith("ada@laptop")


# ------------------------------------------------------------------------------- on the host's disk


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the user that runs the tests, below another root."""
    who = pwd.getpwuid(os.geteuid())
    home = Path(f"{tmp_path}{who.pw_dir}")
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(
        logins, "ORDERS", {"logins": {"user": who.pw_name, "keys": [ADA, EVE], "own": key(ADA)}}
    )
    return home / ".ssh"


def test_the_file_is_private_and_written_once(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has mode 0600, and a second run finds nothing to do."""
    (host / "authorized_keys").write_text(f"{ADA}\n{BOB}\n")
    assert [line[0] for line in logins.differences()[logins.NAME].splitlines()[1:]] == ["+", "-"]
    assert logins.settle() is True
    assert (host / "authorized_keys").read_text() == f"{logins.HEAD}{ADA}\n{EVE}\n"
    assert (host / "authorized_keys").stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr().out
    assert "no longer allows ssh-ed25519 SHA256:" in said
    assert logins.settle() is False
    assert logins.differences() == {}


def test_authorized_keys2_is_removed(host: Path) -> None:
    """sshd reads that file too, so a key in it would still open the host."""
    (host / "authorized_keys").write_text(f"{ADA}\n{EVE}\n")
    (host / "authorized_keys2").write_text(f"{BOB}\n")
    assert logins.settle() is True
    assert not (host / "authorized_keys2").exists()


def test_no_link_is_followed(host: Path, tmp_path: Path) -> None:
    """Neither a link in place of the file nor of the folder: their targets stay unchanged."""
    (tmp_path / "elsewhere").write_text("precious")
    (host / "authorized_keys").symlink_to(tmp_path / "elsewhere")
    assert logins.settle() is True
    assert (tmp_path / "elsewhere").read_text() == "precious"
    moved = host.rename(host.with_name("moved"))
    host.symlink_to(moved)
    (moved / "authorized_keys").write_text(f"{BOB}\n")
    with pytest.raises(OSError, match=r"\.ssh"):
        logins.settle()


def test_without_a_list_nothing_is_written(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract without ssh_keys leaves authorized_keys as they are."""
    (host / "authorized_keys").write_text(f"{BOB}\n")
    monkeypatch.setattr(logins, "ORDERS", {})
    assert logins.settle() is False
    assert logins.differences() == {}
    assert (host / "authorized_keys").read_text() == f"{BOB}\n"


def test_an_unknown_user_is_an_error(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the user."""
    orders: dict[str, Any] = {"logins": {"user": "nobody-here", "keys": [ADA], "own": None}}
    monkeypatch.setattr(logins, "ORDERS", orders)
    with pytest.raises(Failed, match="there is no user nobody-here on this host"):
        logins.settle()
