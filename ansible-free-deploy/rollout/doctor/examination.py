"""Ask everything that a diagnosis needs, from here and on every host."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from infra.core.contract import Contract, Host, Role
from infra.core.origins import OriginError, app_origin, parse_origin
from rollout import deploy, gated, hosts, secret_values
from rollout.doctor import ask, on_hosts, plain_http, reach
from rollout.doctor.observations import PUBLIC, Cell, Direct, Observations, sides
from rollout.doctor.on_hosts import Asked
from rollout.doctor.plain_http import Plain
from rollout.doctor.questions import Endpoint, Question, Row, endpoints, questions
from rollout.doctor.reach import Reach
from rollout.doctor.rows import rows
from rollout.doctor.verdicts import Surroundings, judged, within
from rollout.move import stages
from rollout.move.words import former_of
from rollout.outputs import Outputs
from rollout.tls import Place
from rollout.verdict import Headers

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True)
class Matrix:
    """The rows and the columns to ask, and whether cookies are sent."""

    rows: tuple[Row, ...]
    endpoints: tuple[Endpoint, ...]
    credentials: bool


def whole_matrix(contract: Contract, gone: Mapping[str, str] | None = None) -> Matrix:
    """Everything that the doctor can ask. `gone` are previews' names by the origins of their
    pages."""
    asked = rows(contract, gone)
    return Matrix(asked, endpoints(contract), contract.cors.allow_credentials)


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
    """Ask the whole matrix, or only the `single` cell, and each host for its state.

    Where a move is under way, what counts is the contract of its stage, and a preview that is gone
    has to be refused: both are known when the hosts have answered, so all is asked again.
    """
    is_whole = single is None
    contract = outputs.contract
    matrix = single or whole_matrix(contract)
    observed = _examine(outputs, matrix, is_whole)
    stage = contract_of_a_move(contract, observed)
    gone = gone_previews(contract, observed) if is_whole else {}
    if stage is None and not gone:
        return observed
    again = replace(outputs, contract=stage or contract)
    matrix = single or whole_matrix(again.contract, gone)
    observed = _examine(again, matrix, is_whole)
    return replace(observed, gone=gone)


def gone_previews(contract: Contract, observed: Observations) -> dict[str, str]:
    """The names of previews that hosts answer or have answered and that are not attached any more,
    by the origin of their pages; without origins that are allowed for another reason."""
    gone: dict[str, str] = {}
    for host in observed.hosts:
        ever = host.state.get("ever_attached", ()) if host.state else ()
        for name, origin in ever:
            if not contract.cors.allows(origin):
                gone[origin] = name
    return gone


def contract_of_a_move(wanted: Contract, observed: Observations) -> Contract | None:
    """The contract of the stage that a move is in; None where none is under way."""
    held: list[stages.Held] = []
    for role, host in wanted.hosts:
        state = observed.state_of(host.name)
        origins = state.get("origins") if state else None
        held.append((role, origins))
    if not any(former_of(origins) for _, origins in held):
        return None
    way = stages.move_of(wanted, held)
    if way is None or way.stage is stages.Stage.BEFORE:
        return None
    return way.contract_of(way.stage)


def _examine(
    outputs: Outputs,
    matrix: Matrix,
    whole: bool,
) -> Observations:
    """Ask page, public address and hosts at the same time; what the page allows itself is judged
    when it is known."""
    contract = outputs.contract
    both = sides(contract)
    lookups = {side.name: ask.Lookup(side.role.parsed_origin) for side in both}
    cells = questions(contract, matrix.rows, matrix.endpoints, None, matrix.credentials)
    marks = {side.name: reach.mark() for side in both}

    def ask_host(pair: tuple[str, Host]) -> Asked:
        role, host = pair
        return on_hosts.ask(outputs, role, host, cells, matrix.rows, marks[role])

    with ThreadPoolExecutor(2) as pool:
        credentials = gated.credentials(secret_values.known_password(outputs))
        asked_page = pool.submit(
            _page, contract, lookups["frontend"], marks["frontend"], credentials
        )
        asked_public = pool.submit(
            _public,
            contract,
            lookups["backend"],
            cells,
            whole,
            marks["backend"],
        )
        asked_hosts: list[Asked] = hosts.each(contract.hosts, ask_host)
    page, page_reach = asked_page.result()
    return _observations(
        contract,
        lookups,
        page,
        page_reach,
        asked_public.result(),
        asked_hosts,
    )


def _observations(
    contract: Contract,
    lookups: Mapping[str, ask.Lookup],
    page: ask.Page,
    page_reach: Reach,
    public: _Public,
    asked_hosts: Sequence[Asked],
) -> Observations:
    """What all answers say together."""
    # A lookup may end meanwhile: its addresses count before its problem does.
    problems = {role: lookup.problem for role, lookup in lookups.items()}
    addresses = {role: lookup.addresses(0) for role, lookup in lookups.items()}
    found = surroundings(contract, page.csp, addresses)
    asked_cells = list(public.cells)
    direct: list[Direct] = []
    plain = list(public.plain)
    for asked in asked_hosts:
        asked_cells += asked.cells
        direct += asked.direct
        plain += asked.plain
    return Observations(
        contract=contract,
        cells=tuple(within(cell, contract.frontend.origin, found) for cell in asked_cells),
        direct=tuple(direct),
        hosts=tuple(asked.report for asked in asked_hosts),
        page=page,
        lookup_problems=problems,
        addresses=addresses,
        landing=public.landing,
        reach={"frontend": page_reach, "backend": public.reach},
        plain=tuple(plain),
    )


def surroundings(
    contract: Contract,
    csp: str | None,
    addresses: Mapping[str, Sequence[str]],
) -> Surroundings:
    """What counts around the page: its policy, and where browsers reach page and API, the proxy in
    front or the hosts. `addresses` is what each role's name resolves to."""
    reached = {}
    for side in sides(contract):
        reached[side.name] = side.role.address
        for address in addresses[side.name]:
            if contract.is_in_front(address):
                reached[side.name] = address
                break
    return Surroundings(csp, reached["frontend"], reached["backend"])


@dataclass(frozen=True)
class _Public:
    """What the public address answers, where redirects from `/` lead, whether it is reached, and
    what its port 80 answers next to https."""

    cells: tuple[Cell, ...]
    landing: tuple[str, int] | None
    reach: Reach
    plain: Sequence[Plain]


def _page(
    contract: Contract,
    lookup: ask.Lookup,
    mark: str,
    credentials: Headers,
) -> tuple[ask.Page, Reach]:
    """The page, and whether its address is reached."""
    address = _address(lookup, contract.frontend)
    place = Place(contract.frontend.parsed_origin, address)
    there = reach.of(place, f"/{mark}.txt")
    if there.obstacle:
        return ask.Page(None, problem=there.obstacle), there
    return ask.page(place, credentials), there


def _public(
    contract: Contract,
    lookup: ask.Lookup,
    cells: Sequence[Question],
    whole: bool,
    mark: str,
) -> _Public:
    """All questions to the public address, and for the `whole` matrix the redirects from `/`."""
    origin = contract.backend.parsed_origin
    address = _address(lookup, contract.backend)
    requests = []
    for question in cells:
        requests += list(question.lines(origin.authority))
    # nginx answers this one itself, whatever the application does.
    place = Place(origin, address)
    there = reach.of(place, f"{contract.application.static_url}{mark}.txt")
    if there.obstacle:
        answers: list[ask.Answer] = [ask.Unanswered(ask.NOT_ASKED)] * len(requests)
        answers[0] = ask.Unanswered(there.obstacle)
    else:
        answers = ask.exchange_all(place, requests)
    landing = None
    if whole and not all(isinstance(answer, ask.Unanswered) for answer in answers):
        headers = (("Origin", contract.frontend.origin),)
        landing = ask.landing(place, headers)
    plain = _plain(contract, address) if whole else []
    public_cells = judged(PUBLIC, cells, origin.authority, answers)
    return _Public(tuple(public_cells), landing, there, plain)


def _plain(contract: Contract, address: str) -> list[Plain]:
    """What port 80 of an https API answers."""
    lines = plain_http.lines(contract)
    place = Place(plain_http.origin_of(contract), address)
    return plain_http.answered(PUBLIC, contract, ask.exchange_all(place, lines))


def _address(lookup: ask.Lookup, role: Role) -> str:
    """Where to ask a role: what its name resolves to, else the address of its first host."""
    addresses = lookup.addresses(ask.LOOKUP_S)
    if addresses:
        return addresses[0]
    return role.address
