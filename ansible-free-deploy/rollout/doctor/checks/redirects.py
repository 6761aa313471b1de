"""Redirects that a page does not survive: to another origin, and of a POST. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from rollout.doctor.codes import Code
from rollout.doctor.observations import Cell, Observations
from rollout.finding import Finding
from rollout.verdict import Response

# A browser follows these with GET and without the body.
# https://fetch.spec.whatwg.org/#http-redirect-fetch, step 12
_LOSES_A_POST = (301, 302, 303)


@dataclass(frozen=True)
class _Redirect:
    """A cell whose answer redirects: its status, and the URL that it leads to."""

    cell: Cell
    status: int
    target: str

    @property
    def title(self) -> str:
        """The endpoint that redirects."""
        return self.cell.key[1]


def redirects(observed: Observations) -> Iterator[Finding]:
    """What the answers to allowed origins lead to."""
    found = list(_redirects(observed))
    yield from _away(observed, found)
    for redirect in _once_for_each_path(found):
        yield from _lost_body(redirect)


def _redirects(observed: Observations) -> Iterator[_Redirect]:
    for cell in observed.cells:
        answer = cell.answer_of_path
        if cell.question.row.allowed and isinstance(answer, Response) and answer.location:
            target = urljoin(cell.question.request.url, answer.location)
            yield _Redirect(cell, answer.status, target)


def _once_for_each_path(found: Sequence[_Redirect]) -> list[_Redirect]:
    by_path: dict[str, _Redirect] = {}
    for redirect in reversed(found):
        by_path[redirect.title] = redirect  # the first one of a path stays
    return list(by_path.values())


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _away(observed: Observations, found: Sequence[_Redirect]) -> Iterator[Finding]:
    """To another origin: the browser asks there with `Origin: null`. One path that leads away may
    be meant, such as `/` to the documentation; not all that were asked."""
    here = observed.contract.backend.origin
    away = [redirect for redirect in found if _origin(redirect.target) != here]
    if not away:
        return
    asked = set()
    for cell in observed.cells:
        if cell.question.endpoint.method == "GET":
            asked.add(cell.key[1])
    leads_away = {redirect.title for redirect in away}
    if leads_away & asked != asked - _of_nginx(observed):
        return
    first = away[0]
    yield Finding(
        f"GET {first.cell.question.request.url} is redirected ({first.status}) to {first.target},"
        " another origin: a browser asks there with `Origin: null`, which no list allows",
        cure=_cure(here, _origin(first.target)),
        code=Code.REDIRECTED_AWAY,
        anchor="redirected-to-another-origin",
        places=frozenset(redirect.cell.view for redirect in away),
    )


def _of_nginx(observed: Observations) -> set[str]:
    """Endpoints that the application is never asked for."""
    titles = {cell.key[1] for cell in observed.cells}
    return {title for title in titles if title.endswith("of nginx")}


def _cure(here: str, there: str) -> str:
    if here.replace("http:", "https:") == there:
        return (
            "take the redirect to https out of the project or of what stands in front: the API is"
            " served by http; or set `tls`, so that it is served by https"
        )
    return f"let the API answer at {here} itself, or give the page {there} as its API"


def _lost_body(redirect: _Redirect) -> Iterator[Finding]:
    question = redirect.cell.question
    endpoint = question.endpoint
    url = question.request.url
    if endpoint.method.upper() != "POST" or endpoint.body is not None:
        return
    if redirect.status not in _LOSES_A_POST or _origin(redirect.target) != _origin(url):
        return
    path = urlsplit(redirect.target).path
    cure = f"let the page call {path}"
    why = ""
    if path == f"{endpoint.path}/":
        cure += ", with the slash"
        why = ", APPEND_SLASH"
    yield Finding(
        f"POST {url} is redirected ({redirect.status}{why}) to {path}: a browser follows with"
        " a GET without the body, and the page reads that answer's status, often 200",
        cure=cure,
        code=Code.POST_REDIRECTED,
        anchor="redirected-post",
    )
