"""What a proxy, a CDN or a load balancer in front changes: the hosts answer right, and something
else arrives. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urljoin, urlsplit

from infra.core.contract import Role
from rollout.doctor.checks.places import IN_FRONT
from rollout.doctor.codes import Code
from rollout.doctor.observations import PUBLIC, Cell, Observations, distinct, responses
from rollout.finding import Finding
from rollout.verdict import Reason

_MOST_ORIGINS = 3


def changed(observed: Observations, cells: Sequence[Cell]) -> list[Cell]:
    """The public address's cells among these whose answers the hosts themselves give right."""
    return [cell for cell in cells if cell.view == PUBLIC and hosts_answer_right(observed, cell)]


def hosts_answer_right(observed: Observations, cell: Cell) -> bool:
    """Whether every host that was asked the same has answered as intended; not if none has."""
    judged = []
    for other in observed.cells:
        if other.view != PUBLIC and other.key == cell.key and other.verdict:
            judged.append(other)
    return bool(judged) and all(other.good for other in judged)


def hosts_are_reached(observed: Observations, role: Role) -> bool:
    """Whether a host of the role has logged the request that was sent to the public address."""
    states = [observed.state_of(host.name) for host in role.hosts]
    return any(state and state.get("arrived") for state in states)


def in_front(observed: Observations, cells: Sequence[Cell]) -> Iterator[Finding]:
    """One finding, however many cells show it."""
    if not cells:
        return
    origins = distinct(cell.question.row.origin for cell in cells)
    titles = distinct(cell.question.endpoint.title for cell in cells)
    shown = ", ".join(origins[:_MOST_ORIGINS])
    if len(origins) > _MOST_ORIGINS:
        shown += f" and {len(origins) - _MOST_ORIGINS} more"
    asked = f"{', '.join(titles)} for {shown}"
    yield Finding(
        f"the hosts answer right when asked directly, and {_what_happens(cells)}: {asked} at"
        f" {observed.contract.backend.origin}{_at(observed)}",
        cure="let the proxy, CDN or load balancer there pass the hosts' Access-Control-* and Vary"
        " headers unchanged and add none (only one of them may write these headers), and redirect"
        " no request to another origin",
        code=Code.CHANGED_IN_FRONT,
        anchor="a-proxy-in-front",
        places=frozenset([IN_FRONT]),
        reach=frozenset([IN_FRONT]),
    )


def _redirect_of(cell: Cell) -> str:
    """The other origin that an answer of this cell leads to; empty where none does."""
    url = cell.question.request.url
    for answer in responses([cell]):
        if answer.location:
            there = urlsplit(urljoin(url, answer.location))
            here = urlsplit(url)
            if (there.scheme, there.netloc) != (here.scheme, here.netloc):
                return f"{there.scheme}://{there.netloc}"
    return ""


def _at(observed: Observations) -> str:
    reach = observed.reach.get("backend")
    return f" ({reach.address})" if reach else ""


def _what_happens(cells: Sequence[Cell]) -> str:
    """What something in front does to the headers, by the first cell's reason."""
    for cell in cells:
        if not cell.question.row.allowed:
            return "something in front allows origins that the hosts refuse"
    for cell in cells:
        target = _redirect_of(cell)
        if target:
            return (
                f"something in front redirects to {target}: a preflight may not be redirected, and"
                " any other request goes on with `Origin: null`"
            )
    verdict = cells[0].verdict
    assert verdict and verdict.reason
    reason = verdict.reason.of_any_answer
    if reason == Reason.MissingAllowOriginHeader:
        return "something in front removes their Access-Control-Allow-Origin"
    if reason == Reason.MultipleAllowOriginValues:
        return "something in front adds another Access-Control-Allow-Origin"
    return f"something in front changes them ({reason})"
