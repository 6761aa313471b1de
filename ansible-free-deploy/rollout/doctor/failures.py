"""What is never as intended, whether a page may read it or not: answers with 5xx, cookies that
browsers drop. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from infra.core.contract import Json
from on_host.services import EXCEPTION
from rollout import cookies
from rollout.doctor.seen import PUBLIC, Cell, Seen, where
from rollout.finding import Finding, Kind
from rollout.verdict import Response

_GATEWAY = (502, 504)  # nginx's own, for an application that does not answer
_FAB_LOGS = "see `fab logs`"
_HANDLER = (
    "give the logger django.request a handler, e.g. logging.StreamHandler, whose lines `fab logs`"
    " shows; with disable_existing_loggers at its default of True, Django's own loggers are off"
)
_LONGEST = 200
_ENDS_WITH = "; its log ends with: "


def failures(seen: Seen) -> Iterator[Finding]:
    """One finding for each request and status, however many origins it spoils and however many
    views saw it."""
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
        yield Finding(
            f"{method} {seen.contract.backend.origin}{target} answers {status}{there}:"
            f" {_what(status, bare)}; {_cors(cells)}{last_words(seen, views)}",
            cure=_cure(seen, views, method, target, status),
            anchor="5xx",
            kind=Kind.FAILS,
            places=_places(status, views),
            reach=frozenset(map(failing_of, views)),
        )


def _led(seen: Seen) -> Iterator[Finding]:
    """A page that asks `/` gets what the redirects lead to."""
    if seen.led and seen.led[1] >= 500:
        target, status = seen.led
        hosts = [host.name for host in seen.hosts]
        yield Finding(
            f"GET {seen.contract.backend.origin}/ leads to {target}, which answers {status}:"
            f" {_what(status, False)}{last_words(seen, hosts)}",
            cure=_FAB_LOGS,
            anchor="5xx",
            kind=Kind.FAILS,
            places=frozenset([PUBLIC]),
        )


def lost_cookies(seen: Seen) -> Iterator[Finding]:
    """Cookies that the API sets and browsers drop, since it is reached by plain http; each once."""
    if not seen.contract.backend.origin.startswith("http:"):
        return
    answers = [
        answer for cell in seen.cells for answer in cell.answers if isinstance(answer, Response)
    ]
    lines = [
        value for one in answers for name, value in one.headers if name.lower() == "set-cookie"
    ]
    for name, line in {line.partition("=")[0].strip(): line for line in lines}.items():
        plain = cookies.without_prefix(name)
        if plain is not None:
            yield Finding(
                f"the API sets the cookie {name!r} over plain http, and browsers drop it: a cookie"
                " of that name needs https, so a log-in answers 403",
                cure=f"name it {plain!r} on plain http",
            )
        elif cookies.is_marked_secure(line):
            yield Finding(
                f"the API sets the cookie {name!r}, and it is marked Secure: over plain http"
                " browsers drop it",
                cure="set it without Secure on plain http",
                warning=True,
            )


def _cure(seen: Seen, views: Sequence[str], method: str, target: str, status: int) -> str:
    """Where the reason of a 5xx is to be seen."""
    text, place = next(_words(seen, views), ("", _FAB_LOGS))
    named = text.startswith(_ENDS_WITH) and EXCEPTION.match(text.removeprefix(_ENDS_WITH))
    if place == _FAB_LOGS and text and not named and method == "GET" and status not in _GATEWAY:
        return f"its log names no exception: {_by_hand(seen, target)} shows it"
    return place


def failing_of(view: str) -> str:
    """The place of what only concerns answers with 5xx."""
    return f"5xx of {view}"


def application_of(view: str) -> str:
    """The place of what the application behind that view does not answer."""
    return f"application of {view}"


def only_failures(cells: Sequence[Cell]) -> bool:
    """Whether all that these cells lack is a readable answer to a request that got 5xx."""
    return all(
        isinstance(cell.answers[-1], Response) and cell.answers[-1].status >= 500 for cell in cells
    )


def last_words(seen: Seen, views: Sequence[str]) -> str:
    """How the log of a host that answers so ends, if it has told: the last exception, or where to
    look for it."""
    return next((text for text, _ in _words(seen, views)), "")


def _words(seen: Seen, views: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What the log of each host that answers so says, and where to see more of it."""
    for host in seen.hosts:
        if host.state and (host.name in views or PUBLIC in views):
            journal, log = str(host.state.get("last_words", "")), host.state.get("request_log")
            exception = _told(journal)[0]
            if exception or (log is None and journal.strip()):
                yield f"{_ENDS_WITH}{exception or _told(journal)[1]}", _FAB_LOGS
            elif log and (found := _elsewhere(host.name, log)):
                yield found


def _elsewhere(host: str, log: Json) -> tuple[str, str] | None:
    """Where the project's LOGGING sends the error of a request, if that is not the journal."""
    files, others = list(log["files"]), log["others"]
    for path, end in log["files"].items():
        if exception := _told(end)[0]:
            return f"; {path} on {host} ends with: {exception}", f"see {path} on {host}"
    silent = "; the journal has no word of it, the project's LOGGING"
    if files:
        return f"{silent} writes to {' and '.join(files)}", f"see {files[0]} on {host}"
    if others:
        return f"{silent} sends it to {' and '.join(others)}", "look there"
    if not log["journal"]:
        return "; the project's LOGGING sends such errors nowhere", _HANDLER
    return None


def _told(text: str) -> tuple[str, str]:
    """The last exception of a log, and its last line; both shortened, "" for none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if EXCEPTION.match(line)]
    return _short(named[-1:]), _short(lines[-1:])


def _short(lines: Sequence[str]) -> str:
    return "".join(line[:_LONGEST] + ("…" if len(line) > _LONGEST else "") for line in lines)


def _by_hand(seen: Seen, target: str) -> str:
    """The command that asks the application without a server, so that its exception reaches the
    terminal."""
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
    return (
        "nginx gets no answer from the application"
        if status in _GATEWAY
        else "the application itself fails"
    )


def _cors(cells: Sequence[Cell]) -> str:
    asked = [cell for cell in cells if cell.question.row.allowed]
    if all(cell.judged_right for cell in asked):
        return "CORS is not the reason"
    return (
        "CORS is not the reason, though a page sees a CORS error, as the answer lacks the headers"
    )


def _places(status: int, views: Sequence[str]) -> frozenset[str]:
    gateway = map(application_of, views) if status in (*_GATEWAY, 503) else ()
    return frozenset([*views, *gateway])
