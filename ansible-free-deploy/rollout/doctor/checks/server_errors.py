"""Answers with 5xx: never as intended, whether a page may read them or not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollout.doctor.checks.in_front import hosts_answer_right
from rollout.doctor.checks.logs import FAB_LOGS, TOO_SLOW_CURE, log_end
from rollout.doctor.checks.places import IN_FRONT, application_of, fault_of, server_errors_of
from rollout.doctor.codes import Code
from rollout.doctor.observations import (
    PUBLIC,
    Cell,
    Observations,
    distinct,
    is_server_error,
    view_name,
)
from rollout.finding import Finding
from rollout.verdict import Response

_TOO_LATE = 504  # nginx has waited for timeout_s
_GATEWAY = (502, 504)  # nginx's own, for an application that does not answer
_UNAVAILABLE = 503

Failed = tuple[str, str, int]  # method, target, status


def server_errors(observed: Observations) -> Iterator[Finding]:
    """One finding for each request and status, however many origins and views it concerns."""
    yield from _landing(observed)
    cells_of: dict[Failed, list[Cell]] = {}
    for cell in observed.cells:
        for failed in dict.fromkeys(_failed(cell)):
            cells_of.setdefault(failed, []).append(cell)
    for failed, cells in cells_of.items():
        yield _finding(observed, failed, cells)


def _failed(cell: Cell) -> Iterator[Failed]:
    """The requests of a cell that got 5xx."""
    for (method, target, _), answer in cell.exchanges:
        if isinstance(answer, Response) and is_server_error(answer):
            yield method, target, answer.status


def _finding(
    observed: Observations,
    failed: Failed,
    cells: Sequence[Cell],
) -> Finding:
    method, target, status = failed
    views = distinct(cell.view for cell in cells)
    bare = any((method, target) in host.bare for host in observed.hosts)
    if views == [PUBLIC] and all(hosts_answer_right(observed, cell) for cell in cells):
        return _of_a_proxy(observed, failed)
    end = log_end(observed, views)
    cure = TOO_SLOW_CURE if status == _TOO_LATE else end.cure
    if end.unnamed and method == "GET" and status not in _GATEWAY:
        cure = f"its log names no exception: {_by_hand(observed, target)} shows it"
    url = f"{observed.contract.backend.origin}{target}"
    who_fails = _who_fails(status, bare)
    where = _where(observed, views)
    return Finding(
        f"{method} {url} answers {status}{where}: {who_fails}; {_cors(cells)}{end.text}",
        cure=cure,
        code=Code.SERVER_ERROR,
        anchor="5xx",
        places=_places(status, views),
        reach=frozenset(server_errors_of(view) for view in views),
    )


def _of_a_proxy(observed: Observations, failed: Failed) -> Finding:
    """The hosts answer the same request well."""
    method, target, status = failed
    url = f"{observed.contract.backend.origin}{target}"
    return Finding(
        f"{method} {url} answers {status}, and the hosts answer it well when asked directly: the"
        " proxy or load balancer in front fails",
        cure="see its own log, and whether its health check reaches the hosts",
        code=Code.FAILS_IN_FRONT,
        anchor="a-proxy-in-front",
        places=frozenset([IN_FRONT]),
        reach=frozenset([IN_FRONT, server_errors_of(PUBLIC)]),
    )


def _where(observed: Observations, views: Sequence[str]) -> str:
    """The views in brackets, if they are not all views."""
    if set(views) == set(observed.views):
        return ""
    names = [view_name(view) for view in views]
    return f" ({', '.join(names)})"


def _landing(observed: Observations) -> Iterator[Finding]:
    """A page that asks `/` gets what the redirects lead to."""
    if observed.landing is None:
        return
    target, status = observed.landing
    if status < 500:
        return
    end = log_end(observed, [host.name for host in observed.hosts])
    yield Finding(
        f"GET {observed.contract.backend.origin}/ leads to {target}, which answers {status}:"
        f" {_who_fails(status, bare=False)}{end.text}",
        cure=FAB_LOGS,
        code=Code.SERVER_ERROR,
        anchor="5xx",
        places=frozenset([PUBLIC]),
    )


def _by_hand(observed: Observations, target: str) -> str:
    """The command that asks the application without a server, so that its exception reaches the
    terminal."""
    host = observed.contract.backend.parsed_origin.authority
    code = f"from django.test import Client; Client(HTTP_HOST='{host}').get('{target}')"
    return f'`fab manage -- shell -c "{code}"`'


def _who_fails(status: int, bare: bool) -> str:
    if bare:
        return "the application fails, and so does its own error page (the answer is gunicorn's)"
    if status == _TOO_LATE:
        return "the application takes longer than timeout_s"
    if status in _GATEWAY:
        return "nginx gets no answer from the application"
    return "the application itself fails"


def _cors(cells: Sequence[Cell]) -> str:
    for cell in cells:
        if cell.question.row.allowed and not cell.judged_right:
            return (
                "CORS is not the reason, though a page sees a CORS error, as the answer lacks the"
                " headers"
            )
    return "CORS is not the reason"


def _places(status: int, views: Sequence[str]) -> frozenset[str]:
    places = {*views, *(fault_of(view) for view in views)}
    if status in (*_GATEWAY, _UNAVAILABLE):
        for view in views:
            places.add(application_of(view))
    return frozenset(places)
