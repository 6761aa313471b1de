"""The diagnosis as one self-contained page: the matrix in colour, the exchange behind each cell,
the cure."""

from __future__ import annotations

from html import escape
from importlib import resources
from pathlib import Path

from rollout.deploy import UsageError
from rollout.doctor import FOLLOWS, Diagnosis, word
from rollout.doctor.ask import Unanswered
from rollout.doctor.seen import PUBLIC, Cell
from rollout.finding import Finding

Ids = dict[tuple[str, str, str], str]


def write(path: str, result: Diagnosis) -> None:
    """Put the page at `path`. Raises UsageError where that can't be."""
    try:
        Path(path).write_text(html(result))
    except OSError as problem:
        raise UsageError(f"--html {path} can't be written: {problem.strerror}") from None


def html(result: Diagnosis) -> str:
    """The whole page; nothing in it is loaded from elsewhere."""
    seen = result.seen
    verdict = {
        0: ("ok", "All as intended"),
        1: ("wrong", "Not as intended"),
        4: ("silent", "Nothing could be asked"),
    }
    kind, text = verdict[result.status]
    views = dict.fromkeys(cell.view for cell in seen.cells)
    ids = {(cell.view, *cell.key): f"cell-{number}" for number, cell in enumerate(seen.cells, 1)}
    tables = ""
    for view in views:
        cells = [cell for cell in seen.cells if cell.view == view]
        tables += f"<h2>{_heading(view)}</h2>{_table(result, cells, ids)}"
    panels = "".join(_panel(cell, ids) for cell in seen.cells)
    found = "".join(map(_finding, result.findings))
    over = (
        "Worth knowing"
        if all(one.warning for one in result.findings)
        else "What is wrong, and the cure"
    )
    name = escape(seen.contract.environment)
    style = resources.files("rollout.doctor").joinpath("page.css").read_text()
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>CORS of {name}</title>"
        f'<meta name=viewport content="width=device-width"><style>{style}</style>'
        f"<h1>Who may read {escape(seen.contract.backend.origin)} ({name})</h1>"
        f'<p class="state {kind}">{text}</p>{f"<h2>{over}</h2><ol>{found}</ol>" if found else ""}'
        f"{tables}<p><small>Green: a page may read it. Grey: a stranger is refused, as intended."
        " Red: not as intended, "
        f"or it answers 5xx. Striped: no answer, so no verdict. Choose a cell for what was "
        f"said.</small></p>{panels}</html>\n"
    )


def _heading(view: str) -> str:
    return (
        "Asked from here, at the public address"
        if view == PUBLIC
        else f"Asked on {escape(view)}, of its nginx"
    )


def _finding(one: Finding) -> str:
    link = f" <small>{escape(one.link)}</small>" if one.link else ""
    kind = " class=warning" if one.warning else ""
    follows = "".join(f"<li>{escape(other.text)}" for other in one.follows)
    under = f"<p class=follows>{FOLLOWS}:</p><ul>{follows}</ul>" if follows else ""
    return (
        f"<li{kind}>{escape(one.text)}<br><span class=cure>→"
        f" {escape(one.cure)}</span>{link}{under}</li>"
    )


def _table(result: Diagnosis, cells: list[Cell], ids: Ids) -> str:
    titles = list(dict.fromkeys(cell.question.endpoint.title for cell in cells))
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        f"<tr><th class=origin>{escape(row.origin)}<br><small>{escape(row.why)}</small></th>"
        + "".join(_cell(result, cell, ids) for cell in cells if cell.question.row == row)
        + "</tr>"
        for row in dict.fromkeys(cell.question.row for cell in cells)
    )
    return f"<div class=matrix><table><tr><th>origin</th>{head}</tr>{body}</table></div>"


def _cell(result: Diagnosis, cell: Cell, ids: Ids) -> str:
    kind = "ok" if cell.question.row.allowed else "refused"
    kind = "silent" if cell.verdict is None else kind if cell.good else "wrong"
    outcome = result.browsed.get(cell.key) if cell.view == PUBLIC else None
    browsed = f"<br><small>Chromium: {escape(outcome.word)}</small>" if outcome else ""
    return (
        f"<td class={kind}><a"
        f' href="#{ids[cell.view, *cell.key]}">{escape(word(cell))}{browsed}</a></td>'
    )


def _panel(cell: Cell, ids: Ids) -> str:
    """Shown by CSS alone, while it is the target of the page's address."""
    origin, endpoint = map(escape, cell.key)
    said = (
        f"<p>{escape(cell.verdict.sentence)}</p>" if cell.verdict and cell.verdict.sentence else ""
    )
    return (
        f'<section class=exchange id="{ids[cell.view, *cell.key]}"><a class=close'
        ' href="#">close</a>'
        f"<h3>{origin} → {endpoint} <small>({escape(cell.view)})</small></h3>{said}"
        f"<pre>{escape(_exchange(cell))}</pre></section>"
    )


def _exchange(cell: Cell) -> str:
    lines = []
    host = cell.question.request.url.split("/")[2]
    for (method, target, headers), answer in zip(
        cell.question.lines(host), cell.answers, strict=True
    ):
        lines += [f"> {method} {target}", *(f"> {name}: {value}" for name, value in headers)]
        if isinstance(answer, Unanswered):
            lines += [f"< {answer.problem}", ""]
        else:
            shown = [pair for pair in answer.headers if pair[0].lower() != "set-cookie"]
            lines += [f"< {answer.status}", *(f"< {name}: {value}" for name, value in shown), ""]
    if not cell.question.endpoint.sent:
        lines.append(
            "The request itself was not sent, as it could change data; a GET stands for it."
        )
    return "\n".join(lines)
