"""Which hosts a rollback of the code takes back, to what, and what is asked first."""

from __future__ import annotations

import io
from typing import Any

import pytest

from infra.core import errors, exits
from infra.core.contract import Host
from rollout import question, rollback
from rollout.config_rollback import RollbackError
from rollout.deploy import Outcome

Line = dict[str, Any]


def ship(deploy: str, release: str, previous: str | None, hour: int = 12, **more: Any) -> Line:
    at = f"2026-11-23T{hour:02}:00:00+0000"
    return {
        "deploy": deploy,
        "release": release,
        "previous": previous,
        "at": at,
        "result": "shipped",
        **more,
    }


def look(name: str, *lines: Line, kept: str = "", **migrations: list[str]) -> Outcome[Any]:
    """A host that has been shipped to, the last first; `kept` names releases that are still
    there."""
    current = lines[0]["release"] if lines else None
    names = {*kept.split(), *filter(None, [current])}
    known = {
        one: {"revision": f"commit of {one}", "migrations": migrations.get(one, [])}
        for one in names
    }
    result = {
        "current": current,
        "last": lines[0] if lines else None,
        "ships": list(lines),
        "kept": known,
    }
    return Outcome(name.split("-")[0], Host(name, "203.0.113.1", 22, "deploy", ()), result)


def ways(*looks: Outcome[Any], to: str | None = None) -> dict[str, str]:
    found = rollback.to_release(looks, to) if to else rollback.to_before_the_last_ship(looks)
    return {way.host.name: way.to for way in found}


def test_a_page_that_was_shipped_alone_goes_back_alone() -> None:
    """The backend stays where it is, though it has a release before."""
    frontend = look("frontend-1", ship("3", "F2", "F1", 14), kept="F1")
    backend = look("backend-1", ship("2", "B2", "B1", 13), kept="B1")
    assert ways(frontend, backend) == {"frontend-1": "F1"}


def test_code_that_was_shipped_alone_goes_back_alone() -> None:
    """Though the page was shipped later than the code that this one goes back to."""
    frontend = look("frontend-1", ship("2", "F2", "F1", 13), kept="F1")
    backend = look("backend-1", ship("3", "B2", "B1", 14), kept="B1")
    assert ways(frontend, backend) == {"backend-1": "B1"}


def test_what_was_shipped_together_goes_back_together() -> None:
    """Whatever the hosts' clocks say."""
    frontend = look("frontend-1", ship("3", "F2", "F1", 9), kept="F1")
    backend = look("backend-1", ship("3", "B2", "B1", 14), kept="B1")
    assert ways(frontend, backend) == {"frontend-1": "F1", "backend-1": "B1"}


def test_a_rollback_is_taken_back_by_the_next() -> None:
    frontend = look(
        "frontend-1",
        ship("4", "F1", "F2", 15, result="rolled back"),
        ship("3", "F2", "F1"),
        kept="F2",
    )
    assert ways(frontend, look("backend-1", ship("2", "B2", "B1"), kept="B1")) == {
        "frontend-1": "F2"
    }


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        (
            [look("frontend-1", ship("1", "F1", None))],
            "no release before this one on frontend-1; `fab ship` puts one",
        ),
        ([look("frontend-1")], "the last ship is on no host's record; there is no other release"),
        (
            [look("frontend-1", ship("3", "F3", "F2"), kept="F1")],
            "release F2, which the last ship replaced, is not on frontend-1 any more; name one: "
            r"`fab rollback --release --to ID`; there is F1 \(page, commit of F1\)",
        ),
    ],
)
def test_nothing_to_go_back_to_is_an_error_with_a_next_step(
    looks: list[Outcome[Any]], said: str
) -> None:
    with pytest.raises(RollbackError, match=said):
        rollback.to_before_the_last_ship(looks)


def test_a_release_by_its_name_is_of_one_role() -> None:
    """All hosts of that role go to it, or none; one that serves it stays."""
    looks = [
        look("frontend-1", ship("3", "F3", "F2"), kept="F1 F2"),
        look("backend-1", ship("1", "B1", None)),
    ]
    assert ways(*looks, to="F1") == {"frontend-1": "F1"}
    assert ways(*looks, to="F3") == {}
    more = look("frontend-2", ship("3", "F3", "F2"), kept="F2")
    assert ways(*looks, more, to="F2") == {"frontend-1": "F2", "frontend-2": "F2"}
    with pytest.raises(
        RollbackError, match="release F1 is not on frontend-2, and all hosts change or none"
    ):
        ways(*looks, more, to="F1")
    with pytest.raises(
        RollbackError,
        match=r"release X is on no host; name one: .*; there is F1 \(page, commit of F1\)",
    ):
        ways(*looks, to="X")


def back(**more: list[str]) -> rollback.Back:
    folder = "/var/lib/shop/backups"
    third = ship("3", "B3", "B2", copy=f"{folder}/00002-before-B3")
    second = ship("2", "B2", "B1", copy=f"{folder}/00001-before-B2")
    copies = [third, second, ship("1", "B1", None, copy="/other")]
    return rollback.way(look("backend-1", *copies, kept="B1 B2", **more), "B1")


def test_a_way_past_migrations_names_them_and_the_first_copy() -> None:
    """Those of the release that is left and not of the other; the copy from before the first of
    them."""
    way = back(B3=["shop.0001", "shop.0002", "auth.0001"], B1=["shop.0001", "old.0001"])
    assert way.migrations == ("auth.0001", "shop.0002")
    assert (
        rollback.left_applied(way)
        == "backend-1: these migrations stay applied: auth.0001, shop.0002; the database from"
        " before them is in /var/lib/shop/backups/00001-before-B2"
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_migrations_are_asked_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal a question, without one status 3 and the option; nothing is asked where none is
    in the way."""
    way = back(B3=["shop.0002"])
    rollback.ask_before([back()], False)
    rollback.ask_before([way], True)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(
        question.QuestionError, match=r"release B1 does not know shop\.0002.*add --past-migrations"
    ) as said:
        rollback.ask_before([way], False)
    assert errors.status_of(said.value) == exits.QUESTION
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    rollback.ask_before([back(B3=["shop.0002", "shop.0003\x1b]0;owned"])], False)
    assert (
        "backend-1: release B1 does not know shop.0002, shop.0003\\x1b]0;owned"
        in capsys.readouterr().out
    )
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    with pytest.raises(rollback.DeclinedError, match="nothing was changed") as no:
        rollback.ask_before([way], False)
    assert errors.status_of(no.value) == exits.USAGE


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("0123456789ab+changes", "application's commit 0123456789ab+changes"),
        ("no git", "no git"),
        ("commit unknown", "commit unknown"),
    ],
)
def test_what_went_where_is_one_line_a_host(revision: str, said: str) -> None:
    host = look("frontend-1", ship("3", "3f2a", "91bc"), kept="91bc")
    host.result["kept"]["91bc"]["revision"] = revision
    assert str(rollback.way(host, "91bc")) == f"frontend-1: page 3f2a → 91bc ({said})"
