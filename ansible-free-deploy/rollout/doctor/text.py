"""The diagnosis as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from infra.core import exits
from rollout import report
from rollout.doctor.diagnosis import Diagnosis, cell_word
from rollout.doctor.observations import distinct
from rollout.finding import Finding

FOLLOWS = "what follows from it"
_LAST_LINE = {
    exits.OK: "all as intended",
    exits.WRONG: "not as intended",
    exits.UNREACHABLE: "nothing could be asked",
}


def as_text(result: Diagnosis, notes: Sequence[str] = ()) -> str:
    """The matrix, the findings, `notes` on what was not asked, one last line."""
    last = _LAST_LINE[result.status]
    if notes and result.status == exits.OK:
        last = f"{last}, but for what is noted above"
    parts = [matrix(result), finding_lines(result.findings), "\n".join(notes), last]
    return "\n\n".join(part for part in parts if part)


def matrix(result: Diagnosis) -> str:
    """One line for each origin, one column for each endpoint, as the public address answers."""
    cells = result.observed.public
    titles = distinct(cell.question.endpoint.title for cell in cells)
    lines: dict[str, list[str]] = {}
    for cell in cells:
        origin = cell.question.row.origin
        word = cell_word(cell)
        outcome = result.outcome(cell)
        if outcome:
            word = f"{word} | {outcome.word}"
        lines.setdefault(origin, [origin]).append(word)
    return report.table(("origin", *titles), list(lines.values()))


def finding_lines(findings: Sequence[Finding]) -> str:
    """The root causes, numbered, each with its cure, its place in the guide and what follows from
    it."""
    lines = []
    for number, finding in enumerate(findings, 1):
        lines.append(f"{number}. {_sentence(finding)}")
        link = f"  ({finding.link})" if finding.link else ""
        lines.append(f"   → {finding.cure}{link}")
        if finding.follows:
            lines.append(f"   {FOLLOWS}:")
        for consequence in finding.follows:
            lines.append(f"   - {_sentence(consequence)}")
    return "\n".join(lines)


def _sentence(finding: Finding) -> str:
    if finding.warning:
        return f"(warning) {finding.text}"
    return finding.text
