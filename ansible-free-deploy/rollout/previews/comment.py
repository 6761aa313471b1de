"""The pull request's comment on a preview, as Markdown: where it is, what a browser may do there,
for how long, and for how much. Pure.

A branch and a message are what anybody may have written: they stand in code spans, where nothing of
them is Markdown, HTML or a mention (GitHub Flavored Markdown, 6.3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from infra.core import exits
from rollout.doctor import Diagnosis, login
from rollout.doctor.cells import State, state_of
from rollout.doctor.observations import Cell
from rollout.doctor.text import finding_lines
from rollout.finding import Finding
from rollout.previews import cost, lifetime
from rollout.previews.listing import Row

MARK = "<!-- origin-kit preview -->"  # whoever posts it finds the comment of before by this line
_SAFE = ("GET", "HEAD", "OPTIONS")
_MOST_FINDINGS = 5


@dataclass(frozen=True)
class Verdict:
    """What pages of the preview may do; `status` is the doctor's exit status."""

    status: int
    reading: str
    logging_in: str
    writing: str
    findings: Sequence[Finding] = ()


def verdict(result: Diagnosis) -> Verdict:
    """The doctor's verdict for the preview's own page."""
    observed = result.observed
    origin = observed.contract.frontend.origin
    own = [cell for cell in observed.public if cell.question.row.origin == origin]
    reads = [cell for cell in own if cell.question.endpoint.method in _SAFE]
    changes = [cell for cell in own if cell.question.endpoint.method not in _SAFE]
    rows = [row for row in login.rows(observed) if row.origin == origin]
    by_token = login.why_not_judged(observed)
    logging_in, writing = f"not judged: {by_token}", _allowed(changes)
    if rows:
        lost = [row.browser.name for row in rows if row.login.session]
        refused = [row.browser.name for row in rows if row.login.write]
        logging_in = _in_browsers("the session's cookie is kept", "it is lost in", lost, len(rows))
        writing = _in_browsers("writes pass", "they are refused in", refused, len(rows))
    red = [finding for finding in result.findings if not finding.warning]
    return Verdict(result.status, _allowed(reads), logging_in, writing, red)


def _allowed(cells: Sequence[Cell]) -> str:
    """How many of the page's requests are answered so that it may read them."""
    states = [state_of(cell) for cell in cells]
    good = states.count(State.READABLE)
    if not states or states.count(State.NO_ANSWER) == len(states):
        return "not judged: nothing answers"
    if good == len(states):
        return "works"
    return f"**fails**: {len(states) - good} of {len(states)} kinds of answer"


def _in_browsers(
    works: str,
    fails: str,
    names: Sequence[str],
    asked: int,
) -> str:
    if not names:
        return f"works: {works}"
    everywhere = "every browser" if len(names) == asked else ", ".join(dict.fromkeys(names))
    return f"**fails**: {fails} {everywhere}"


_HEADLINES = {
    exits.OK: "is up",
    exits.WRONG: "is up, but something is wrong",
    exits.UNREACHABLE: "could not be reached",
}


def text(
    row: Row,
    found: Verdict | None,
    now: datetime,
    subject: str = "",
) -> str:
    """The whole comment. `found`: None for a preview that is not up; `subject` is the first line of
    its commit's message."""
    headline = _HEADLINES.get(found.status, "is up") if found else f"is not up ({row.state})"
    lines = [MARK, f"### Preview of {code(row.branch)} {headline}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _cells(row, found, now, subject)]
    if found and found.findings:
        lines += ["", "What the doctor found (`fab doctor` says more):", ""]
        lines += _fenced(finding_lines(found.findings[:_MOST_FINDINGS]))
    return "\n".join(lines)


def _cells(
    row: Row,
    found: Verdict | None,
    now: datetime,
    subject: str,
) -> list[tuple[str, str]]:
    cells = []
    if row.origin:
        backend = f" (of {code(row.attached_to)})" if row.attached_to else ""
        cells = [("Page", f"<{row.origin}/>"), ("API", f"<{row.api}/>{backend}")]
    message = f" {code(subject)}" if subject else ""
    cells.append(("Commit", f"{code(row.commit[:12])}{message}" if row.commit else "unknown"))
    if found:
        cells += [
            ("Reading", found.reading),
            ("Logging in", found.logging_in),
            ("Writing", found.writing),
        ]
    cells.append(("Expires", _expiry(row, now)))
    cells.append(("Cost", _cost(row.cost)))
    if row.problem:
        cells.append(("Problem", code(row.problem)))
    return cells


def _expiry(row: Row, now: datetime) -> str:
    end = lifetime.parsed(row.expires)
    if row.keep:
        return "never: it is pinned"
    if end is None:
        return "unknown"
    if end <= now:
        return "it has expired: the next sweep removes it"
    return f"{row.expires}, {lifetime.in_words(end - now)} from now, unless it is updated"


def _cost(amount: float | None) -> str:
    if amount == 0:
        return "nothing: it runs on your own machine"
    words = cost.in_words(amount)
    return f"{words} a month, by list prices of {cost.AS_OF}" if amount else words


def code(text: str) -> str:
    """The text as a code span in a table: on one line, its own backticks and bars included."""
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip() or " "
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * (longest + 1)
    padded = f" {plain} " if longest else plain
    return f"{fence}{padded}{fence}".replace("|", "\\|")


def _fenced(text: str) -> list[str]:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence]
