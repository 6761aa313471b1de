"""Who may log in: the list of the contract against the authorized_keys that there are."""

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


def lines(found: Change) -> list[str]:
    return [line for line in found.text.splitlines() if not line.startswith("#")]


def test_a_colleague_comes_and_a_leaver_goes() -> None:
    found = change([ADA, BOB], [ADA, EVE], own=ADA)
    assert (found.comes, found.goes, found.stays) == ([EVE], [BOB], [])
    assert lines(found) == [ADA, EVE]


def test_the_key_in_use_stays_though_it_is_not_listed() -> None:
    """Whoever takes their own key out of the list by mistake can still put it back."""
    found = change([ADA, BOB], [EVE], own=ADA)
    assert (found.comes, found.goes, found.stays) == ([EVE], [BOB], [ADA])
    assert lines(found) == [EVE, ADA]


def test_it_goes_with_the_next_deploy_of_somebody_listed() -> None:
    found = change([EVE, ADA], [EVE], own=EVE)
    assert (found.goes, found.stays) == ([ADA], [])


def test_a_file_that_holds_the_list_is_left_alone() -> None:
    """Comments and order mean nothing, nor does the key in use that only stays."""
    assert not change(["# by hand", f"{key(BOB)} another", key(ADA)], [ADA, BOB])
    assert not change([EVE, KIT], [EVE], own=KIT)


@pytest.mark.parametrize(
    "options", ['command="/bin/sh" ', 'from="10.0.0.0/8",no-pty ', 'environment="X=ssh-rsa AAAA" ']
)
def test_a_listed_key_with_options_becomes_one_without(options: str) -> None:
    """The list says who may log in, not that they may run one command."""
    found = change([options + ADA], [ADA], own=ADA)
    assert (found.comes, found.goes) == ([ADA], [options + ADA])
    assert lines(found) == [ADA]


def test_the_key_in_use_keeps_its_options() -> None:
    found = change([f'from="10.0.0.0/8" {ADA}'], [EVE], own=ADA)
    assert lines(found) == [EVE, f'from="10.0.0.0/8" {ADA}']


def test_a_key_is_named_as_ssh_keygen_does(tmp_path: Path) -> None:
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


def test_the_file_is_written_whole_private_and_once(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (host / "authorized_keys").write_text(f"{ADA}\n{BOB}\n")
    assert [line[0] for line in logins.differences()[logins.NAME].splitlines()[1:]] == ["+", "-"]
    assert logins.settle() is True
    assert (host / "authorized_keys").read_text() == f"{logins.HEAD}{ADA}\n{EVE}\n"
    assert (host / "authorized_keys").stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr().out
    assert "no longer lets in ssh-ed25519 SHA256:" in said
    assert logins.settle() is False
    assert logins.differences() == {}


def test_the_second_file_that_sshd_reads_counts_too(host: Path) -> None:
    """A key hidden in authorized_keys2 goes with the file."""
    (host / "authorized_keys").write_text(f"{ADA}\n{EVE}\n")
    (host / "authorized_keys2").write_text(f"{BOB}\n")
    assert logins.settle() is True
    assert not (host / "authorized_keys2").exists()


def test_no_link_is_followed(host: Path, tmp_path: Path) -> None:
    """Neither the file's nor the folder's: what they lead to stays as it is."""
    (tmp_path / "elsewhere").write_text("precious")
    (host / "authorized_keys").symlink_to(tmp_path / "elsewhere")
    assert logins.settle() is True
    assert (tmp_path / "elsewhere").read_text() == "precious"
    moved = host.rename(host.with_name("moved"))
    host.symlink_to(moved)
    (moved / "authorized_keys").write_text(f"{BOB}\n")
    with pytest.raises(OSError, match=r"\.ssh"):
        logins.settle()


def test_without_a_list_nothing_is_touched(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (host / "authorized_keys").write_text(f"{BOB}\n")
    monkeypatch.setattr(logins, "ORDERS", {})
    assert logins.settle() is False
    assert logins.differences() == {}
    assert (host / "authorized_keys").read_text() == f"{BOB}\n"


def test_an_unknown_user_is_told(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: dict[str, Any] = {"logins": {"user": "nobody-here", "keys": [ADA], "own": None}}
    monkeypatch.setattr(logins, "ORDERS", orders)
    with pytest.raises(Failed, match="there is no user nobody-here here"):
        logins.settle()
