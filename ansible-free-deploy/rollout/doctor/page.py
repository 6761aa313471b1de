"""The diagnosis as one self-contained page: the matrix in colour, the exchange behind each cell,
the cure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from infra.core import exits
from rollout.deploy import UsageError
from rollout.doctor import cells as doctor_cells
from rollout.doctor.ask import Unanswered
from rollout.doctor.diagnosis import Diagnosis
from rollout.doctor.observations import PUBLIC, Cell, distinct
from rollout.doctor.questions import Row
from rollout.doctor.text import FOLLOWS
from rollout.finding import Finding

Ids = dict[tuple[str, str, str], str]

_VERDICTS = {
    exits.OK: ("ok", "All as intended"),
    exits.WRONG: ("wrong", "Not as intended"),
    exits.UNREACHABLE: ("silent", "Nothing could be asked"),
}
_LEGEND = (
    "Green: a page may read it. Grey: an unlisted origin is refused, as intended. Red: not as"
    " intended, or it answers 5xx. Striped: no answer, so no verdict. Select a cell to see the"
    " requests and answers behind it."
)


def write(path: str, result: Diagnosis) -> None:
    """Write the page to `path`. Raises UsageError where that is not possible."""
    try:
        Path(path).write_text(html(result))
    except OSError as problem:
        raise UsageError(f"--html {path} can't be written: {problem.strerror}") from None


def html(result: Diagnosis) -> str:
    """The whole page; nothing in it is loaded from elsewhere."""
    observed = result.observed
    kind, text = _VERDICTS[result.status]
    ids = _ids(observed.cells)
    tables = ""
    for view in observed.views:
        cells = observed.of_view(view)
        tables += f"<h2>{_heading(view)}</h2>"
        tables += _table(result, cells, ids)
    panels = ""
    for cell in observed.cells:
        panels += _panel(cell, ids)
    name = escape(observed.contract.environment)
    style = resources.files("rollout.doctor").joinpath("page.css").read_text()
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>CORS of {name}</title>"
        f'<meta name=viewport content="width=device-width"><style>{style}</style>'
        f"<h1>Who may read {escape(observed.contract.backend.origin)} ({name})</h1>"
        f'<p class="state {kind}">{text}</p>{_findings(result.findings)}'
        f"{tables}<p><small>{_LEGEND}</small></p>{panels}</html>\n"
    )


def _ids(cells: Sequence[Cell]) -> Ids:
    """The id of each cell's panel in the page."""
    ids = {}
    for number, cell in enumerate(cells, 1):
        ids[cell.view, *cell.key] = f"cell-{number}"
    return ids


def _heading(view: str) -> str:
    if view == PUBLIC:
        return "Asked from here, at the public address"
    return f"Asked on {escape(view)}, of its nginx"


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    heading = "Worth knowing"
    if any(not finding.warning for finding in findings):
        heading = "What is wrong, and the cure"
    items = ""
    for finding in findings:
        items += _finding(finding)
    return f"<h2>{heading}</h2><ol>{items}</ol>"


def _finding(finding: Finding) -> str:
    kind = " class=warning" if finding.warning else ""
    item = f"<li{kind}>{escape(finding.text)}"
    item += f"<br><span class=cure>→ {escape(finding.cure)}</span>"
    if finding.link:
        item += f" <small>{escape(finding.link)}</small>"
    if finding.follows:
        item += f"<p class=follows>{FOLLOWS}:</p><ul>"
        for consequence in finding.follows:
            item += f"<li>{escape(consequence.text)}"
        item += "</ul>"
    return f"{item}</li>"


def _table(result: Diagnosis, cells: Sequence[Cell], ids: Ids) -> str:
    """The matrix of one view."""
    head = "<th>origin</th>"
    for title in distinct(cell.question.endpoint.title for cell in cells):
        head += f"<th>{escape(title)}</th>"
    rows: dict[str, str] = {}
    for cell in cells:
        row = cell.question.row
        if row.origin not in rows:
            rows[row.origin] = _row_heading(row)
        rows[row.origin] += _cell(result, cell, ids)
    body = ""
    for cells_of_row in rows.values():
        body += f"<tr>{cells_of_row}</tr>"
    return f"<div class=matrix><table><tr>{head}</tr>{body}</table></div>"


def _row_heading(row: Row) -> str:
    origin, why = escape(row.origin), escape(row.why)
    return f"<th class=origin>{origin}<br><small>{why}</small></th>"


def _cell(result: Diagnosis, cell: Cell, ids: Ids) -> str:
    target = ids[cell.view, *cell.key]
    text = escape(doctor_cells.word(cell))
    outcome = result.outcome(cell)
    if outcome:
        text += f"<br><small>Chromium: {escape(outcome.word)}</small>"
    return f'<td class={_colour(cell)}><a href="#{target}">{text}</a></td>'


def _colour(cell: Cell) -> str:
    """The class of page.css."""
    if cell.verdict is None:
        return "silent"
    if not cell.good:
        return "wrong"
    return "ok" if cell.question.row.allowed else "refused"


def _panel(cell: Cell, ids: Ids) -> str:
    """What was sent and answered. CSS alone shows it, while it is the target of the page's
    address."""
    target = ids[cell.view, *cell.key]
    origin, endpoint = cell.key
    title = f"{escape(origin)} → {escape(endpoint)} <small>({escape(cell.view)})</small>"
    panel = f'<section class=exchange id="{target}"><a class=close href="#">close</a>'
    panel += f"<h3>{title}</h3>"
    if cell.verdict and cell.verdict.sentence:
        panel += f"<p>{escape(cell.verdict.sentence)}</p>"
    exchange = escape(_exchange(cell))
    return f"{panel}<pre>{exchange}</pre></section>"


def _exchange(cell: Cell) -> str:
    """Requests (`>`) and answers (`<`) as they were, without cookies."""
    lines = []
    host = urlsplit(cell.question.request.url).netloc
    requests = cell.question.lines(host)
    for (method, target, headers), answer in zip(requests, cell.answers, strict=True):
        lines.append(f"> {method} {target}")
        lines += [f"> {name}: {value}" for name, value in headers]
        if isinstance(answer, Unanswered):
            lines.append(f"< {answer.problem}")
        else:
            lines.append(f"< {answer.status}")
            for name, value in answer.headers:
                if name.lower() != "set-cookie":
                    lines.append(f"< {name}: {value}")
        lines.append("")
    if not cell.question.endpoint.sent:
        lines.append(
            "The request itself was not sent, as it could change data; a GET stands for it."
        )
    return "\n".join(lines)
