"""What answers 5xx: whether a page may read it or not, it is never as intended. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from rollout.doctor.causes import Finding, Kind
from rollout.doctor.seen import Cell, Seen, where
from rollout.verdict import Response

_GATEWAY = (502, 504)  # nginx's own, for an application that does not answer
# The line of a log that names an exception: `OSError: ...`, `django.core.exceptions.ImproperlyConfigured: ...`.
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*: \S|^[\w.]*(Error|Exception|DoesNotExist)$")
_LONGEST = 200
_ENDS_WITH = "; its log ends with: "


def failures(seen: Seen) -> Iterator[Finding]:
    """One finding for each request and status, however many origins it spoils and however many views saw it."""
    found: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in seen.cells:
        for asked in dict.fromkeys(_failed(cell)):
            found.setdefault(asked, []).append(cell)
    yield from _led(seen)
    everywhere = {cell.view for cell in seen.cells}
    for (method, target, status), cells in found.items():
        views = list(dict.fromkeys(cell.view for cell in cells))
        there = "" if set(views) == everywhere else f" ({', '.join(map(where, views))})"
        bare = any((method, target) in host.bare for host in seen.hosts)
        words, cure = last_words(seen, views), "see `fab logs`"
        if words and not names_exception(words) and method == "GET" and status not in _GATEWAY:
            cure = f"its log names no exception: {_by_hand(seen, target)} shows it"
        yield Finding(
            f"{method} {seen.contract.backend.origin}{target} answers {status}{there}: {_what(status, bare)}; "
            f"{_cors(cells)}{words}",
            cure, "5xx", kind=Kind.FAILS, places=_places(status, views),
            reach=frozenset(map(failing_of, views)),
        )  # fmt: skip


def _led(seen: Seen) -> Iterator[Finding]:
    """A page that asks `/` gets what the redirects lead to."""
    if seen.led and seen.led[1] >= 500:
        target, status = seen.led
        hosts = [host.name for host in seen.hosts]
        yield Finding(
            f"GET {seen.contract.backend.origin}/ leads to {target}, which answers {status}: {_what(status, False)}"
            f"{last_words(seen, hosts)}",
            "see `fab logs`", "5xx", kind=Kind.FAILS, places=frozenset(["public"]),
        )  # fmt: skip


def failing_of(view: str) -> str:
    """The place of what only concerns answers with 5xx."""
    return f"5xx of {view}"


def application_of(view: str) -> str:
    """The place of what the application behind that view does not answer."""
    return f"application of {view}"


def only_failures(cells: Sequence[Cell]) -> bool:
    """Whether all that these cells lack is a readable answer to a request that got 5xx."""
    return all(isinstance(cell.answers[-1], Response) and cell.answers[-1].status >= 500 for cell in cells)


def last_words(seen: Seen, views: Sequence[str]) -> str:
    """Where the log of a host that answers so ends, if it has told: the last exception, or the last line."""
    hosts = [host for host in seen.hosts if host.name in views or "public" in views]
    for text in (host.state.get("last_words", "") for host in hosts if host.state):
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if telling := [line for line in lines if _EXCEPTION.match(line)] or lines:
            last = telling[-1]
            return f"{_ENDS_WITH}{last[:_LONGEST]}{'…' if len(last) > _LONGEST else ''}"
    return ""


def names_exception(words: str) -> bool:
    """Whether the last words of a log, as `last_words` has them, are an exception."""
    return _EXCEPTION.match(words.removeprefix(_ENDS_WITH)) is not None


def _by_hand(seen: Seen, target: str) -> str:
    """The command that asks the application without a server, so that its exception reaches the terminal."""
    host = urlsplit(seen.contract.backend.origin).netloc
    code = f"from django.test import Client; Client(HTTP_HOST='{host}').get('{target}')"
    return f'`fab manage -- shell -c "{code}"`'


def _failed(cell: Cell) -> Iterator[tuple[str, str, int]]:
    host = urlsplit(cell.question.request.url).netloc
    for (method, target, _), answer in zip(cell.question.lines(host), cell.answers, strict=True):
        if isinstance(answer, Response) and answer.status >= 500:
            yield method, target, answer.status


def _what(status: int, bare: bool) -> str:
    if bare:
        return "the application fails, and so does its own error page (the answer is gunicorn's)"
    return "nginx gets no answer from the application" if status in _GATEWAY else "the application itself fails"


def _cors(cells: Sequence[Cell]) -> str:
    asked = [cell for cell in cells if cell.question.row.allowed]
    if all(cell.judged_right for cell in asked):
        return "CORS is not the reason"
    return "CORS is not the reason, though a page sees a CORS error, as the answer lacks the headers"


def _places(status: int, views: Sequence[str]) -> frozenset[str]:
    gateway = map(application_of, views) if status in (*_GATEWAY, 503) else ()
    return frozenset([*views, *gateway])
