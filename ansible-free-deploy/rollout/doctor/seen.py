"""What was asked and what came back. Pure values."""

from __future__ import annotations

from dataclasses import dataclass

from infra.core.contract import Contract, Json
from rollout.doctor.ask import Answer, Page, Unanswered
from rollout.doctor.questions import Question
from rollout.verdict import Response, Verdict

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
        return self.question.row.origin, self.question.endpoint.title

    @property
    def answer(self) -> Answer:
        """The request's own; of one that is not sent its preflight's."""
        return self.answers[-1 if self.question.endpoint.sent else 0]

    @property
    def status(self) -> int | None:
        return None if isinstance(self.answer, Unanswered) else self.answer.status

    @property
    def failing(self) -> bool:
        return self.status is not None and self.status >= 500

    @property
    def judged_right(self) -> bool:
        """Whether a browser lets the page read it exactly if the contract does."""
        return self.verdict is not None and self.verdict.allowed == self.question.row.allowed

    @property
    def good(self) -> bool:
        return self.judged_right and not self.failing


@dataclass(frozen=True)
class Direct:
    """Django's own decision, asked past nginx: the Access-Control-Allow-Origin lines of its answer
    to a preflight."""

    host: str
    origin: str
    allowed: bool
    # `page`, or `bad host`: what middlewares refuse, and CorsMiddleware answers if it stands first
    kind: str
    lines: tuple[str, ...] | None  # None: nothing came back
    status: int = 200
    bare: bool = (
        False  # gunicorn's own error page: the application raised, and made no answer of it
    )
    problem: str = ""


@dataclass(frozen=True)
class HostReport:
    """What a host said of itself, or why it could not be asked. `bare`: method and target of what
    got gunicorn's own error page from it."""

    name: str
    address: str
    state: Json | None
    problem: str = ""
    bare: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Seen:
    """All that was asked."""

    contract: Contract
    cells: tuple[Cell, ...]
    direct: tuple[Direct, ...]
    hosts: tuple[HostReport, ...]
    page: Page
    addresses: dict[str, tuple[str, ...]]  # role → what its name resolves to from here
    led: tuple[str, int] | None = (
        None  # where redirects from `/` of the backend end, and the status there
    )

    @property
    def unanswered(self) -> bool:
        """Whether nothing answered at all: no host, no page, no request."""
        silent = all(
            isinstance(answer, Unanswered) for cell in self.cells for answer in cell.answers
        )
        return (
            silent and self.page.status is None and all(host.state is None for host in self.hosts)
        )


def where(view: str) -> str:
    return "the public address" if view == PUBLIC else f"nginx on {view}"


def responses(cell: Cell) -> list[Response]:
    return [answer for answer in cell.answers if isinstance(answer, Response)]
