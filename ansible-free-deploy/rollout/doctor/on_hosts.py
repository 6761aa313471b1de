"""Ask a host over SSH: what it reports of itself, what its nginx answers, and what Django answers
without nginx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from infra.core.contract import Host
from infra.core.origins import Origin
from on_host import protocol
from on_host.answers import ExamineAnswer, HttpAnswer
from on_host.probe import HTTPS
from on_host.protocol import ExamineOrders
from rollout import access, deploy, hosts, report, secret_values
from rollout.doctor import plain_http
from rollout.doctor.ask import CONNECT_S, Answer, Unanswered
from rollout.doctor.observations import Cell, Direct, HostReport
from rollout.doctor.plain_http import Plain
from rollout.doctor.questions import Question, Row
from rollout.doctor.verdicts import judged
from rollout.host_errors import HostError
from rollout.outputs import Outputs
from rollout.verdict import Response

_WRONG_HOST = "origin-kit-doctor.invalid"

Line = list[Any]  # via (nginx, https or gunicorn), method, target, headers


@dataclass(frozen=True)
class Asked:
    """What one host has answered."""

    report: HostReport
    cells: Sequence[Cell] = ()
    direct: Sequence[Direct] = ()
    plain: Sequence[Plain] = ()


def ask(
    outputs: Outputs,
    role: str,
    host: Host,
    questions: Sequence[Question],
    rows: Sequence[Row],
    target: str = "",
) -> Asked:
    """Ask one host. Only a backend has an nginx and a Django that answer the questions. `target`
    is part of a request that was answered at the role's public address."""
    contract = outputs.contract
    origin = contract.backend.parsed_origin
    name = origin.authority
    nginx: list[Line] = []
    direct: list[tuple[Row, str, Line]] = []
    plain: list[Line] = []
    if role == "backend":
        nginx = nginx_lines(origin, questions)
        direct = direct_lines(name, rows)
        plain = [["nginx", *line] for line in plain_http.lines(contract)]
    lines = nginx + [line for _, _, line in direct] + plain
    try:
        examined = _run(outputs, role, host, lines, target)
    except HostError as problem:
        return Asked(HostReport(host.name, host.address, None, problem.reason))
    answers = iter(examined["answers"])
    of_nginx = list(islice(answers, len(nginx)))
    of_django = list(islice(answers, len(direct)))
    over_http = list(answers)
    connected = not examined.get("refuses_connections")
    bare = _with_gunicorns_page(nginx, of_nginx)
    report = HostReport(host.name, host.address, examined, bare=bare)
    cells = []
    if nginx:
        found = [_answer(answer, connected) for answer in of_nginx]
        cells = judged(host.name, questions, name, found)
    django = _of_django(host, direct, of_django)
    found_plain = []
    if plain:
        heard = [_answer(answer, connected) for answer in over_http]
        found_plain = plain_http.answered(host.name, contract, heard)
    return Asked(report, cells, django, found_plain)


def _of_django(
    host: Host,
    direct: Sequence[tuple[Row, str, Line]],
    answers: Sequence[HttpAnswer],
) -> list[Direct]:
    """What Django itself answers, without the nginx in front of it."""
    found = []
    for (row, kind, _), answer in zip(direct, answers, strict=True):
        found.append(_direct(host.name, row, kind, answer))
    return found


def _with_gunicorns_page(
    lines: Sequence[Line], answers: Sequence[HttpAnswer]
) -> frozenset[tuple[str, str]]:
    """Method and target of each request that got gunicorn's own error page."""
    requests = set()
    for (_, method, target, _), answer in zip(lines, answers, strict=True):
        if answer.get("bare"):
            requests.add((str(method), str(target)))
    return frozenset(requests)


def _run(
    outputs: Outputs,
    role: str,
    host: Host,
    lines: Sequence[Line],
    target: str,
) -> ExamineAnswer:
    """The host's state, with `answers` to these lines in their order. Raises HostError."""
    contract = outputs.contract
    secrets = secret_values.of_host(outputs, role)
    orders = deploy.payload(contract, role, host, secrets)
    of_role = contract.frontend if role == "frontend" else contract.backend
    sent: ExamineOrders = {
        **orders,
        "questions": list(lines),
        "name": of_role.parsed_origin.host,
        "port": of_role.parsed_origin.port_number,
        "target": target,
    }
    with (
        hosts.session(host, access.identity(contract), CONNECT_S) as session,
        report.busy(host.name) as begin,
    ):
        begin("is asked")
        return session.ask(protocol.EXAMINE, sent)


def nginx_lines(origin: Origin, questions: Sequence[Question]) -> list[Line]:
    """Every request of the questions, for the host's own nginx."""
    via = HTTPS if origin.scheme == "https" else "nginx"
    found: list[Line] = []
    for question in questions:
        for method, target, headers in question.lines(origin.authority):
            found.append([via, method, target, headers])
    return found


def direct_lines(name: str, rows: Sequence[Row]) -> list[tuple[Row, str, Line]]:
    """Requests without nginx: a preflight of each origin, and one of an allowed origin with a Host
    that Django refuses.

    They are preflights, because CorsMiddleware answers them itself and no view runs. If it is
    first, not even the wrong Host is noticed, and no log has a line of it. A middleware above it
    that checks the Host would refuse the request.
    """
    found = [(row, "page", _preflight(name, row)) for row in rows]
    for row in rows:
        if row.allowed:
            found.append((row, "bad host", _preflight(_WRONG_HOST, row)))
            break
    return found


def _preflight(name: str, row: Row) -> Line:
    headers = [["Host", name], ["Origin", row.origin], ["Access-Control-Request-Method", "GET"]]
    return ["gunicorn", "OPTIONS", "/", headers]


def _answer(answer: HttpAnswer, connected: bool) -> Answer:
    """A host's answer as a value. `connected`: its nginx takes connections."""
    if "problem" in answer:
        return Unanswered(answer["problem"], connected)
    headers = [(name, value) for name, value in answer["headers"]]
    return Response(answer["status"], tuple(headers))


def _allow_origin_lines(headers: Sequence[Sequence[str]]) -> tuple[str, ...]:
    lines = []
    for name, value in headers:
        if name.lower() == "access-control-allow-origin":
            lines.append(value)
    return tuple(lines)


def _direct(
    host: str,
    row: Row,
    kind: str,
    answer: HttpAnswer,
) -> Direct:
    """Django's decision in its answer to a preflight."""
    lines = None
    if "problem" not in answer:
        lines = _allow_origin_lines(answer["headers"])
    return Direct(
        host,
        row.origin,
        row.allowed,
        kind,
        lines,
        status=answer.get("status", 0),
        bare=answer.get("bare", False),
        problem=answer.get("problem", ""),
    )
