"""The diagnosis as one self-contained page: the findings with the guide's sections, the matrix with
words and colours, the exchange behind each cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from infra.core import exits
from rollout.deploy import UsageError
from rollout.doctor import cells as doctor_cells
from rollout.doctor import guide, heading, login, second_opinion, words
from rollout.doctor.diagnosis import Diagnosis
from rollout.doctor.exchange import Ids, ids_of, panels
from rollout.doctor.observations import PUBLIC, Cell, distinct
from rollout.doctor.questions import Row
from rollout.doctor.text import ANSWERS, FOLLOWS, LOGGING_IN
from rollout.finding import Finding

_VERDICTS = {
    exits.OK: ("ok", "All as intended"),
    exits.WRONG: ("wrong", "Not as intended"),
    exits.UNREACHABLE: ("silent", "Nothing could be asked"),
}
_COLOURS = {
    doctor_cells.State.READABLE: "ok",
    doctor_cells.State.REFUSED: "refused",
    doctor_cells.State.NO_ANSWER: "silent",
}
_MARK = doctor_cells.NOT_AS_INTENDED  # never alone on a line
_SELECT = "Select a cell to see the requests and answers behind it."


def write(path: str, result: Diagnosis) -> None:
    """Write the page to `path`. Raises UsageError where that is not possible."""
    try:
        Path(path).write_text(html(result))
    except OSError as problem:
        raise UsageError(f"--html {path} can't be written: {problem.strerror}") from None


def html(result: Diagnosis) -> str:
    """The whole page; nothing in it is loaded from elsewhere."""
    observed = result.observed
    ids = ids_of(observed.cells)
    sections = guide.sections(_links(result.findings))
    name = escape(observed.contract.environment)
    style = resources.files("rollout.doctor").joinpath("page.css").read_text()
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>CORS of {name}</title>",
        '<meta name=viewport content="width=device-width">',
        f'<meta name=color-scheme content="light dark"><style>{style}</style>',
        f"<h1>Who may read {escape(observed.contract.backend.origin)} ({name})</h1>",
        _top(result),
        _findings(result, sections),
        _logging_in(result),
        *(_view(result, view, ids) for view in observed.views),
        _guide(sections),
        panels(result, ids),
        "</html>\n",
    ]
    return "".join(parts)


def _top(result: Diagnosis) -> str:
    """The verdict, what was asked, and the legend."""
    kind, text = _VERDICTS[result.status]
    rows = _terms(heading.rows(result))
    legend = _terms(doctor_cells.LEGEND)
    return (
        f'<p class="state {kind}">{text}</p><dl class=about>{rows}</dl>'
        f"<dl class=legend>{legend}</dl><p class=screen>{_SELECT}</p>"
    )


def _terms(pairs: Iterable[tuple[str, str]]) -> str:
    """The inside of a <dl>: terms, each with what it stands for."""
    html = ""
    for term, text in pairs:
        html += f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>"
    return html


# ----------------------------------------------------------------------------------------- findings


def _links(findings: Sequence[Finding]) -> list[str]:
    return [finding.link for finding in findings if finding.link]


def _findings(result: Diagnosis, sections: dict[str, str]) -> str:
    if not result.findings:
        return ""
    title = "What is wrong, and the cure" if result.causes else "Worth knowing"
    items = "".join(_finding(finding, sections) for finding in result.findings)
    return f"<h2>{title}</h2><ol class=findings>{items}</ol>"


def _finding(finding: Finding, sections: dict[str, str]) -> str:
    kind = " class=warning" if finding.warning else ""
    item = f"<li{kind}>{_sentence(finding)}"
    item += f"<br><span class=cure>→ {_with_code(finding.cure)}</span>"
    if finding.link:
        item += f" {_reference(finding.link, sections)}"
    if finding.follows:
        item += f"<p class=follows>{FOLLOWS}:</p><ul>"
        for consequence in finding.follows:
            item += f"<li>{_sentence(consequence)}</li>"
        item += "</ul>"
    return f"{item}</li>"


def _reference(link: str, sections: dict[str, str]) -> str:
    """The place in the guide, which comes with the page or not."""
    if link not in sections:
        return f"<span class=reference>{escape(link)}</span>"
    target = escape(guide.section_id(link))
    return f'<a class=reference href="#{target}">{escape(link)}</a>'


def _sentence(finding: Finding) -> str:
    """What is wrong, with its code."""
    text = _with_code(finding.text)
    if finding.warning:
        text = f"(warning) {text}"
    if finding.code:
        text += f" <span class=code>[{escape(finding.code)}]</span>"
    return text


def _with_code(text: str) -> str:
    """The sentence, with what stood in backticks as code."""
    parts = []
    for piece, is_code in words.pieces(text):
        shown = escape(piece)
        parts.append(f"<code>{shown}</code>" if is_code else shown)
    return "".join(parts)


def _guide(sections: dict[str, str]) -> str:
    if not sections:
        return ""
    return f"<h2>From the guide</h2>{''.join(sections.values())}"


# --------------------------------------------------------------------------------------- logging in


def _logging_in(result: Diagnosis) -> str:
    """A table of origins and browsers, or why there is none."""
    title = f"<h2>{LOGGING_IN.capitalize()}</h2>"
    why_not = login.why_not_judged(result.observed)
    if why_not:
        return f"{title}<p>Not judged: {_with_code(why_not)}.</p>"
    head = ""
    for name in ("origin", *ANSWERS):
        head += f"<th scope=col>{name}</th>"
    rows = [_login_row(row) for row in login.rows(result.observed)]
    return f"{title}{_html_table(head, rows)}"


def _html_table(head: str, rows: Iterable[str]) -> str:
    body = "".join(rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _login_row(row: login.Row) -> str:
    cells = ""
    hurdles = (row.login.session, row.login.token, row.login.write)
    for name, word, hurdle in zip(ANSWERS, login.words(row), hurdles, strict=True):
        kind = "refused" if hurdle else "ok"
        why = f"<small>{_with_code(hurdle.sentence)}</small>" if hurdle else ""
        cells += f'<td class={kind} data-endpoint="{name}">{word}{why}</td>'
    origin = escape(row.origin)
    browser = escape(login.browser_name(row.browser))
    return f"<tr><th class=origin scope=row>{origin} <small>{browser}</small></th>{cells}</tr>"


# ------------------------------------------------------------------------------------------- matrix


def _view(result: Diagnosis, view: str, ids: Ids) -> str:
    """The matrix of one view, under its heading."""
    title = f"Asked on {escape(view)}, of its nginx"
    opinion = ""
    if view == PUBLIC:
        title = "Asked from here, at the public address"
        said = " ".join(second_opinion.sentences(result))
        opinion = f"<p>{escape(said)}</p>" if said else ""
    table = _table(result, result.observed.of_view(view), ids)
    return f"<h2>{title}</h2>{opinion}{table}"


def _table(result: Diagnosis, cells: Sequence[Cell], ids: Ids) -> str:
    head = "<th scope=col>origin</th>"
    for title in distinct(cell.question.endpoint.title for cell in cells):
        head += f"<th scope=col>{escape(title)}</th>"
    rows: dict[str, str] = {}
    for cell in cells:
        row = cell.question.row
        if row.origin not in rows:
            rows[row.origin] = _row_heading(row)
        rows[row.origin] += _cell(result, cell, ids)
    whole_rows = [f"<tr>{row_cells}</tr>" for row_cells in rows.values()]
    return _html_table(head, whole_rows)


def _row_heading(row: Row) -> str:
    origin = escape(row.origin)
    why = escape(row.why)
    return f"<th class=origin scope=row>{origin} <small>{why}</small></th>"


def _cell(result: Diagnosis, cell: Cell, ids: Ids) -> str:
    target = ids[cell.view, *cell.key]
    text = escape(doctor_cells.word(cell))
    text = text.replace(f" {_MARK}", f"&nbsp;{_MARK}")
    outcome = result.outcome(cell)
    if outcome:
        text += f"<small>Chromium: {escape(outcome.word)}</small>"
    elif result.browser_wanted and cell.view == PUBLIC:
        text += "<small>Chromium: not asked</small>"
    title = escape(cell.question.endpoint.title)
    return (
        f'<td class={_colour(cell)} data-endpoint="{title}">'
        f'<a id="at-{target}" href="#{target}">{text}</a></td>'
    )


def _colour(cell: Cell) -> str:
    """The class of page.css."""
    return _COLOURS.get(doctor_cells.state_of(cell), "wrong")
