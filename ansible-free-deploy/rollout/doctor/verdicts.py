"""Questions with their answers, judged by a browser's rules. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rollout.doctor.ask import Answer
from rollout.doctor.observations import Cell
from rollout.doctor.questions import Question
from rollout.verdict import Exchange, Response, Verdict, cors_check, judge


def judged(
    view: str,
    questions: Sequence[Question],
    host: str,
    answers: Sequence[Answer],
) -> list[Cell]:
    """A cell for each question, with as many of the answers as it has requests."""
    cells = []
    start = 0
    for question in questions:
        end = start + len(list(question.lines(host)))
        own = tuple(answers[start:end])
        cells.append(Cell(question, view, own, verdict(question, own)))
        start = end
    return cells


def verdict(question: Question, answers: Sequence[Answer]) -> Verdict | None:
    """A browser's verdict, from the preflight's answer, if there was one, and the request's; None
    where one of them is missing."""
    responses = [answer for answer in answers if isinstance(answer, Response)]
    if len(responses) < len(answers):
        return None
    if not question.row.allowed:
        return _of_headers_alone(question, responses)
    preflight = responses[0] if len(responses) == 2 else None
    final = responses[-1]
    try:
        return judge(question.request, [Exchange(final, preflight)])
    except ValueError:
        # A redirect, which is not followed: what it says itself counts.
        headers = [pair for pair in final.headers if pair[0].lower() != "location"]
        itself = Response(200, tuple(headers))
        return judge(question.request, [Exchange(itself, preflight)])


@dataclass(frozen=True)
class Surroundings:
    """What a browser goes by next to the answers: the policy that the page sends (None without
    one), and the IP addresses that page and API are reached at."""

    csp: str | None
    page_address: str
    api_address: str


def within(cell: Cell, page: str, found: Surroundings) -> Cell:
    """The same cell, judged again by what was found out around the page of origin `page`. It counts
    for that page alone."""
    if cell.question.row.origin != page:
        return cell
    request = replace(
        cell.question.request,
        csp=found.csp,
        page_address=found.page_address,
        address=found.api_address,
    )
    if request == cell.question.request:
        return cell
    question = replace(cell.question, request=request)
    return replace(
        cell,
        question=question,
        verdict=verdict(question, cell.answers),
    )


def _of_headers_alone(question: Question, responses: Sequence[Response]) -> Verdict:
    """The verdict for an unlisted origin: what the server says counts, even where the browser has a
    reason of its own. One answer that allows the origin is enough."""
    request = question.request
    origin = question.row.origin
    obstacle = None
    for response in responses:
        obstacle = cors_check(origin, request.credentials, response)
        if obstacle is None:
            break
    reason = obstacle.reason if obstacle else None
    return Verdict(obstacle is None, reason, "request", "", "", request.url)
