"""DNS records of others: Google's provider overwrites them, so `up` asks before."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest

from rollout import infrastructure, question, records
from rollout.changes import Allowed, changes, flags, refused
from rollout.infrastructure import Plan, plan_text

RECORD = "origin-kit:gcp:Cloud$gcp:dns/recordSet:RecordSet"


def step(verb: str, type_: str = RECORD, **inputs: object) -> dict[str, object]:
    urn = f"urn:pulumi:prod::origin-kit::{type_}::frontend-1"
    given = {"name": "app.example.com.", "rrdatas": ["203.0.113.10"], **inputs}
    return {"op": verb, "urn": urn, "newState": {"inputs": given}}


def looked_up(*answers: str, verb: str = "create", **more: Any) -> list[Any]:
    return records.looked_up(changes([step(verb, **more)]), lambda name: answers)


def test_a_record_of_somebody_else_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal `up` ends, names the record and what it answers; with the option it goes
    on."""
    found = looked_up("192.0.2.77")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(question.QuestionError) as caught:
        infrastructure.permit("prod", found, Allowed())
    assert "the DNS record of app.example.com would be overwritten" in str(caught.value)
    assert "--allow-replace app.example.com" in str(caught.value)
    infrastructure.permit("prod", found, Allowed(replace=["app.example.com"]))


def test_plan_says_what_the_name_answers() -> None:
    text = plan_text(Plan(looked_up("192.0.2.77")), "prod")
    assert "app.example.com answers 192.0.2.77 now, and that record would be overwritten" in text
    assert text.endswith("which asks first, or takes --allow-replace app.example.com")


def test_a_host_s_name_does_not_allow_a_record() -> None:
    """Nor the other way round: whoever lets a record go keeps the host's data."""
    found = looked_up("192.0.2.77")
    assert refused(found, Allowed(replace=["frontend-1"])) == found
    assert flags(found) == "--allow-replace app.example.com"


def test_nothing_is_asked_of_a_free_name_or_our_own() -> None:
    """A name without an address, the address that it gets, a record that only changes, and Route
    53, which refuses the second record itself."""
    assert not any(change.asks for change in looked_up())
    assert not any(change.asks for change in looked_up("203.0.113.10"))
    assert not any(change.asks for change in looked_up("192.0.2.77", verb="update"))
    route53 = "origin-kit:aws:Cloud$aws:route53/record:Record"
    assert not any(change.asks for change in looked_up("192.0.2.77", type_=route53))


def test_another_name_of_a_record_is_asked_about() -> None:
    """`frontend_name` changes: the record is replaced, and the new name may be somebody's."""
    assert looked_up("192.0.2.77", verb="create-replacement", name="www.example.com.")[0].overwrites


def test_a_name_that_nobody_knows_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer and no network are the same here."""

    def nobody(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    assert records.addresses("localhost") == ("127.0.0.1",)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    assert records.addresses("app.example.com") == ()
