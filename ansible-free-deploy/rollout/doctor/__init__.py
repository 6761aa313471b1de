"""Why a page may or may not read the backend: every origin × endpoint × method, judged as a browser
would.

seen = examine(outputs)
diagnose(seen).status
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra.core import exits
from infra.core.contract import Contract, Host, Json
from infra.core.origins import OriginError, parse_origin, parse_pattern
from rollout import access, deploy, hosts, report, secret_values
from rollout.doctor import ask, browser
from rollout.doctor.ask import Answer, Unanswered
from rollout.doctor.findings import findings, near_miss
from rollout.doctor.questions import Endpoint, Question, Row, endpoints, questions, rows
from rollout.doctor.seen import PUBLIC, Cell, Direct, HostReport, Seen
from rollout.finding import Finding, Kind
from rollout.hosts import HostError
from rollout.outputs import Outputs
from rollout.verdict import Exchange, Headers, Response, Verdict, judge
from rollout.verdict.check import cors_check

__all__ = ["Cell", "Diagnosis", "Finding", "Seen", "as_text", "asked", "diagnose", "examine"]

FOLLOWS = "what follows from it"
_WRONG_HOST = "origin-kit-doctor.invalid"


def examine(
    outputs: Outputs, asked: tuple[tuple[Row, ...], tuple[Endpoint, ...], bool] | None = None
) -> Seen:
    """Ask everything, or only `asked`: rows, endpoints and whether cookies go along."""
    contract = outputs.contract
    addresses = {
        "frontend": ask.resolve(contract.frontend.origin),
        "backend": ask.resolve(contract.backend.origin),
    }
    page = ask.page(contract, (addresses["frontend"] or (contract.frontend.hosts[0].address,))[0])
    wanted = asked or (rows(contract), endpoints(contract), contract.cors.allow_credentials)
    cells = questions(contract, wanted[0], wanted[1], page.csp, wanted[2])
    address = (addresses["backend"] or (contract.backend.hosts[0].address,))[0]
    public = _public(contract, address, cells)
    led = (
        None
        if asked
        else ask.led(address, contract.backend.origin, (("Origin", contract.frontend.origin),))
    )
    within = hosts.each(contract.hosts, lambda pair: _host(outputs, *pair, cells, wanted[0]))
    return Seen(
        contract=contract,
        cells=(*public, *(cell for _, found, _ in within for cell in found)),
        direct=tuple(one for _, _, found in within for one in found),
        hosts=tuple(host for host, _, _ in within),
        page=page,
        addresses=addresses,
        led=led,
    )


def asked(
    contract: Contract,
    origin: str | None,
    path: str,
    method: str,
    names: Sequence[str],
    credentials: bool,
) -> tuple[tuple[Row, ...], tuple[Endpoint, ...], bool]:
    """One question of a person's: from an origin (the frontend's by default) to a path."""
    text = origin or contract.frontend.origin
    try:
        text = str(parse_origin(text, production=False))
    except OriginError as problem:
        raise deploy.UsageError(f"--origin: {problem}") from None
    if not path.startswith("/"):
        raise deploy.UsageError(f"--path {path}: write it from the root, e.g. /{path}")
    headers: Headers = tuple(_header(name) for name in names)
    shapes = [shape for shape in contract.cors.allowed_shapes if shape != "*"]
    allowed = (
        text in contract.cors.allowed_origins
        or contract.cors.allowed_shapes == ("*",)
        or any(
            parse_pattern(shape, production=contract.production).matches(text) for shape in shapes
        )
    )
    row = Row(text, allowed, "allowed by the contract" if allowed else "not in the contract")
    return (row,), (Endpoint(f"{method} {path}", path, method, headers),), credentials


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise deploy.UsageError(
            f"--header {name!r} is no header's name; write X-Foo, or 'X-Foo: value'"
        )
    return name, value.strip() or "1"


# ------------------------------------------------------------------------------------------- asking


def _public(contract: Contract, address: str, cells: Sequence[Question]) -> list[Cell]:
    parts = urlsplit(contract.backend.origin)
    lines = [line for question in cells for line in question.lines(parts.netloc)]
    answers = ask.many(address, parts.port or 80, lines)
    return _judged(PUBLIC, cells, parts.netloc, answers)


def _judged(
    view: str, cells: Sequence[Question], host: str, answers: Sequence[Answer]
) -> list[Cell]:
    """Each question with as many of the answers as it has lines."""
    found, rest = [], list(answers)
    for question in cells:
        count = len(list(question.lines(host)))
        own, rest = tuple(rest[:count]), rest[count:]
        found.append(Cell(question, view, own, verdict(question, own)))
    return found


def verdict(question: Question, answers: Sequence[Answer]) -> Verdict | None:
    """A browser's, from the preflight's answer, if there was one, and the request's."""
    if any(isinstance(answer, Unanswered) for answer in answers):
        return None
    own = [answer for answer in answers if isinstance(answer, Response)]
    if (
        not question.row.allowed
    ):  # what the server says counts, even where the browser has a reason of its own
        wrong = [
            cors_check(question.row.origin, question.request.credentials, answer) for answer in own
        ]
        first = wrong[-1] if all(wrong) else None
        return Verdict(
            first is None, first.reason if first else None, "request", "", "", question.request.url
        )
    preflight = own[0] if len(own) == 2 else None
    try:
        return judge(question.request, [Exchange(own[-1], preflight)])
    except ValueError:  # a redirect, which is not followed: what it says itself counts
        final = Response(
            200, tuple(pair for pair in own[-1].headers if pair[0].lower() != "location")
        )
        return judge(question.request, [Exchange(final, preflight)])


def _host(
    outputs: Outputs, role: str, host: Host, cells: Sequence[Question], asking: Sequence[Row]
) -> tuple[HostReport, list[Cell], list[Direct]]:
    contract, name = outputs.contract, urlsplit(outputs.contract.backend.origin).netloc
    lines = (
        [["nginx", *line] for question in cells for line in question.lines(name)]
        if role == "backend"
        else []
    )
    direct = list(_direct(name, asking)) if role == "backend" else []
    orders = deploy.payload(
        contract,
        role,
        host,
        secret_values.read(outputs),
        "examine",
        questions=[*lines, *(line for _, _, line in direct)],
    )
    try:
        with (
            hosts.session(host, access.identity(contract)) as session,
            report.busy(host.name) as begin,
        ):
            begin("is asked")
            state = session.run(orders)
    except HostError as problem:
        return HostReport(host.name, host.address, None, problem.reason), [], []
    told = state.pop("answers")
    found = (
        _judged(host.name, cells, name, [_answer(one) for one in told[: len(lines)]])
        if lines
        else []
    )
    own = [
        Direct(
            host.name,
            row.origin,
            row.allowed,
            kind,
            _lines(_answer(one)),
            one.get("status", 0),
            one.get("bare", False),
            one.get("problem", ""),
        )
        for (row, kind, _), one in zip(direct, told[len(lines) :], strict=True)
    ]
    bare = frozenset(
        (str(line[1]), str(line[2]))
        for line, one in zip(lines, told, strict=False)
        if one.get("bare")
    )
    return HostReport(host.name, host.address, state, bare=bare), found, own


def _direct(name: str, asking: Sequence[Row]) -> list[tuple[Row, str, list[object]]]:
    """Past nginx: a preflight of each origin, and one of an allowed origin with a Host that Django
    refuses.

    Preflights, because CorsMiddleware answers them itself: no view runs. If it stands first, not
    even the wrong Host is noticed, and nobody's log has a line of it; what stands above it and asks
    for the Host would refuse.
    """
    found = [(row, "page", _preflight(name, row)) for row in asking]
    first = next((row for row in asking if row.allowed), None)
    return [*found, (first, "bad host", _preflight(_WRONG_HOST, first))] if first else found


def _preflight(name: str, row: Row) -> list[object]:
    headers = [["Host", name], ["Origin", row.origin], ["Access-Control-Request-Method", "GET"]]
    return ["gunicorn", "OPTIONS", "/", headers]


def _answer(one: Json) -> Answer:
    if "problem" in one:
        return Unanswered(one["problem"])
    return Response(one["status"], tuple((name, value) for name, value in one["headers"]))


def _lines(answer: Answer) -> tuple[str, ...] | None:
    if isinstance(answer, Unanswered):
        return None
    return tuple(
        value for name, value in answer.headers if name.lower() == "access-control-allow-origin"
    )


# ------------------------------------------------------------------------------------------ telling


@dataclass(frozen=True)
class Diagnosis:
    """All that was seen, what it means, and what a real browser made of the same cells, if it was
    asked."""

    seen: Seen
    findings: tuple[Finding, ...]
    browsed: dict[tuple[str, str], browser.Outcome]  # (origin, endpoint) → outcome

    @property
    def status(self) -> int:
        """As every verb's exit status (infra/core/exits.py): all as intended, something differs,
        nothing could be asked."""
        if self.seen.unanswered:
            return exits.UNREACHABLE
        return exits.WRONG if any(not finding.warning for finding in self.findings) else exits.OK


def diagnose(seen: Seen, origin: str | None = None, browse: bool = False) -> Diagnosis:
    """What it all means. `origin` is one that somebody expected to work. Raises
    browser.BrowserError."""
    found = list(findings(seen))
    if origin and (near := near_miss(origin, seen.contract)):
        found.insert(1 if found and found[0].kind is Kind.NOTHING else 0, near)
    browsed = browser.browse(seen) if browse and any(cell.verdict for cell in public(seen)) else {}
    found += [
        Finding(
            f"Chromium and the verdict disagree on {cell.question.row.origin},"
            f" {cell.question.endpoint.title}: Chromium says {outcome.word}, the verdict"
            f" {_word(cell)}",
            cure="please report it: a bug of the kit",
        )
        for cell in public(seen)
        if (outcome := browsed.get(cell.key)) and cell.verdict and not agree(cell, outcome)
    ]
    return Diagnosis(seen, tuple(found), browsed)


def agree(cell: Cell, outcome: browser.Outcome) -> bool:
    """Whether Chromium lets the page read exactly when the verdict does."""
    return cell.verdict is not None and cell.verdict.allowed == outcome.allowed


def public(seen: Seen) -> list[Cell]:
    return [cell for cell in seen.cells if cell.view == PUBLIC]


def _word(cell: Cell) -> str:
    if cell.verdict is None:
        return "no answer"
    if cell.verdict.allowed:
        return f"ok {cell.status}"
    return "refused" if not cell.question.row.allowed else str(cell.verdict.reason)


def word(cell: Cell, outcome: browser.Outcome | None = None) -> str:
    """A cell in a word or two, with its status; `!` marks what is not as intended, `?` what could
    not be asked."""
    said = _word(cell)
    if cell.verdict and cell.verdict.allowed and not cell.judged_right:
        said = f"let in {cell.status}"
    elif cell.failing and not (cell.verdict and cell.verdict.allowed):
        said = f"{said} {cell.status}"
    mark = " ?" if cell.verdict is None else "" if cell.good else " !"
    return f"{said}{mark} | {outcome.word}" if outcome else f"{said}{mark}"


def matrix(result: Diagnosis) -> str:
    """Origins down, endpoints across, as the public address answers."""
    cells = public(result.seen)
    titles = list(dict.fromkeys(cell.question.endpoint.title for cell in cells))
    origins = list(dict.fromkeys(cell.question.row for cell in cells))
    table = [
        (
            row.origin,
            *(
                word(cell, result.browsed.get(cell.key))
                for cell in cells
                if cell.question.row == row
            ),
        )
        for row in origins
    ]
    return report.table(("origin", *titles), table)


def told(found: Sequence[Finding]) -> str:
    """The root causes, numbered, each with its cure and where to read on, and with what follows
    from it."""
    lines = []
    for number, finding in enumerate(found, 1):
        lines.append(f"{number}. {_said(finding)}")
        lines.append(f"   → {finding.cure}{f'  ({finding.link})' if finding.link else ''}")
        if finding.follows:
            lines += [f"   {FOLLOWS}:", *(f"   - {_said(one)}" for one in finding.follows)]
    return "\n".join(lines)


def _said(finding: Finding) -> str:
    return f"{'(warning) ' if finding.warning else ''}{finding.text}"


def as_text(result: Diagnosis, as_json: bool = False, notes: Sequence[str] = ()) -> str:
    """For a person: the matrix, the findings, `notes` on what was not asked, one last line. Or the
    same as JSON."""
    if as_json:
        return json.dumps(to_json(result), indent=2)
    rest = ", but for what is noted above" if notes else ""
    last = {0: f"all as intended{rest}", 1: "not as intended", 4: "nothing could be asked"}[
        result.status
    ]
    return "\n\n".join(
        filter(None, [matrix(result), told(result.findings), "\n".join(notes), last])
    )


def to_json(result: Diagnosis) -> Json:
    """For other programs."""
    return {
        "environment": result.seen.contract.environment,
        "status": result.status,
        "findings": [_finding(one) for one in result.findings],
        "cells": [_cell(result, cell) for cell in result.seen.cells],
    }


def _finding(one: Finding) -> Json:
    return {
        "text": one.text,
        "cure": one.cure,
        "link": one.link,
        "warning": one.warning,
        "follows": [_finding(other) for other in one.follows],
    }


def _cell(result: Diagnosis, cell: Cell) -> Json:
    outcome = result.browsed.get(cell.key) if cell.view == PUBLIC else None
    return {
        "view": cell.view,
        "origin": cell.key[0],
        "endpoint": cell.key[1],
        "status": cell.status,
        "intended": cell.question.row.allowed,
        "allowed": cell.verdict.allowed if cell.verdict else None,
        "reason": cell.verdict.reason if cell.verdict else None,
        "sentence": cell.verdict.sentence if cell.verdict else "",
        "as_intended": cell.good if cell.verdict else None,
        **({"chromium": outcome.word} if outcome else {}),
    }
