"""The diagnosis as text for a terminal of 80 columns, without colour."""

from __future__ import annotations

from collections.abc import Sequence

from infra.core import exits
from infra.core.terminal import harmless
from rollout.doctor import cells, heading, login, second_opinion
from rollout.doctor.diagnosis import Diagnosis
from rollout.doctor.text_matrix import matrix
from rollout.doctor.words import wrapped
from rollout.finding import Finding

FOLLOWS = "what follows from it"
_LAST_LINE = {
    exits.OK: "all as intended",
    exits.WRONG: "not as intended",
    exits.UNREACHABLE: "nothing could be asked",
}


def as_text(result: Diagnosis, notes: Sequence[str] = ()) -> str:
    """What was asked and how to read it, the matrix as the public address answers, the findings,
    `notes` on what was not asked, one last line."""
    last = _LAST_LINE[result.status]
    if notes and result.status == exits.OK:
        last = f"{last}, but for what is noted above"
    noted: list[str] = []
    for note in notes:
        noted += wrapped(harmless(note), others="  ")
    parts = [
        "\n".join(_head(result)),
        "\n".join(matrix(result.observed.public)),
        "\n".join(_chromium(result)),
        "\n".join(_logging_in(result)),
        finding_lines(result.findings),
        "\n".join(noted),
        last,
    ]
    return "\n\n".join(part for part in parts if part)


def _head(result: Diagnosis) -> list[str]:
    """What stands at the top, its names in a column; what the words of a cell mean is the last."""
    rows = heading.rows(result)
    width = max(len(name) for name, _ in rows)
    lines: list[str] = []
    for name, value in rows:
        lines += wrapped(harmless(value), first=f"{name.ljust(width)}  ")
    return lines + _legend(width)


def _legend(width: int) -> list[str]:
    """What the words of a cell mean; its name, in a column of this width, stands at the first."""
    widest = max(len(word) for word, _ in cells.LEGEND)
    lines: list[str] = []
    name = "legend"
    for word, meaning in cells.LEGEND:
        lines += wrapped(meaning, first=f"{name.ljust(width)}  {word.ljust(widest)}  ")
        name = ""
    return lines


def _chromium(result: Diagnosis) -> list[str]:
    """How many cells Chromium was asked, and why not the others."""
    lines: list[str] = []
    for sentence in second_opinion.sentences(result):
        lines += wrapped(sentence, others="  ")
    return lines


LOGGING_IN = "logging in and writing"
_BROWSERS_WIDTH = 42
ANSWERS = ("session", "token", "write")
_ANSWER_WIDTH = 9


def _logging_in(result: Diagnosis) -> list[str]:
    """Whether pages can log in and write: origins with the same answers, then browsers with the
    same ones."""
    why_not = login.why_not_judged(result.observed)
    if why_not:
        return wrapped(f"{LOGGING_IN} is not judged: {why_not}", others="  ")
    lines = [_columns(f"{LOGGING_IN}:", ANSWERS)]
    rows = login.rows(result.observed)
    for groups, origins in login.groups(rows).items():
        for origin in origins:
            lines += wrapped(harmless(origin), first="  ", others="    ")
        for group in groups:
            answers = (group.session, group.token, group.write)
            *others, last = group.browsers
            lines += [f"    {name}," for name in others]
            lines.append(_columns(f"    {last}", answers))
    return lines


def _columns(start: str, words: Sequence[str]) -> str:
    cells = "".join(word.ljust(_ANSWER_WIDTH) for word in words)
    return f"{start.ljust(_BROWSERS_WIDTH)}{cells}".rstrip()


def finding_lines(findings: Sequence[Finding]) -> str:
    """The root causes, numbered, each with its code, its cure, its place in the guide and what
    follows from it."""
    lines = []
    for number, finding in enumerate(findings, 1):
        lines += wrapped(_sentence(finding), first=f"{number}. ")
        lines += wrapped(harmless(finding.cure), first="   → ")
        if finding.link:
            lines.append(f"     {finding.link}")
        if finding.follows:
            lines.append(f"   {FOLLOWS}:")
        for consequence in finding.follows:
            lines += wrapped(_sentence(consequence), first="   - ")
    return "\n".join(lines)


def _sentence(finding: Finding) -> str:
    """What is wrong, with its code."""
    text = harmless(finding.text)
    if finding.warning:
        text = f"(warning) {text}"
    if finding.code:
        text = f"{text} [{finding.code}]"
    return text
