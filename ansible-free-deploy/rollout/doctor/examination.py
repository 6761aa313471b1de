"""Ask everything that a diagnosis needs, from here and on every host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from infra.core.contract import Contract, Host, Role
from infra.core.origins import OriginError, app_origin, parse_origin
from rollout import deploy, hosts
from rollout.doctor import ask, on_hosts
from rollout.doctor.observations import PUBLIC, Cell, Direct, HostReport, Observations
from rollout.doctor.on_hosts import Asked
from rollout.doctor.questions import Endpoint, Question, Row, endpoints, questions
from rollout.doctor.rows import rows
from rollout.doctor.verdicts import judged
from rollout.outputs import Outputs

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True)
class Matrix:
    """The rows and the columns to ask, and whether cookies are sent."""

    rows: tuple[Row, ...]
    endpoints: tuple[Endpoint, ...]
    credentials: bool


def whole_matrix(contract: Contract) -> Matrix:
    """Everything that the doctor can ask."""
    return Matrix(rows(contract), endpoints(contract), contract.cors.allow_credentials)


def single_cell(
    contract: Contract,
    origin: str | None,
    path: str,
    method: str,
    headers: Sequence[str],
    credentials: bool,
) -> Matrix:
    """One question from the command line: from an origin (the frontend's by default) to a path.

    Raises UsageError.
    """
    text = _origin(origin or contract.frontend.origin)
    if not path.startswith("/"):
        raise deploy.UsageError(f"--path {path}: write it from the root, e.g. /{path}")
    row = Row(text, False, "not in the contract")
    if contract.cors.allows(text):
        row = Row(text, True, "allowed by the contract")
    pairs = tuple(_header(header) for header in headers)
    endpoint = Endpoint(f"{method} {path}", path, method, pairs)
    return Matrix((row,), (endpoint,), credentials)


def _origin(text: str) -> str:
    """The origin of a website or an app. Raises UsageError."""
    with suppress(OriginError):
        return app_origin(text)
    try:
        return str(parse_origin(text, production=False))
    except OriginError as problem:
        raise deploy.UsageError(f"--origin: {problem}") from None


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    if not _HEADER_NAME.fullmatch(name):
        raise deploy.UsageError(
            f"--header {name!r} is not a header name", cure="write X-Foo, or 'X-Foo: value'"
        )
    return name, value.strip() or "1"


def examine(outputs: Outputs, single: Matrix | None = None) -> Observations:
    """Ask the whole matrix, or only the `single` cell, and each host for its state."""
    contract = outputs.contract
    frontend, backend = contract.frontend, contract.backend
    addresses = {
        "frontend": ask.resolve(frontend.parsed_origin),
        "backend": ask.resolve(backend.parsed_origin),
    }
    page_address = _first(addresses["frontend"], frontend.hosts[0])
    api_address = _first(addresses["backend"], backend.hosts[0])
    page = ask.page(contract, page_address)
    matrix = single or whole_matrix(contract)
    reached = replace(
        contract,
        frontend=_as_reached(contract, frontend, page_address),
        backend=_as_reached(contract, backend, api_address),
    )
    cells = questions(reached, matrix.rows, matrix.endpoints, page.csp, matrix.credentials)
    public = _public(contract, api_address, cells)
    landing = None
    if single is None:
        landing = ask.landing(api_address, backend.parsed_origin, (("Origin", frontend.origin),))

    def ask_host(pair: tuple[str, Host]) -> Asked:
        role, host = pair
        return on_hosts.ask(outputs, role, host, cells, matrix.rows)

    judged_cells = list(public)
    direct: list[Direct] = []
    reports: list[HostReport] = []
    for asked in hosts.each(contract.hosts, ask_host):
        judged_cells += asked.cells
        direct += asked.direct
        reports.append(asked.report)
    return Observations(
        contract=contract,
        cells=tuple(judged_cells),
        direct=tuple(direct),
        hosts=tuple(reports),
        page=page,
        addresses=addresses,
        landing=landing,
    )


def _first(addresses: Sequence[str], host: Host) -> str:
    """Where to ask a role: what its name resolves to, else the address of its first host."""
    if addresses:
        return addresses[0]
    return host.address


def _as_reached(contract: Contract, role: Role, address: str) -> Role:
    """The role at the address that browsers reach: the proxy's, where one is in front."""
    if not contract.is_in_front(address):
        return role
    return replace(role, hosts=(replace(role.hosts[0], address=address), *role.hosts[1:]))


def _public(contract: Contract, address: str, cells: Sequence[Question]) -> list[Cell]:
    """What the public address answers."""
    origin = contract.backend.parsed_origin
    host = origin.authority
    requests = []
    for question in cells:
        requests += list(question.lines(host))
    answers = ask.exchange_all(address, origin.port_number, requests)
    return judged(PUBLIC, cells, host, answers)
