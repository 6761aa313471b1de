"""A preview's seed: once, and again only where it did not end well."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.core import exits
from infra.core.contract import Contract
from on_host import places as on_hosts
from on_host import seed_mark
from on_host.runtime import Failed
from on_host.seed_mark import BEGUN, DONE
from rollout import hosts, manage
from rollout.host_errors import HostError
from rollout.previews import seed
from rollout.previews.seed import SeedError
from rollout.render import places
from tests.support.gated import preview_of
from tests.test_render import load

MANAGE = """#!/bin/sh
echo "$@" >> {folder}/words
cat > {folder}/given
cat {folder}/mark >> {folder}/marks
exit $(cat {folder}/status)
"""


@dataclasses.dataclass
class Machine:
    """A host of which there is a mark and a `manage` that notes its words."""

    folder: Path
    status: int = 0
    lost: bool = False

    @property
    def mark(self) -> Path:
        return self.folder / "mark"

    @property
    def runs(self) -> list[str]:
        path = self.folder / "words"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, command: str, **_: Any) -> subprocess.CompletedProcess[str]:
        """What the host's root would do."""
        if self.lost:
            raise EOFError
        (self.folder / "status").write_text(str(self.status))
        words = command.replace("sudo -n ", "", 1)
        words = words.replace(seed.MARK, str(self.mark))
        done = subprocess.run(
            ["sh", "-c", words], input="", capture_output=True, text=True, check=False
        )
        done.exited = done.returncode  # type: ignore[attr-defined]
        return done


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    program = tmp_path / "manage"
    program.write_text(MANAGE.format(folder=tmp_path))
    program.chmod(0o755)
    there = Machine(tmp_path)

    @contextmanager
    def session(host: Any, *_: Any) -> Iterator[Any]:
        yield hosts.Session(host, there)  # type: ignore[arg-type]

    monkeypatch.setattr(hosts, "session", session)
    monkeypatch.setattr(manage, "Stoppable", lambda connection: connection)
    monkeypatch.setattr(places, "MANAGE", str(program))
    return there


def contract() -> Contract:
    return preview_of(load("local-ip"))


def test_it_runs_once(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The words as a shell reads them, nothing on standard input; the mark is root's alone."""
    assert seed.run_once(contract(), "loaddata 'two words.json'")
    assert machine.runs == ["loaddata two words.json"]
    assert machine.mark.read_text() == f"{DONE}\n"
    assert machine.mark.stat().st_mode & 0o777 == 0o600
    assert (machine.folder / "marks").read_text() == f"{BEGUN}\n"
    assert (machine.folder / "given").read_text() == ""
    capsys.readouterr()
    assert not seed.run_once(contract(), "loaddata other.json")
    assert len(machine.runs) == 1
    assert capsys.readouterr().out == ""


def test_one_that_failed_runs_again_and_says_so(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.status = 3
    with pytest.raises(SeedError, match=r"backend-1: the seed ended with status 3: manage.py fill"):
        seed.run_once(contract(), "fill")
    assert SeedError.exit_status == exits.WRONG
    assert machine.mark.read_text() == f"{BEGUN}\n"
    capsys.readouterr()
    machine.status = 0
    assert seed.run_once(contract(), "fill")
    assert "runs fill again, as it failed or was stopped before" in capsys.readouterr().out
    assert machine.mark.read_text() == f"{DONE}\n"
    assert not seed.run_once(contract(), "fill")
    assert len(machine.runs) == 2


def test_one_that_was_interrupted_runs_again(machine: Machine) -> None:
    """Whatever ended it: the mark says that it has begun."""
    machine.mark.write_text(f"{BEGUN}\n")
    assert seed.run_once(contract(), "fill")
    assert len(machine.runs) == 1


def test_a_host_that_is_lost_is_no_seed(machine: Machine) -> None:
    machine.lost = True
    with pytest.raises(HostError, match="the connection was lost"):
        seed.run_once(contract(), "fill")
    assert machine.runs == []


def test_none_without_a_command_or_a_backend_of_its_own(machine: Machine) -> None:
    attached = contract()
    attached = dataclasses.replace(
        attached, backend=dataclasses.replace(attached.backend, hosts=())
    )
    assert not seed.run_once(contract(), "")
    assert not seed.run_once(attached, "fill")
    assert machine.runs == []


# ------------------------------------------------------------ of a host that is replaced


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a host's mark is."""
    monkeypatch.setattr(on_hosts, "KIT", tmp_path)
    monkeypatch.setattr(seed_mark, "MARK", tmp_path / "seed")
    return tmp_path / "seed"


@pytest.mark.parametrize("state", [DONE, BEGUN, ""])
def test_a_new_machine_has_the_mark_of_the_old_one(mark: Path, state: str) -> None:
    """Whatever an earlier try to replace it has left there; one that is done is never run again."""
    mark.write_text(f"{BEGUN}\n")
    seed_mark.write(state)
    assert seed_mark.read() == state
    if state:
        assert mark.read_text() == f"{state}\n"
        assert mark.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in mark.parent.iterdir()] == (["seed"] if state else [])


def test_a_damaged_mark_is_not_copied(mark: Path) -> None:
    """Nobody knows then whether the database has its first data."""
    mark.write_text("don")
    with pytest.raises(Failed, match="is damaged: it says neither begun nor done"):
        seed_mark.read()
