"""What Chromium was asked, what it was not, and why. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from rollout.doctor import browser
from rollout.doctor.diagnosis import Diagnosis, agree
from rollout.doctor.observations import PUBLIC, Cell
from rollout.doctor.questions import NULL


class NotAsked(StrEnum):
    """Why a cell has no word of Chromium's. A name never changes its meaning."""

    NOT_REQUESTED = "not-requested"
    VIEW_OF_A_HOST = "view-of-a-host"
    SANDBOXED_PAGE = "sandboxed-page"
    PAGE_OF_AN_APP = "page-of-an-app"
    COULD_CHANGE_DATA = "could-change-data"
    NOTHING_ANSWERED = "nothing-answered"


WHY = {
    NotAsked.NOT_REQUESTED: "--browser was not given",
    NotAsked.VIEW_OF_A_HOST: "it asks the public address, not a host's own nginx",
    NotAsked.SANDBOXED_PAGE: "a sandboxed page has no address that it could open",
    NotAsked.PAGE_OF_AN_APP: "an app's own page has no address that Chromium could open",
    NotAsked.COULD_CHANGE_DATA: "the request could change data, so only its preflight is sent",
    NotAsked.NOTHING_ANSWERED: "the public address did not answer",
}


def not_asked(result: Diagnosis, cell: Cell) -> NotAsked | None:
    """Why this cell has no word of Chromium's; None where it has one."""
    if result.outcome(cell):
        return None
    if not result.browser_wanted:
        return NotAsked.NOT_REQUESTED
    if cell.view != PUBLIC:
        return NotAsked.VIEW_OF_A_HOST
    if not result.browsed:
        return NotAsked.NOTHING_ANSWERED
    if cell.question.row.origin == NULL:
        return NotAsked.SANDBOXED_PAGE
    if not browser.can_open(cell.question.row.origin):
        return NotAsked.PAGE_OF_AN_APP
    return NotAsked.COULD_CHANGE_DATA


def sentences(result: Diagnosis) -> Iterator[str]:
    """In how many cells of the public address Chromium agrees, and why it has no word on the
    others; nothing where it was not wanted."""
    if not result.browser_wanted:
        return
    public = result.observed.public
    asked = agreed = 0
    reasons: Counter[NotAsked | None] = Counter()
    for cell in public:
        outcome = result.outcome(cell)
        if not outcome:
            reasons[not_asked(result, cell)] += 1
            continue
        asked += 1
        if agree(cell, outcome):
            agreed += 1
    yield f"Chromium was asked {asked} of {len(public)} cells and agrees in {agreed}."
    for reason, number in reasons.items():
        if reason:
            yield f"Not asked in {number}: {WHY[reason]}."
