"""A move to other origins: which stage the hosts are in, the contract of each stage, rollback,
and what is said meanwhile."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.core import errors, exits
from infra.core.contract import Contract
from infra.core.origins import Origin
from on_host import places
from on_host.configuration import answered
from rollout.changes import Change
from rollout.deploy import Outcome
from rollout.move import course, outside, stages, words
from rollout.move.stages import Stage, move_of
from tests.test_contract import example

IP = example()
HTTP = example(domain="shop.test")
RENAMED = example(domain="shop.example")
NAMES = {
    "page": HTTP.frontend.origin,
    "api": HTTP.backend.origin,
    "new page": RENAMED.frontend.origin,
    "new api": RENAMED.backend.origin,
}


def origins(contract: Contract) -> Any:
    """What a host says that holds this contract."""
    data = json.loads(json.dumps(contract.to_json()))
    return {
        role: {key: value for key, value in data[role].items() if key != "hosts"}
        for role in ("frontend", "backend")
    }


def look(role: str, *held: Contract | None, **more: Any) -> Outcome[Any]:
    """A host that held these, the last one first; its generations are numbered from the last."""
    names = [str(number) for number in range(len(held))]
    found = {
        name: contract and origins(contract) for name, contract in zip(names, held, strict=True)
    }
    deploys = [
        {"deploy": name, "generation": name, "result": "deployed", "number": int(name)}
        for name in names
    ]
    host = getattr(IP, role).hosts[0]
    result = {
        "current": "0",
        "kept": names,
        "leads_to": {},
        "deploys": deploys,
        "origins": found,
        "former_called_s": None,
        "unfinished": False,
        **more,
    }
    return Outcome(role, host, result)


def pair(*held: Contract | None) -> list[Outcome[Any]]:
    return [look("backend", *held), look("frontend", *held)]


def moved(wanted: Contract, looks: list[Outcome[Any]]) -> stages.Move:
    found = move_of(wanted, stages.held(looks))
    assert found is not None
    return found


# ------------------------------------------------------------------------------------------- stages


def test_a_move_names_the_origins_that_are_left() -> None:
    """An address becomes a name: both roles have a former origin."""
    way = moved(HTTP, pair(IP))
    assert way.stage is Stage.BEFORE
    assert way.page == ("http://10.0.0.2",) and way.api == ("http://10.0.0.3",)
    assert way.former == ("http://10.0.0.2", "http://10.0.0.3")


def test_the_stages_follow_each_other() -> None:
    """What a stage leaves on the hosts is recognised as that stage, and asks for the same two
    contracts again."""
    way = moved(RENAMED, pair(HTTP))
    for stage in (Stage.BOTH, Stage.SWITCHED):
        again = moved(RENAMED, pair(way.contract_of(stage)))
        assert again.stage is stage
        assert (again.both, again.switched) == (way.both, way.switched)
    assert moved(RENAMED, pair(RENAMED)).stage is Stage.DONE


def test_both_stages_answer_at_both_and_differ_in_the_page_s_redirect() -> None:
    """All else of them is what is wanted: the last deploy only takes away."""
    way = moved(RENAMED, pair(HTTP))
    assert way.both.frontend.origin == RENAMED.frontend.origin
    assert way.both.frontend.former == (HTTP.frontend.origin,)
    assert way.both.backend.former == (HTTP.backend.origin,)
    assert not way.both.frontend.redirects_former and way.switched.frontend.redirects_former
    frontend = replace(way.switched.frontend, former=(), redirects_former=False)
    backend = replace(way.switched.backend, former=())
    assert way.both.cors.lists(HTTP.frontend.origin)
    assert replace(way.switched, frontend=frontend, backend=backend, cors=RENAMED.cors) == RENAMED


HTTPS = example(domain="shop.test", tls="local-ca", hsts="max-age=300")


def test_strict_transport_security_waits_for_the_last_deploy() -> None:
    """A browser that has seen it would not go back to http with `--undo`. From one https name to
    another it stays."""
    way = moved(HTTPS, pair(HTTP))
    assert way.leaves_http and not way.leaves_https
    assert (way.both.https.hsts, way.switched.https.hsts, way.wanted.https.hsts) == (
        "",
        "",
        "max-age=300",
    )
    other = example(domain="shop.example", tls="local-ca", hsts="max-age=300")
    assert moved(other, pair(HTTPS)).both.https.hsts == "max-age=300"


def test_no_move_leads_from_https_to_http() -> None:
    """Without a certificate the old origin can't be answered."""
    assert moved(HTTP, pair(HTTPS)).leaves_https
    assert not moved(HTTP, pair(IP)).leaves_https


def test_the_certificate_covers_both_names_meanwhile() -> None:
    """Of https origins; http needs none."""
    other = example(domain="shop.example", tls="local-ca")
    both = moved(other, pair(HTTPS)).both
    assert both.certificate_names("frontend") == ("app.shop.example", "app.shop.test")
    assert moved(HTTPS, pair(HTTP)).both.certificate_names("frontend") == ("app.shop.test",)


def test_another_edit_in_the_middle_of_a_move_keeps_its_stage() -> None:
    """The next deploy of the move applies it too."""
    way = moved(RENAMED, pair(HTTP))
    edited = replace(RENAMED, cors=replace(RENAMED.cors, max_age_s=7))
    again = moved(edited, pair(way.switched))
    assert again.stage is Stage.SWITCHED and again.switched.cors.max_age_s == 7


def test_hosts_of_two_stages_are_in_the_earlier_one() -> None:
    """After an interruption one host may have come further than another."""
    way = moved(RENAMED, pair(HTTP))
    assert moved(RENAMED, [look("backend", way.both), look("frontend", HTTP)]).stage is Stage.BEFORE
    mixed = moved(RENAMED, [look("backend", way.switched), look("frontend", way.both)])
    assert mixed.stage is Stage.BOTH
    assert mixed.former == way.former


def test_a_move_to_a_third_origin_keeps_both_of_the_former_ones() -> None:
    """The config was changed again in the middle of a move: pages of either may be open."""
    way = moved(RENAMED, pair(HTTP))
    third = example(domain="shop.example.org")
    again = moved(third, pair(way.switched))
    assert again.stage is Stage.BEFORE
    assert again.page == (RENAMED.frontend.origin, HTTP.frontend.origin)


def test_a_move_back_goes_the_same_way() -> None:
    """Nothing is special about the config set back."""
    way = moved(HTTP, pair(moved(RENAMED, pair(HTTP)).switched))
    assert way.stage is Stage.BEFORE and way.page == (RENAMED.frontend.origin,)


def test_other_names_of_the_api_are_answered_too() -> None:
    """They end with the old scheme or the old config; those that stay are no former ones."""
    running = example(domain="shop.test", backend_aliases='["a.test", "b.test"]')
    wanted = example(domain="shop.example", backend_aliases='["b.test"]')
    way = moved(wanted, pair(running))
    assert way.api == (HTTP.backend.origin, "http://a.test")


def test_a_name_that_led_to_the_page_is_answered_too() -> None:
    """Unless it leads there still: www. of the old domain, not of the one that stays."""
    running = example(domain="shop.test", frontend_name="@", www_redirect="true")
    assert moved(RENAMED, pair(running)).page == ("http://shop.test", "http://www.shop.test")
    turned = example(domain="shop.test", frontend_name="www", www_redirect="true")
    assert moved(turned, pair(running)).page == ("http://shop.test",)


def test_a_frontend_alone_adds_no_origin_to_the_api_s_list() -> None:
    """What it says is not believed: a backend's API allows these pages already."""
    lying = replace(HTTP, frontend=replace(HTTP.frontend, former=("http://evil.example",)))
    way = moved(RENAMED, [look("backend", HTTP), look("frontend", lying)])
    assert way.former == (HTTP.frontend.origin, HTTP.backend.origin)


def test_a_former_origin_that_is_none_is_left_out() -> None:
    """A host's answer is data: no such text reaches nginx's configuration."""
    looks = pair(HTTP)
    for one in looks:
        one.result["origins"]["0"]["frontend"]["former"] = ['http://x";', "nonsense", "http://a.b/"]
    assert moved(RENAMED, looks).page == (HTTP.frontend.origin,)


def test_a_host_that_does_not_say_stops_a_move() -> None:
    assert move_of(RENAMED, stages.held(pair(None))) is None


# ---------------------------------------------------------------------------------------- rollback


def test_undo_goes_to_the_last_configuration_without_former_origins() -> None:
    """However many deploys the move has made."""
    way = moved(RENAMED, pair(HTTP))
    looks = pair(way.switched, way.both, way.both, HTTP, IP)
    assert course.goals_before(looks) == {"backend-1": "3", "frontend-1": "3"}


@pytest.mark.parametrize("now", [HTTP, RENAMED])
def test_without_a_move_there_is_none_to_undo(now: Contract) -> None:
    with pytest.raises(course.MoveError, match="no move is under way") as said:
        course.goals_before(pair(now, IP))
    assert errors.status_of(said.value) == exits.USAGE


def test_what_was_before_may_be_gone() -> None:
    """Ten generations are kept, and that of another kit may not say where it answers."""
    way = moved(RENAMED, pair(HTTP))
    for looks in (pair(way.both), pair(way.both, None)):
        with pytest.raises(course.MoveError, match="set the origins in the stack's config back"):
            course.goals_before(looks)


# ----------------------------------------------------------------------------------- infrastructure


def record(verb: str, kind: str = "aws:route53/record:Record") -> Change:
    return Change(f"urn:pulumi:prod::kit::origin-kit:aws:Cloud${kind}::frontend-1", verb)


@pytest.mark.parametrize("verb", ["replace", "delete", "update"])
def test_a_record_that_pages_are_open_by_is_not_changed(verb: str) -> None:
    """One resource has a role's name: a new name would take the old one away at once."""
    with pytest.raises(course.MoveError, match="would lead nowhere") as said:
        course.refuse_lost_names("prod", [record(verb)])
    assert f"`pulumi state delete --stack prod '{record(verb).urn}'`" in str(said.value)


def test_a_record_that_is_new_stops_no_move() -> None:
    """An address becomes a name; what else changes is asked about as by `fab up`."""
    course.refuse_lost_names("prod", [record("create"), record("update", "aws:ec2/eip:Eip")])


# ------------------------------------------------------------------------------------ names outside


def addresses(origin: Origin) -> list[str]:
    known = {"app.shop.example": ["10.0.0.2"], "api.shop.example": ["203.0.113.9"]}
    return known.get(origin.hostname, [])


def test_names_that_lead_elsewhere_are_named() -> None:
    """Each with what it resolves to; a proxy's address is no other place."""
    assert outside.lead_elsewhere(RENAMED, addresses) == [
        "api.shop.example still resolves to 203.0.113.9"
    ]
    behind = replace(RENAMED, behind=("203.0.113.0/24",))
    assert outside.lead_elsewhere(behind, addresses) == []
    nowhere = example(domain="shop.example.org")
    assert outside.lead_elsewhere(nowhere, addresses) == [
        "app.shop.example.org resolves to nothing from here",
        "api.shop.example.org resolves to nothing from here",
    ]


@pytest.mark.parametrize("contract", [IP, HTTP])
def test_what_no_name_service_has_is_not_looked_up(contract: Contract) -> None:
    """An address, and a name below .test (RFC 6761)."""
    assert outside.lead_elsewhere(contract, addresses) == []


# ------------------------------------------------------------------------------------------ waiting


class Time:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.slept.append(seconds)

    @property
    def clock(self) -> course.Clock:
        return course.Clock(lambda: self.at, self.sleep)


@pytest.mark.parametrize("last", [None, 31.0])
def test_quiet_for_long_is_not_waited_for(last: float | None) -> None:
    """The page switched in an earlier run, and nobody has called since."""
    time = Time()
    assert course.wait_until_quiet(lambda: last, 30, None, time.clock) is None
    assert time.slept == []


def test_quiet_counts_from_the_switch() -> None:
    """No call yet says nothing when the page has switched just now."""
    time = Time()
    assert course.wait_until_quiet(lambda: None, 30, time.at, time.clock) is None
    assert time.slept == [30.0]


def test_a_call_begins_the_wait_again() -> None:
    time = Time()
    calls = iter([5.0, 2.0, 30.0])
    assert course.wait_until_quiet(lambda: next(calls), 30, time.at - 100, time.clock) is None
    assert time.slept == [25.0, 28.0]


def test_a_page_that_calls_all_the_while_ends_the_wait() -> None:
    """Both origins go on being answered; the wait has an end."""
    time = Time()
    assert course.wait_until_quiet(lambda: 1.0, 30, time.at, time.clock) == 1.0
    assert sum(time.slept) == course.LONGEST_S


# ----------------------------------------------------------------------------------------- on hosts


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(places, "GENERATIONS", tmp_path)
    monkeypatch.setattr(answered, "FORMER_LOG", tmp_path / "former.log")
    return tmp_path


def generation(folder: Path, contract: str | None, **probes: Any) -> str:
    folder = folder / "1f"
    folder.mkdir()
    (folder / "generation.json").write_text(json.dumps({"files": [], "probes": probes}))
    if contract is not None:
        (folder / "contract.json").write_text(contract)
    return folder.name


def test_a_generation_says_where_it_answers(host: Path) -> None:
    """Each role as the contract has it, without its hosts; a backend says which previews it answers
    as well."""
    way = moved(RENAMED, pair(HTTP))
    name = generation(host, json.dumps(way.switched.to_json()))
    assert answered.origins_of(name) == origins(way.switched) | {"attached": {}}


def test_a_page_s_host_says_nothing_of_previews(host: Path) -> None:
    """It has the origins alone."""
    way = moved(RENAMED, pair(HTTP))
    name = generation(host, json.dumps(origins(way.switched)))
    assert answered.origins_of(name) == origins(way.switched)


@pytest.mark.parametrize(
    "probes",
    [
        {"host": "10.0.0.3", "allowed": ["http://10.0.0.2", "http://localhost:8080"]},
        {"host": "10.0.0.2", "pages": {"/": "", "/config.json": "http://10.0.0.3"}},
    ],
)
def test_a_generation_of_an_older_kit_is_known_by_its_probes(
    host: Path, probes: dict[str, Any]
) -> None:
    """It has no contract.json; it spoke http, and a move from there needs no other deploy first."""
    found = answered.origins_of(generation(host, None, **probes))
    assert found == {
        "frontend": {"origin": "http://10.0.0.2"},
        "backend": {"origin": "http://10.0.0.3"},
    }


def new(*contracts: Contract) -> Any:
    """A generation as it comes with the orders of a deploy."""
    texts = [json.dumps(contract.to_json()) for contract in contracts]
    return {"files": [{"path": "contract.json", "text": text} for text in texts]}


def test_a_deploy_says_which_open_pages_it_ends(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a move that it would have avoided it; nothing in the move's own first deploys."""
    way = moved(RENAMED, pair(HTTP))
    monkeypatch.setattr(answered, "current_id", lambda: "1f")
    name = generation(host, json.dumps(HTTP.to_json()))
    assert answered.note_on_open_pages(new(RENAMED)) == (
        f"pages that are open at {NAMES['page']} will be refused: `fab move` would answer both"
        " meanwhile"
    )
    for quiet in (way.both, HTTP):
        assert answered.note_on_open_pages(new(quiet)) == ""
    (host / name / "contract.json").write_text(json.dumps(way.switched.to_json()))
    assert answered.note_on_open_pages(new(way.switched)) == ""
    assert answered.note_on_open_pages(new(RENAMED)) == (
        f"ends the move: pages that are open at {NAMES['page']} will be refused"
    )
    assert answered.note_on_open_pages(new()) == ""


def test_no_move_is_offered_from_https_to_http(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fab move` refuses it: the hosts can't answer both."""
    monkeypatch.setattr(answered, "current_id", lambda: "1f")
    generation(host, json.dumps(HTTPS.to_json()))
    page = HTTPS.frontend.origin
    assert (
        answered.note_on_open_pages(new(HTTP)) == f"pages that are open at {page} will be refused"
    )
    [line] = words.before_a_deploy(HTTP, [{"origins": origins(HTTPS)}])
    assert page in line and "refused from then on" in line and "fab move" not in line


@pytest.mark.parametrize("contract", ["", "[]", "{}", '{"frontend": 1, "backend": 2}'])
def test_a_contract_that_cannot_be_read_says_nothing(host: Path, contract: str) -> None:
    assert answered.origins_of(generation(host, contract, host="10.0.0.3")) is None
    assert answered.origins_of("other") is None and answered.origins_of(None) is None


def test_the_last_call_of_a_former_origin_is_when_its_log_grew(host: Path) -> None:
    """An empty log was rotated: nobody has called since."""
    assert answered.former_called_s() is None
    answered.FORMER_LOG.write_text("")
    assert answered.former_called_s() is None
    answered.FORMER_LOG.write_text("2026-11-30T15:00:00+00:00 http://10.0.0.2\n")
    before = answered.FORMER_LOG.stat().st_mtime - 100
    os.utime(answered.FORMER_LOG, (before, before))
    last = answered.former_called_s()
    assert last is not None and 100 <= last < 160


# -------------------------------------------------------------------------------------------- words


def test_a_move_under_way_is_named_with_what_ends_it() -> None:
    way = moved(RENAMED, pair(HTTP))
    former = f"{NAMES['page']}, {NAMES['api']}"
    assert words.under_way(origins(way.both)) == (
        f"a move to {NAMES['new page']} is under way ({former} answered as well): `fab move`"
        " finishes it, `fab move --undo` goes back"
    )
    assert "visitors led to the new page" in words.under_way(origins(way.switched))
    assert words.under_way(origins(HTTP)) == words.under_way(None) == ""


def test_a_plan_says_what_a_plain_deploy_does_to_open_pages() -> None:
    """Of a changed origin, and in the middle of a move; nothing where no origin changes."""
    way = moved(RENAMED, pair(HTTP))
    [line] = words.before_a_deploy(RENAMED, [{"origins": origins(HTTP)}] * 2)
    assert line == (
        f"{NAMES['page']} → {NAMES['new page']}, {NAMES['api']} → {NAMES['new api']}: with `fab"
        " deploy` pages that are open at the old origin are refused from then on; `fab move`"
        " answers both meanwhile"
    )
    [line] = words.before_a_deploy(RENAMED, [{"origins": origins(way.both)}])
    assert f"end it at once: {NAMES['page']}, {NAMES['api']} would no longer be answered" in line
    assert words.before_a_deploy(HTTP, [{"origins": origins(HTTP)}, {"origins": None}, {}]) == []
