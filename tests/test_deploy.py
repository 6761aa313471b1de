"""The operator's side of a deploy: what is asked of which host."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Host
from rollout.certificates import given
from rollout.config_rollback import RollbackError, before
from rollout.deploy import Outcome, UsageError, seconds
from rollout.deploy_report import as_wanted, history_text, status_table
from tests.support.kit import FAB, ROOT
from tests.test_render import GOLDEN, load

Line = tuple[str, str, str]

FIRST, SECOND = ("1", "B1", "deployed"), ("2", "B2", "deployed")
MADE = {"at": "2026-11-23T12:00:00+0000", "seconds": 1.0, "who": "ada@x"}


def look(name: str, current: str, kept: list[str], *lines: Line, **ships: object) -> Outcome[Any]:
    """A host's history; lines are (deploy, generation, result), the last first. `ships` as the host
    reports them."""
    deploys = [
        {"deploy": d, "generation": g, "result": r, "number": 10 * (len(lines) - place), **MADE}
        for place, (d, g, r) in enumerate(lines)
    ]
    host = Host(name, "203.0.113.1", 22, "deploy", ())
    here = {"current": current, "kept": kept, "release": None, "releases": [], "ships": [], **ships}
    return Outcome("backend", host, {**here, "deploys": deploys})


def shipped(number: int, release: str, revision: str, result: str) -> dict[str, object]:
    """A ship's line of a host's record."""
    return {"release": release, "revision": revision, "result": result, "number": number, **MADE}


def test_hosts_go_back_together() -> None:
    """The last change touched the backend only: the frontend stays with what belonged to it
    then."""
    lines = (("2", "F1", "unchanged"), ("1", "F1", "deployed"), ("0", "F0", "deployed"))
    backend = look("b", "B2", ["B1", "B2"], SECOND, FIRST)
    frontend = look("f", "F1", ["F0", "F1"], *lines)
    assert before([backend, frontend]) == {"b": "B1", "f": "F1"}


def test_deploys_that_changed_nothing_are_not_gone_back_to() -> None:
    unchanged = (("4", "B2", "unchanged"), ("3", "B2", "unchanged"))
    host = look("b", "B2", ["B1", "B2"], *unchanged, SECOND, FIRST)
    assert before([host]) == {"b": "B1"}


def test_failed_deploys_are_not_gone_back_to() -> None:
    failed = ("2", "B2", "failed: x")
    host = look("b", "B1", ["B0", "B1"], failed, FIRST, ("0", "B0", "deployed"))
    assert before([host]) == {"b": "B0"}


def test_a_host_that_is_new_stays_as_it_is() -> None:
    old = look("b", "B2", ["B1", "B2"], SECOND, FIRST)
    new = look("c", "C2", ["C2"], ("2", "C2", "deployed"))
    assert before([old, new]) == {"b": "B1", "c": "C2"}


def test_what_is_no_longer_kept_is_passed_over() -> None:
    host = look("b", "B3", ["B1", "B3"], ("3", "B3", "deployed"), SECOND, FIRST)
    assert before([host]) == {"b": "B1"}


def test_nothing_before_is_an_error_with_a_next_step() -> None:
    with pytest.raises(RollbackError, match="`fab deploy` makes one"):
        before([look("b", "B1", ["B1"], FIRST)])


def test_history_marks_what_is_current_and_what_is_kept() -> None:
    host = look("b", "B2", ["B1", "B2"], ("3", "B2", "unchanged"), SECOND, FIRST)
    lines = history_text(host).splitlines()
    assert len(lines) == 4
    assert "current" in lines[2]
    assert "kept" in lines[3]


def test_history_shows_ships_with_their_commit() -> None:
    """In the order of the host's own record, whatever its clock says; what can be gone back to is
    marked."""
    ships = [
        shipped(22, "R3", "c3+changes", "failed: migrate"),
        {**shipped(21, "R2", "c2", "shipped"), "at": "2020-01-01T00:00:00+0000"},
        shipped(12, "R2", "c2", "unchanged"),
        shipped(11, "R1", "commit unknown", "shipped"),
    ]
    releases = {"ships": ships, "release": "R2", "releases": ["R1", "R2"]}
    said = history_text(look("b", "B2", ["B1", "B2"], SECOND, FIRST, **releases))
    rows = [line.split() for line in said.splitlines()[2:]]
    assert [row[1:4] for row in rows] == [
        ["ship", "R3", "c3+changes"],
        ["ship", "R2", "current"],
        ["deploy", "B2", "current"],
        ["ship", "R1", "kept"],
        ["deploy", "B1", "kept"],
    ]
    assert ("c2" in rows[1], "commit unknown" in said, "ada@x" in rows[1], rows[1][-1]) == (
        True,
        True,
        True,
        "shipped",
    )


def test_status_shows_code_that_was_rolled_back() -> None:
    """As the contract says is the configuration, then; that is nothing wrong."""
    result: Any = {
        "generation": "g",
        "release": "/opt/shop/releases/91bc",
        "revision": "c1",
        "unfinished": False,
        "differs": [],
        "restarts": {},
        "units": {"nginx.service": "active"},
        "last_ship": {"result": "shipped", "previous": "3f2a"},
    }
    host = Host("frontend-1", "203.0.113.1", 22, "deploy", ())
    table = status_table([Outcome("frontend", host, result)])
    assert table.splitlines()[1].split()[3:5] == ["91bc", "c1"] and table.endswith(
        "  as the contract says"
    )
    back: Outcome[Any] = Outcome(
        "frontend", host, {**result, "last_ship": {"result": "rolled back", "previous": "3f2a"}}
    )
    assert (
        "  configuration as the contract says; its page was rolled back from release 3f2a"
        in status_table([back])
    )
    assert as_wanted(back)


def test_status_sends_a_host_without_a_release_to_ship() -> None:
    """A deploy needs a release, so it is no cure there."""
    result: Any = {
        "generation": None,
        "release": None,
        "unfinished": False,
        "differs": ["/etc/nginx/x"],
        "restarts": {},
        "units": {"nginx.service": "inactive"},
    }
    host = Host("backend-1", "203.0.113.1", 22, "deploy", ())
    outcome: Outcome[Any] = Outcome("backend", host, result)
    assert "  has no release yet: run `fab ship`, then `fab deploy`" in status_table([outcome])
    assert not as_wanted(outcome)


def test_status_says_what_was_changed_in_a_release() -> None:
    """It prints some paths, how many more there are and the next step, and fails."""
    result: Any = {
        "generation": "g",
        "release": "/opt/shop/releases/91bc",
        "unfinished": False,
        "differs": [],
        "restarts": {},
        "units": {"nginx.service": "active"},
        "release_changed": [f"app/{name}.py" for name in "abcde"],
    }
    host = Host("backend-1", "203.0.113.1", 22, "deploy", ())
    outcome: Outcome[Any] = Outcome("backend", host, result)
    expected = (
        "release 91bc was changed on the host (app/a.py, app/b.py, app/c.py and 2 more): run `fab"
        " ship`"
    )
    assert expected in status_table([outcome])
    assert not as_wanted(outcome)


@pytest.mark.parametrize(
    ("text", "value"), [(None, 60), ("90", 90), ("90s", 90), ("5m", 300), ("0", 0)]
)
def test_how_long_to_wait(text: str | None, value: int) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["soon", "5h", "-1", "", " "])
def test_how_not_to_say_it(text: str) -> None:
    if text == "":
        assert seconds(text) == 60
        return
    with pytest.raises(UsageError, match="write seconds or minutes"):
        seconds(text)


@pytest.mark.parametrize("case", ["local-ip", "https-ip"])
@pytest.mark.parametrize("verb", ["deploy", "plan", "status"])
def test_a_verb_imports_nothing_heavy(
    verb: str, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Pulumi, no gRPC, no cloud's SDK, no bars, and nothing that reads certificates, on the way
    to a host, which here is nobody. Over https the pairs of the own CA were checked before."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    given.orders(load(case), {}, make=True)
    contract = json.loads((GOLDEN / case / "contract.json").read_text())
    with socket.socket() as held:  # bound, not listening
        held.bind(("127.0.0.1", 0))
        for role, address in (("frontend", "127.0.0.1"), ("backend", "127.0.0.2")):
            contract[role]["hosts"][0] |= {"address": address, "port": held.getsockname()[1]}
        (tmp_path / "outputs.json").write_text(json.dumps(contract))
        words = [
            sys.executable,
            "-X",
            "importtime",
            FAB,
            verb,
            "--stack",
            contract["environment"],
            "--outputs",
            str(tmp_path / "outputs.json"),
        ]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 4 and "refused the connection" in done.stderr
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    loaded = {module.partition(".")[0] for module in modules}
    assert "fabric" in loaded and "rollout.deploy" in modules
    assert not modules & {"cryptography.x509", "rollout.certificates.pair", "packaging.specifiers"}
    assert (
        loaded & {"pulumi", "grpc", "boto3", "google", "pulumi_aws", "pulumi_gcp", "rich"} == set()
    )
