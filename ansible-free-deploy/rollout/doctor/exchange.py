"""The panels of the page: what was sent and answered for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from infra.core import exits
from rollout.doctor import cells as doctor_cells
from rollout.doctor import second_opinion
from rollout.doctor.ask import Unanswered
from rollout.doctor.diagnosis import Diagnosis
from rollout.doctor.observations import Cell

_ON_PAPER = "Requests and answers of what is not as intended, one of each kind"
Ids = dict[tuple[str, str, str], str]


def ids_of(cells: Sequence[Cell]) -> Ids:
    """The id of each cell's panel in the page."""
    ids = {}
    for number, cell in enumerate(cells, 1):
        ids[cell.view, *cell.key] = f"cell-{number}"
    return ids


def panels(result: Diagnosis, ids: Ids) -> str:
    """A panel for each cell. CSS alone shows it, while it is the target of the page's address; on
    paper one of each kind that is not as intended is shown."""
    shown: set[tuple[str, ...]] = set()
    text = ""
    for cell in result.observed.cells:
        kind = _kind(cell)
        is_intended = doctor_cells.state_of(cell) in doctor_cells.AS_INTENDED
        on_paper = not is_intended and kind not in shown
        text += _panel(result, cell, ids, on_paper)
        shown.add(kind)
    if result.status == exits.OK:
        return text
    return f"<h2 class=on-paper>{_ON_PAPER}</h2>{text}"


def _kind(cell: Cell) -> tuple[str, ...]:
    """What distinguishes exchanges on paper: who answered what, and how."""
    reason = cell.verdict.reason if cell.verdict else None
    return (
        cell.view,
        cell.question.endpoint.title,
        doctor_cells.state_of(cell),
        str(reason),
        str(cell.status),
    )


def _panel(
    result: Diagnosis,
    cell: Cell,
    ids: Ids,
    on_paper: bool,
) -> str:
    target = ids[cell.view, *cell.key]
    origin, endpoint = cell.key
    title = f"{escape(origin)} → {escape(endpoint)}"
    view = f"<small>({escape(cell.view)})</small>"
    classes = "exchange paper" if on_paper else "exchange"
    panel = f'<section class="{classes}" id="{target}"><a class=close href="#at-{target}">close</a>'
    panel += f"<h3>{title} {view}</h3>"
    for sentence in _sentences(result, cell):
        panel += f"<p>{escape(sentence)}</p>"
    exchange = escape(_exchange(cell))
    return f"{panel}<pre>{exchange}</pre></section>"


def _sentences(result: Diagnosis, cell: Cell) -> list[str]:
    """The verdict's reason, and why Chromium has no word on it."""
    found = []
    if cell.verdict and cell.verdict.sentence:
        found.append(cell.verdict.sentence)
    reason = second_opinion.not_asked(result, cell)
    if reason and result.browser_wanted:
        found.append(f"Chromium was not asked: {second_opinion.WHY[reason]}.")
    return found


def _exchange(cell: Cell) -> str:
    """Requests (`>`) and answers (`<`) as they were, without cookies."""
    lines = []
    for (method, target, headers), answer in cell.exchanges:
        lines.append(f"> {method} {target}")
        for name, value in headers:
            lines.append(f"> {name}: {value}")
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
