"""The doctor's report as a person reads it: what is at the top, the matrix in 80 columns, findings
by cause, the same as JSON."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.core.contract import Contract
from rollout.doctor import About, Diagnosis, Observations, as_json, as_text, browser, diagnose
from rollout.doctor.ask import Answer
from rollout.doctor.cells import State
from rollout.doctor.codes import Code
from rollout.doctor.observations import Cell, HostReport
from rollout.doctor.questions import NULL, Question
from rollout.doctor.second_opinion import NotAsked
from rollout.doctor.text import finding_lines
from rollout.doctor.verdicts import verdict
from rollout.doctor.words import WIDTH, plain, wrapped
from rollout.finding import Finding
from rollout.verdict import Response
from tests.support.kit import ROOT, unwrapped
from tests.test_doctor import (
    IP,
    NAMES,
    NOTHING,
    ORIGIN,
    PATTERNS,
    also_on_the_host,
    failing,
    observed,
    reporting,
    right,
    wide_open,
    without,
)
from tests.test_doctor_login import PLAIN

GOLDEN = ROOT / "tests" / "golden" / "doctor"
ABOUT = About(
    asked_at="2026-11-30T11:05:22+00:00",
    version="0.1.0",
    commit="ab12f3f90122",
    contract_at="2026-11-30T10:02:11.5Z",
)


def on_backend_1(contract: Contract, **state: object) -> HostReport:
    return reporting("backend-1", contract.backend.hosts[0].address, **state)


def agreeing(whole: Observations) -> browser.Outcomes:
    """What Chromium says of the cells that it can be asked, as it judges like the verdict."""
    outcomes = {}
    for cell in whole.public:
        if cell.question.row.origin != NULL and cell.question.endpoint.sent and cell.verdict:
            allowed = cell.verdict.allowed
            word = str(cell.status if allowed else cell.verdict.reason)
            outcomes[cell.key] = browser.Outcome(allowed, word)
    return outcomes


def healthy() -> Diagnosis:
    whole = also_on_the_host(observed(NAMES, hosts=[on_backend_1(NAMES, login_settings=PLAIN)]))
    result = diagnose(whole, about=ABOUT)
    return replace(result, browsed=agreeing(whole), browser_wanted=True)


def ill() -> Diagnosis:
    """A file differs, so a pattern is open; and a page of another origin is asked about."""
    diff = {"nginx/a.conf": "--- a\n+++ b\n-gzip on;\n+gzip off;\n"}
    whole = observed(answers=wide_open, hosts=[on_backend_1(IP, diff=diff)])
    return diagnose(also_on_the_host(whole), "http://localhost:5173", about=ABOUT)


def failing_api() -> Diagnosis:
    return diagnose(also_on_the_host(observed(answers=failing(502))), about=ABOUT)


REPORTS: dict[str, Callable[[], Diagnosis]] = {
    "healthy": healthy,
    "ill": ill,
    "failing-api": failing_api,
    "long-origins": lambda: diagnose(also_on_the_host(observed(PATTERNS)), about=ABOUT),
    "nothing-answers": lambda: diagnose(NOTHING, about=ABOUT),
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_text_is_the_golden_one(name: str) -> None:
    """As it is read; UPDATE_GOLDEN=1 rewrites the files."""
    file = GOLDEN / f"{name}.txt"
    text = as_text(REPORTS[name](), ["note: ASGI: WebSockets answer 404"]) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


# ------------------------------------------------------------------------------------------- width


def with_origins(result: Diagnosis, rename: Callable[[str], str]) -> Diagnosis:
    """The same with other origins than `null`, in cells and findings."""
    cells = []
    for cell in result.observed.cells:
        row = cell.question.row
        if row.origin != NULL:
            row = replace(row, origin=rename(row.origin))
        cells.append(replace(cell, question=replace(cell.question, row=row)))
    found = []
    for finding in result.findings:
        text = finding.text
        for origin in {cell.question.row.origin for cell in result.observed.cells} - {NULL}:
            text = text.replace(origin, rename(origin))
        found.append(replace(finding, text=text))
    return replace(
        result, observed=replace(result.observed, cells=tuple(cells)), findings=tuple(found)
    )


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("length", [1, 30, 70, 253])
def test_no_line_is_wider_than_80_columns(name: str, length: int) -> None:
    """However long the origins are; and each of them is there as a whole."""
    labels = (".".join(["a" * 60] * 5))[:length]
    result = with_origins(REPORTS[name](), lambda origin: f"{origin}.{labels}x")
    text = as_text(result, ["note: " + "word " * 60])
    assert max(map(len, text.splitlines())) <= WIDTH
    joined = re.sub(r"\s+", "", text)
    for cell in result.observed.public:
        assert cell.question.row.origin in joined


def test_a_long_path_does_not_widen_the_matrix() -> None:
    """One question, to a path of 9000 characters."""
    whole = observed()
    cell = whole.cells[0]
    endpoint = replace(cell.question.endpoint, title="GET /" + "x" * 9000)
    one = replace(cell, question=replace(cell.question, endpoint=endpoint))
    text = as_text(diagnose(replace(whole, cells=(one,)), about=ABOUT))
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_short_command_is_never_broken() -> None:
    """It can be copied from the terminal as it is."""
    for width in range(20, WIDTH):
        lines = wrapped("x" * (width % 19) + " then run `fab deploy --restart`", width=width)
        assert any("fab deploy --restart" in line for line in lines), lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run `fab deploy`", "run fab deploy"),
        ("set `workers`", "set workers"),
        ("it has `gzip on;`", "it has 'gzip on;'"),
        ("one ` alone", "one ` alone"),
    ],
)
def test_commands_have_no_backticks(text: str, shown: str) -> None:
    """What holds spaces and is no command is quoted, so that its end is seen."""
    assert plain(text) == shown
    assert wrapped(text) == [shown]


# ------------------------------------------------------------------------------------------ content


def test_the_top_says_what_was_asked_when_and_by_what() -> None:
    """Stack, time, the kit's version and commit, the contract's date, counts, the legend."""
    head = unwrapped(as_text(ill()).split("\n\n")[0])
    for part in (
        "stack local (development)",
        "2026-11-30 11:05:22 UTC, by origin-kit 0.1.0 at commit ab12f3f90122",
        "allows 3 origins, outputs of 2026-11-30 10:02:11 UTC",
        "24 of 110 as intended (11 origins × 5 endpoints × 2 views), 86 not as intended",
        "findings 3 causes",
        "legend 404 ok as intended",
    ):
        assert part in head


def test_what_is_not_known_of_a_run_is_left_out() -> None:
    """A kit outside of a checkout, outputs without a date."""
    text = as_text(diagnose(observed()))
    assert "commit" not in text and "outputs of" not in text and "asked " not in text


@pytest.mark.parametrize("name", REPORTS)
def test_the_text_has_no_colour(name: str) -> None:
    """Neither with NO_COLOR nor without: every cell has a word or a mark."""
    assert "\x1b" not in as_text(REPORTS[name]())


def test_one_cause_in_many_cells_and_views_is_one_finding() -> None:
    """Eight unlisted origins that may read, at two views, are one cause; so are the answer and its
    preflight without the header."""
    found = diagnose(also_on_the_host(observed(answers=wide_open))).findings
    assert [finding.code for finding in found] == [
        Code.UNLISTED_ORIGIN_ALLOWED,
        Code.REFUSED_OUTSIDE_THE_KIT,
    ]
    found = diagnose(also_on_the_host(observed(answers=without(ORIGIN)))).findings
    assert [finding.code for finding in found] == [Code.LISTED_ORIGIN_REFUSED]
    assert len(found[0].follows) == 3


def test_different_cures_are_different_causes() -> None:
    """A method and a header that are missing in the lists are two findings."""

    def answers(question: Question) -> tuple[Answer, ...]:
        given = right(IP)(question)
        named = "Access-Control-Allow-Methods" if "8080" in question.row.origin else "-Headers"
        return tuple(
            replace(one, headers=tuple(pair for pair in one.headers if not pair[0].endswith(named)))
            for one in given
            if isinstance(one, Response)
        )

    found = diagnose(observed(answers=answers)).findings
    assert {finding.cure.split(",")[0] for finding in found} == {
        "add it to allow_methods",
        "add it to allow_headers",
    }


def test_chromium_s_disagreements_are_one_finding() -> None:
    """A bug of the kit is one cause, however many cells show it."""
    whole = observed(NAMES)
    lies = {cell.key: browser.Outcome(False, "blocked") for cell in whole.public[:3]}
    found = list(diagnose(whole).findings)
    assert found == []
    result = replace(diagnose(whole), browsed=lies)
    from rollout.doctor.diagnosis import disagreements

    (only,) = disagreements(result.observed, lies)
    assert only.text == "Chromium and the verdict disagree on 3 cells"
    assert [one.code for one in only.follows] == [Code.CHROMIUM_DISAGREES] * 3


def test_a_cell_without_chromium_s_word_says_why() -> None:
    """In the text with numbers, in the JSON for each cell."""
    result = healthy()
    text = unwrapped(as_text(result))
    assert "Chromium was asked 32 of 45 cells and agrees in 32." in text
    assert "Not asked in 8: the request could change data" in text
    assert "Not asked in 5: a sandboxed page has no address" in text
    found = json.loads(as_json(result))["cells"]
    reasons = {cell.get("chromium_not_asked") for cell in found if "chromium" not in cell}
    assert reasons == {
        NotAsked.VIEW_OF_A_HOST,
        NotAsked.SANDBOXED_PAGE,
        NotAsked.COULD_CHANGE_DATA,
    }
    app = replace(healthy(), observed=replace(observed(), cells=(a_cell("tauri://localhost"),)))
    (one,) = json.loads(as_json(app))["cells"]
    assert one["chromium_not_asked"] == NotAsked.PAGE_OF_AN_APP
    without_browser = json.loads(as_json(ill()))["cells"]
    assert {cell["chromium_not_asked"] for cell in without_browser} == {NotAsked.NOT_REQUESTED}
    mute = replace(diagnose(NOTHING), browser_wanted=True)
    silent = json.loads(as_json(mute))["cells"]
    assert {cell["chromium_not_asked"] for cell in silent} == {NotAsked.NOTHING_ANSWERED}


@pytest.mark.parametrize("name", REPORTS)
def test_json_has_what_the_text_has(name: str) -> None:
    """Every finding with its code and commands, the counts, the kit and its commit."""
    result = REPORTS[name]()
    shown = json.loads(as_json(result))
    assert shown["format"] == 1 and shown["about"]["commit"] == "ab12f3f90122"
    assert shown["counts"]["cells"] == len(result.observed.cells) == len(shown["cells"])
    assert {cell["state"] for cell in shown["cells"]} <= set(State)
    text = unwrapped(as_text(result))
    for finding in shown["findings"]:
        assert Code(finding["code"])
        for each in (finding, *finding["follows"]):
            assert unwrapped(plain(each["text"])) in text
        for command in finding["commands"]:
            assert command in finding["cure"]


def states_of(whole: Observations) -> set[str]:
    return {cell["state"] for cell in json.loads(as_json(diagnose(whole)))["cells"]}


def test_each_state_of_a_cell_has_its_name() -> None:
    """As docs/doctor.md lists them."""
    assert states_of(observed()) == {State.READABLE, State.REFUSED}
    assert State.READABLE_UNLISTED in states_of(observed(answers=wide_open))
    assert State.REFUSED_LISTED in states_of(observed(answers=without(ORIGIN)))
    assert State.SERVER_ERROR in states_of(observed(answers=failing(500)))
    assert states_of(NOTHING) == {State.NO_ANSWER}


def test_hostile_text_does_not_control_the_terminal() -> None:
    """What a host or a project wrote is shown with its bytes visible, and in 80 columns."""
    finding = Finding("\x1b[31mred `\x1b]0;x\x07`", cure="\x9b2J", code=Code.SERVER_ERROR)
    text = finding_lines([finding])
    assert "\x1b" not in text and "\x9b" not in text and r"\x1b[31mred" in text


def a_cell(origin: str) -> Cell:
    whole = observed()
    cell = whole.cells[0]
    row = replace(cell.question.row, origin=origin)
    question = replace(cell.question, row=row)
    return Cell(question, "public", cell.answers, verdict(question, cell.answers))


def test_hostile_origins_do_not_control_the_terminal() -> None:
    """An origin of a contract's file that somebody edited."""
    whole = replace(observed(), cells=(a_cell("http://\x1b[2J"),))
    assert "\x1b" not in as_text(diagnose(whole))


def test_the_golden_files_are_of_reports_that_exist() -> None:
    """No golden file stays behind."""
    assert {Path(file).stem for file in GOLDEN.glob("*.txt")} == set(REPORTS)
