"""Redirects that a page does not survive: to another origin, and of a POST. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from rollout.doctor.codes import Code
from rollout.doctor.observations import Cell, Observations, distinct
from rollout.finding import Finding
from rollout.verdict import Response

# A browser follows these with GET and without the body.
# https://fetch.spec.whatwg.org/#http-redirect-fetch, step 12
_LOSES_A_POST = (301, 302, 303)


def redirects(observed: Observations) -> Iterator[Finding]:
    """What the answers to allowed origins lead to."""
    cells = [cell for cell in observed.cells if cell.question.row.allowed and _target(cell)]
    yield from _away(observed, cells)
    for cell in _once_for_each_path(cells):
        yield from _lost_body(cell)


def _once_for_each_path(cells: list[Cell]) -> list[Cell]:
    return list({cell.question.endpoint.title: cell for cell in reversed(cells)}.values())


def _target(cell: Cell) -> str:
    """The URL that the answer redirects to; empty if it does not."""
    answer = cell.answer_of_path
    if not isinstance(answer, Response) or not answer.location:
        return ""
    return urljoin(cell.question.request.url, answer.location)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _away(observed: Observations, cells: list[Cell]) -> Iterator[Finding]:
    """To another origin: the browser asks there with `Origin: null`. One path that leads away may
    be meant, such as `/` to the documentation; not all that were asked."""
    here = observed.contract.backend.origin
    asked = {cell.key[1] for cell in observed.cells if cell.question.endpoint.method == "GET"}
    away = [cell for cell in cells if _origin(_target(cell)) != here]
    if {cell.key[1] for cell in away} & asked != asked - _of_nginx(observed):
        return
    if not away:
        return
    cell = away[0]
    answer, target = cell.answer_of_path, _target(cell)
    assert isinstance(answer, Response)
    yield Finding(
        f"GET {cell.question.request.url} is redirected ({answer.status}) to {target}, another"
        " origin: a browser asks there with `Origin: null`, which no list allows",
        cure=_cure(here, _origin(target)),
        code=Code.REDIRECTED_AWAY,
        anchor="redirected-to-another-origin",
        places=frozenset(distinct(cell.view for cell in away)),
    )


def _of_nginx(observed: Observations) -> set[str]:
    """Endpoints that the application is never asked for."""
    titles = {cell.key[1] for cell in observed.cells}
    return {title for title in titles if title.endswith("of nginx")}


def _cure(here: str, there: str) -> str:
    if here.replace("http:", "https:") == there:
        return (
            "take the redirect to https out of the project or of what stands in front: the API is"
            " served by http"
        )
    return f"let the API answer at {here} itself, or give the page {there} as its API"


def _lost_body(cell: Cell) -> Iterator[Finding]:
    endpoint = cell.question.endpoint
    answer, target = cell.answer_of_path, _target(cell)
    assert isinstance(answer, Response)
    if endpoint.method.upper() != "POST" or endpoint.body is not None:
        return
    if answer.status not in _LOSES_A_POST or _origin(target) != _origin(cell.question.request.url):
        return
    path = urlsplit(target).path
    by_django = path == f"{endpoint.path}/"
    cure = f"let the page call {path}" + (", with the slash" if by_django else "")
    why = ", APPEND_SLASH" if by_django else ""
    url = cell.question.request.url
    yield Finding(
        f"POST {url} is redirected ({answer.status}{why}) to {path}: a browser follows with"
        " a GET without the body, and the page reads that answer's status, often 200",
        cure=cure,
        code=Code.POST_REDIRECTED,
        anchor="redirected-post",
    )
