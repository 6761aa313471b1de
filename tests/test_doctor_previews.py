"""What the doctor says of attached previews, and of those that are gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.core.contract import Contract
from infra.core.previews import attach
from rollout.doctor import heading
from rollout.doctor.diagnosis import Diagnosis
from rollout.doctor.examination import gone_previews, whole_matrix
from rollout.doctor.findings import findings
from rollout.doctor.observations import Cell, Observations
from rollout.doctor.questions import questions
from rollout.doctor.verdicts import verdict
from tests.test_doctor import IP, observed, reporting, right, said, state

ONE, TWO = "preview-one-0123abcd", "preview-two-4567abcd"
AT_ONE, AT_TWO = "http://10.77.0.11", "http://10.77.0.12"


def examined(contract: Contract, runs: Contract, gone: dict[str, str]) -> Observations:
    """What comes back where the backend runs another contract than the wanted one."""
    matrix = whole_matrix(contract, gone)
    asked = questions(contract, matrix.rows, matrix.endpoints, None, matrix.credentials)
    cells = []
    for question in asked:
        answered = replace(question.row, allowed=runs.cors.allows(question.row.origin))
        answers = right(runs)(replace(question, row=answered))
        cells.append(Cell(question, "public", answers, verdict(question, answers)))
    return observed(contract, cells=tuple(cells), gone=gone)


def previews_in(whole: Observations) -> list[str]:
    """The lines about previews at the top of a report."""
    rows = heading.rows(Diagnosis(whole, findings(whole), {}))
    return [text for name, text in rows if name == "preview"]


def test_an_attached_preview_is_named_and_may_read() -> None:
    contract = attach(IP, {ONE: AT_ONE})
    whole = examined(contract, contract, {})
    assert previews_in(whole) == [f"{ONE} is attached: {AT_ONE}"]
    (row,) = [row for row in whole_matrix(contract).rows if row.origin == AT_ONE]
    assert (row.allowed, row.why) == (True, f"the attached preview {ONE}")


def test_a_preview_that_is_gone_is_proved_refused() -> None:
    """Asked like any unlisted origin: every endpoint refuses it."""
    whole = examined(IP, IP, {AT_TWO: TWO})
    assert previews_in(whole) == [f"{TWO} is gone, and refused: {AT_TWO}"]
    own = [cell for cell in whole.cells if cell.question.row.origin == AT_TWO]
    assert len(own) == len(whole_matrix(IP).endpoints)
    assert all(cell.good for cell in own)


def test_a_preview_that_is_gone_and_still_allowed_is_a_finding() -> None:
    """Its address may be somebody else's by now."""
    whole = examined(IP, attach(IP, {TWO: AT_TWO}), {AT_TWO: TWO})
    assert previews_in(whole) == [f"{TWO} is gone, and still allowed: {AT_TWO}"]
    text = said(whole)
    assert f"the public address still allows previews that are gone: {TWO} ({AT_TWO})" in text
    assert "run `fab preview.sweep` or `fab deploy`" in text
    assert "a pattern without its end" not in text


def test_no_answer_is_no_proof() -> None:
    whole = examined(IP, IP, {AT_TWO: TWO})
    silent = tuple(replace(cell, verdict=None) for cell in whole.cells)
    assert previews_in(replace(whole, cells=silent)) == [
        f"{TWO} is gone, and not everything answered: {AT_TWO}"
    ]


@pytest.mark.parametrize(
    ("ever", "gone"),
    [
        ([], {}),
        ([(ONE, AT_ONE)], {}),
        ([(ONE, AT_ONE), (TWO, AT_TWO)], {AT_TWO: TWO}),
        ([(TWO, AT_ONE)], {}),  # the address is another preview's now, and allowed as that
        ([[ONE, AT_TWO]], {AT_TWO: ONE}),  # the preview is at another address now
    ],
)
def test_which_previews_are_gone_is_what_hosts_have_answered(
    ever: list[Any], gone: dict[str, str]
) -> None:
    """What of it is allowed today is not gone. A host that can't be asked says nothing, and so does
    one of an older kit."""
    contract = attach(IP, {ONE: AT_ONE})
    hosts = (
        state(ever_attached=ever),
        reporting("backend-2", "10.0.0.3"),
        replace(state(), state=None),
    )
    assert gone_previews(contract, observed(contract, hosts=hosts)) == gone
