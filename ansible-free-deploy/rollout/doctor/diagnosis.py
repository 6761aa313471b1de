"""What was observed, what it means, and what a real browser makes of the same cells."""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.core import exits
from rollout.doctor import browser
from rollout.doctor.about import About
from rollout.doctor.checks.near_miss import near_miss
from rollout.doctor.codes import Code
from rollout.doctor.findings import findings
from rollout.doctor.observations import PUBLIC, Cell, Observations
from rollout.finding import Finding
from rollout.verdict import Verdict


@dataclass(frozen=True)
class Diagnosis:
    """All that was observed, what it means, and Chromium's outcomes by origin and endpoint, if it
    was asked (`browser_wanted`: somebody wanted that)."""

    observed: Observations
    findings: tuple[Finding, ...]
    browsed: browser.Outcomes
    browser_wanted: bool = False
    about: About = field(default_factory=About)

    @property
    def causes(self) -> int:
        """How many findings are no warnings."""
        return len(self.findings) - self.warnings

    @property
    def warnings(self) -> int:
        return sum(finding.warning for finding in self.findings)

    @property
    def status(self) -> int:
        """As every verb's exit status (infra/core/exits.py): all as intended, something differs,
        nothing could be asked."""
        if self.observed.unanswered:
            return exits.UNREACHABLE
        if self.causes:
            return exits.WRONG
        return exits.OK

    def outcome(self, cell: Cell) -> browser.Outcome | None:
        """What Chromium made of this cell. It asks the public address only."""
        if cell.view != PUBLIC:
            return None
        return self.browsed.get(cell.key)


def diagnose(
    observed: Observations,
    origin: str | None = None,
    browse: bool = False,
    about: About | None = None,
) -> Diagnosis:
    """What it all means. `origin` is one that somebody expected to work. Raises
    browser.BrowserError."""
    found = list(findings(observed))
    miss = near_miss(origin, observed.contract) if origin else None
    if miss:
        nothing_answers = found and found[0].code == Code.NOTHING_ANSWERS
        found.insert(1 if nothing_answers else 0, miss)
    browsed: browser.Outcomes = {}
    if browse and any(cell.verdict for cell in observed.public):
        browsed = browser.browse(observed)
    found += disagreements(observed, browsed)
    return Diagnosis(
        observed,
        tuple(found),
        browsed,
        browse,
        about or About(),
    )


def agree(cell: Cell, outcome: browser.Outcome) -> bool:
    """Whether Chromium allows the page to read exactly when the verdict does."""
    return cell.verdict is not None and cell.verdict.allowed == outcome.allowed


def disagreements(observed: Observations, browsed: browser.Outcomes) -> list[Finding]:
    """One finding, with every cell under it: they have one cause, which is a bug of the kit."""
    each = []
    for cell in observed.public:
        outcome = browsed.get(cell.key)
        if outcome and cell.verdict and not agree(cell, outcome):
            each.append(_disagreement(cell, cell.verdict, outcome))
    if not each:
        return []
    cells = "one cell" if len(each) == 1 else f"{len(each)} cells"
    root = Finding(
        f"Chromium and the verdict disagree on {cells}",
        cure="please report it: a bug of the kit",
        code=Code.CHROMIUM_DISAGREES,
        follows=tuple(each),
    )
    return [root]


def _disagreement(
    cell: Cell,
    verdict: Verdict,
    outcome: browser.Outcome,
) -> Finding:
    question = cell.question
    return Finding(
        f"{question.row.origin}, {question.endpoint.title}: Chromium says {outcome.word}, the"
        f" verdict {_verdict_word(cell, verdict)}",
        code=Code.CHROMIUM_DISAGREES,
    )


def _verdict_word(cell: Cell, verdict: Verdict) -> str:
    if verdict.allowed:
        return f"{cell.status} ok"
    if not cell.question.row.allowed:
        return "refused"
    return str(verdict.reason)
