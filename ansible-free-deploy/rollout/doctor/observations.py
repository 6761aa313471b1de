"""What was asked and what came back. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from infra.core.contract import Contract, Role
from on_host.answers import HostState
from rollout.doctor.ask import Answer, Page, Unanswered
from rollout.doctor.handshake import Handshake
from rollout.doctor.plain_http import Plain
from rollout.doctor.questions import Question
from rollout.doctor.reach import Reach
from rollout.verdict import Headers, Response, Verdict

PUBLIC = "public"  # the view of the public address; the others have a host's name
PAGE = "page"  # the frontend's page, as it is served at its address


@dataclass(frozen=True)
class Cell:
    """One question, who answered it (`public` or a host's name), and what a browser makes of the
    answers."""

    question: Question
    view: str
    answers: tuple[Answer, ...]
    verdict: Verdict | None  # None: nothing came back

    @property
    def key(self) -> tuple[str, str]:
        """The origin and the endpoint's title: what the views have in common."""
        return self.question.row.origin, self.question.endpoint.title

    @property
    def exchanges(self) -> Iterator[tuple[tuple[str, str, Headers], Answer]]:
        """Each request as it was sent (method, target, header lines), with its answer."""
        host = urlsplit(self.question.request.url).netloc
        return zip(self.question.lines(host), self.answers, strict=True)

    @property
    def answer(self) -> Answer:
        """The answer to the request, or to its preflight where the request is not sent."""
        if self.question.endpoint.sent:
            return self.answers[-1]
        return self.answers[0]

    @property
    def answer_of_path(self) -> Answer:
        """The answer to the request, or to the GET that stands for one that could change data."""
        return self.answers[-1]

    @property
    def status(self) -> int | None:
        if isinstance(self.answer, Unanswered):
            return None
        return self.answer.status

    @property
    def failing(self) -> bool:
        return is_server_error(self.answer)

    @property
    def readable(self) -> bool:
        """Whether a browser allows the page to read the answer."""
        return self.verdict is not None and self.verdict.allowed

    @property
    def judged_right(self) -> bool:
        """Whether a browser allows the page to read the answer exactly if the contract does."""
        return self.verdict is not None and self.verdict.allowed == self.question.row.allowed

    @property
    def good(self) -> bool:
        return self.judged_right and not self.failing


@dataclass(frozen=True)
class Direct:
    """Django's own decision, asked without nginx: the Access-Control-Allow-Origin lines of its
    answer to a preflight.

    `kind` is `page`, or `bad host`: what middlewares refuse, and what CorsMiddleware answers if it
    is first. `lines` is None if nothing came back. `bare` is gunicorn's own error page: the
    application raised an exception and made no answer of it.
    """

    host: str
    origin: str
    allowed: bool
    kind: str
    lines: tuple[str, ...] | None
    status: int = 200
    bare: bool = False
    problem: str = ""


@dataclass(frozen=True)
class HostReport:
    """What a host reports of itself, or why it could not be asked.

    `bare` are the method and target of each request that got gunicorn's own error page from it.
    """

    name: str
    address: str
    state: HostState | None
    problem: str = ""
    bare: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Observations:
    """All that was asked, and all that came back.

    `addresses` is what each role's name resolves to from here, `lookup_problems` why that is not
    known (empty where it is). `landing` is where redirects from `/` of the backend end, and the
    status there; None where it does not redirect. `reach` is what became of a connection to each
    role's public address. `plain` is what port 80 of an https API answers. `gone` are the names of
    previews that are not attached any more, by the origins of their pages.
    """

    contract: Contract
    cells: tuple[Cell, ...]
    direct: tuple[Direct, ...]
    hosts: tuple[HostReport, ...]
    page: Page
    addresses: dict[str, tuple[str, ...]]
    landing: tuple[str, int] | None = None
    lookup_problems: Mapping[str, str] = field(default_factory=dict)
    reach: Mapping[str, Reach] = field(default_factory=dict)
    plain: tuple[Plain, ...] = ()
    gone: Mapping[str, str] = field(default_factory=dict)

    @property
    def unanswered(self) -> bool:
        """Whether nothing answered at all: no host, no page, no request."""
        if self.page.status is not None:
            return False
        if any(host.state is not None for host in self.hosts):
            return False
        if any(reach.handshake for reach in self.reach.values()):
            return False  # somebody spoke TLS, or something else
        return not responses(self.cells)

    @property
    def public(self) -> list[Cell]:
        """The cells of the public address."""
        return self.of_view(PUBLIC)

    @property
    def views(self) -> list[str]:
        """The public address and each host that was asked, in the order of their cells."""
        return distinct(cell.view for cell in self.cells)

    def state_of(self, name: str) -> HostState | None:
        """What the host of this name reports; None where it does not."""
        for host in self.hosts:
            if host.name == name:
                return host.state
        return None

    def handshake_of(self, role: str) -> Handshake | None:
        """The handshake with a role's public address; None over plain http, or without a
        connection."""
        reach = self.reach.get(role)
        return reach.handshake if reach else None

    def of_view(self, view: str) -> list[Cell]:
        """The cells that one view has answered."""
        return [cell for cell in self.cells if cell.view == view]


@dataclass(frozen=True)
class Side:
    """A role, its name, and the view of what is asked at its public address."""

    name: str
    role: Role
    view: str


def sides(contract: Contract) -> tuple[Side, Side]:
    """The page's and the API's."""
    return (
        Side("frontend", contract.frontend, PAGE),
        Side("backend", contract.backend, PUBLIC),
    )


def view_name(view: str) -> str:
    """A view in words."""
    if view == PUBLIC:
        return "the public address"
    return f"nginx on {view}"


def is_server_error(answer: Answer) -> bool:
    return isinstance(answer, Response) and answer.status >= 500


def responses(cells: Iterable[Cell]) -> list[Response]:
    """Every answer that came back, preflights included."""
    found = []
    for cell in cells:
        for answer in cell.answers:
            if isinstance(answer, Response):
                found.append(answer)
    return found


def distinct(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of its first place."""
    return list(dict.fromkeys(names))
