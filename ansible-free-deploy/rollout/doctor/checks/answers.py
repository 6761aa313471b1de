"""What the answers mean: no answer, an unlisted origin that is allowed, a listed one that is
refused. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollout.doctor.ask import TIMEOUT_S, Unanswered
from rollout.doctor.checks.in_front import changed, in_front
from rollout.doctor.checks.places import application_of
from rollout.doctor.checks.refusals import refused
from rollout.doctor.codes import Code
from rollout.doctor.observations import (
    PUBLIC,
    Cell,
    Observations,
    distinct,
    responses,
    view_name,
)
from rollout.doctor.questions import UNLISTED
from rollout.finding import Finding


def answers(observed: Observations) -> Iterator[Finding]:
    """Everything that one view answers, view by view."""
    for view in observed.views:
        cells = observed.of_view(view)
        yield from _silent(observed, view, cells)
        wrong = [cell for cell in cells if cell.verdict and not cell.judged_right]
        by_proxy = changed(observed, wrong)
        yield from in_front(observed, by_proxy)
        wrong = [cell for cell in wrong if cell not in by_proxy]
        still_there = [cell for cell in wrong if not _is_gone(observed, cell)]
        yield from _gone(observed, view, wrong)
        yield from _allowed(view, still_there)
        yield from _refused(observed, view, wrong)
        yield from _open(cells)


def _silent(
    observed: Observations,
    view: str,
    cells: Sequence[Cell],
) -> Iterator[Finding]:
    """What could not be asked, as one finding with the first problem. It is no verdict."""
    nginx_answers = _nginx_answers(observed, view, cells)
    for cell in cells:
        for answer in cell.answers:
            if isinstance(answer, Unanswered):
                if nginx_answers and answer.is_late:
                    yield _slow(observed, view, cell)
                    return
                yield Finding(
                    f"{view_name(view)} does not answer ({answer.problem})",
                    cure="see `fab status` and `fab logs`",
                    code=Code.VIEW_SILENT,
                    anchor="no-answer",
                    places=frozenset([view]),
                )
                return


def _nginx_answers(
    observed: Observations,
    view: str,
    cells: Sequence[Cell],
) -> bool:
    """Whether something else was answered there at the same time."""
    there = observed.reach.get("backend")
    if view == PUBLIC and there and there.answered:
        return True
    state = observed.state_of(view)
    if state and state.get("refuses_connections") == "":
        return True
    return bool(responses(cells))


def _slow(observed: Observations, view: str, cell: Cell) -> Finding:
    """nginx answers, and the application does not, within the time that the doctor waits."""
    limit = observed.contract.application.timeout_s
    return Finding(
        f"GET {cell.question.request.url} has no answer after {TIMEOUT_S} s, although nginx answers"
        " there: the application takes longer",
        cure=f"make that view faster, or do its work outside of the request (gunicorn ends it after"
        f" {limit} s, `timeout_s`); `fab logs` shows what it does",
        code=Code.ANSWER_SLOW,
        anchor="5xx",
        places=frozenset([view, application_of(view)]),
        # While its workers are busy, the application answers nothing else.
        reach=frozenset([*observed.views, *map(application_of, observed.views)]),
    )


def _is_gone(observed: Observations, cell: Cell) -> bool:
    return cell.question.row.origin in observed.gone


def _gone(
    observed: Observations,
    view: str,
    wrong: Sequence[Cell],
) -> Iterator[Finding]:
    """Pages of previews that are gone and may read the answers: their addresses may be somebody
    else's by now."""
    origins = distinct(cell.question.row.origin for cell in wrong if _is_gone(observed, cell))
    if origins:
        pages = ", ".join(f"{observed.gone[origin]} ({origin})" for origin in origins)
        yield Finding(
            f"{view_name(view)} still allows previews that are gone: {pages}",
            cure="run `fab preview.sweep` or `fab deploy`",
            code=Code.UNLISTED_ORIGIN_ALLOWED,
            anchor="alloworiginmismatch",
            places=frozenset([view]),
        )


def _allowed(view: str, wrong: Sequence[Cell]) -> Iterator[Finding]:
    """Unlisted origins whose pages may read the answers, the one that resembles none first."""
    unlisted = [cell.question.row.origin for cell in wrong if not cell.question.row.allowed]
    if unlisted:
        origins = ", ".join(sorted(distinct(unlisted), key=lambda origin: origin != UNLISTED))
        yield Finding(
            f"{view_name(view)} allows {origins}, which the contract does not: a pattern without"
            " its end, or with an unescaped dot?",
            cure="run `fab deploy`, which writes every pattern anchored and escaped",
            code=Code.UNLISTED_ORIGIN_ALLOWED,
            anchor="alloworiginmismatch",
            places=frozenset([view]),
        )


def _refused(
    observed: Observations,
    view: str,
    wrong: Sequence[Cell],
) -> Iterator[Finding]:
    """Listed origins whose pages may not read the answers, one finding for each reason."""
    by_reason: dict[str, list[Cell]] = {}
    for cell in wrong:
        if cell.question.row.allowed:
            reason = str(cell.verdict.reason if cell.verdict else None)
            by_reason.setdefault(reason, []).append(cell)
    for cells in by_reason.values():
        yield refused(observed, view, cells)


def _open(cells: Sequence[Cell]) -> Iterator[Finding]:
    """Every website may read the answers, and the contract says so."""
    if len(cells) < 2:
        return
    for cell in cells:
        if cell.question.row.origin == UNLISTED:
            open_to_all = cell.question.row.allowed and cell.readable
            if not open_to_all:
                return
    yield Finding(
        "every website may read the answers: allow_all_origins is on",
        cure="before others depend on it, list extra_origins or allowed_patterns instead",
        code=Code.EVERY_ORIGIN_ALLOWED,
        warning=True,
    )
