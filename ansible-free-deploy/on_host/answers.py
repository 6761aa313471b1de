"""What a host answers to each verb, as typed dictionaries: the `result` of the last event.

See `protocol.py`; as there, a host never loads this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from on_host.orders import Json
from on_host.states import Ending

if TYPE_CHECKING:
    from on_host.protocol import Account, CertificatePair

# What a release was made from: key of the config → its value. Hosts hand it through.
MadeFrom = Mapping[str, object]


class AuditLine(TypedDict, total=False):
    """One line of the host's history, as `audit.py` writes it; `number` is its place there."""

    at: str
    who: str
    commit: str | None
    deploy: str | None
    kind: str
    generation: str | None
    release: str | None
    lineage: str | None
    result: str
    seconds: float
    number: int
    previous: str | None
    copy: str
    revision: str


class RoleOrigins(TypedDict, total=False):
    """A role of the contract, without its hosts. An older kit's has no more than its origin."""

    origin: str
    aliases: list[str]
    former: list[str]
    redirects_former: bool


class _Origins(TypedDict):
    frontend: RoleOrigins
    backend: RoleOrigins


class Origins(_Origins, total=False):
    """At which origins a generation answers. `attached` are the pages of previews that a backend
    answers besides, by the names of their stacks; a frontend and an older kit do not say."""

    attached: dict[str, str]


class Generations(TypedDict):
    """The configuration of a host, now and before; `deploys` has the last one first."""

    current: str | None
    kept: list[str]
    leads_to: dict[str, str]
    deploys: list[AuditLine]


class HistoryAnswer(Generations):
    release: str | None
    releases: list[str]
    ships: list[AuditLine]


class KeptRelease(TypedDict):
    revision: str
    migrations: list[str]


class ReleasesAnswer(TypedDict):
    current: str | None
    last: AuditLine | None
    ships: list[AuditLine]
    kept: dict[str, KeptRelease]


class LogsAnswer(TypedDict):
    text: str


class MovingAnswer(Generations):
    """`origins`: by generation; None where it does not say. `former_called_s`: how long ago a page
    at a former origin has called the API, or None."""

    origins: dict[str, Origins | None]
    former_called_s: float | None
    unfinished: bool


class RunningAnswer(TypedDict):
    """What the host runs, for a change that starts from it. `contract` is what the current
    generation was made from, without hosts; None where it does not say. `secrets` are the names of
    the application's secrets, never a value."""

    generation: str | None
    release: str | None  # its folder
    contract: Json | None
    secrets: list[str]
    unfinished: bool


class _MadeFrom(TypedDict, total=False):
    made_from: MadeFrom | None
    to_ship: list[str]  # the operator's side puts it in the place of `made_from`


class _Found(_MadeFrom):
    generation: str | None
    release: str | None  # its folder
    unfinished: bool
    in_doubt: bool
    origins: Origins | None  # of the current generation


class PlanAnswer(_Found):
    differs: list[str]
    diff: dict[str, str]
    restarts: dict[str, str]


class _Certificate(TypedDict):
    lineage: str
    disk: str  # the chain
    served: str


class CertificateAnswer(_Certificate, total=False):
    """What a host has and serves, PEM; all empty without https."""

    renewal: Renewal | None


class TimerState(TypedDict):
    """How the last run of a timer's command ended. `ended` is in seconds since 1970, 0 where none
    has since the host started; `result` is systemd's word, such as "success" or "exit-code"; `next`
    is when it runs again, in systemd's words."""

    running: bool
    ended: float
    result: str
    status: int
    next: str


class _Timers(TypedDict, total=False):
    timers: dict[str, TimerState]  # by the timer's unit; an older kit does not say


class HeldAnswer(_Found, _Timers):
    """What a host holds and what its processes loaded."""

    revision: str | None
    last_ship: AuditLine | None
    units: dict[str, str]
    workers_killed: int
    release_changed: list[str]
    replaced: str
    certificate: CertificateAnswer


class StatusAnswer(HeldAnswer):
    differs: list[str]
    restarts: dict[str, str]


class HttpAnswer(TypedDict, total=False):
    """One raw answer, or the `problem` that prevented it. `bare`: gunicorn's own error page."""

    status: int
    headers: list[list[str]]
    bare: bool
    problem: str


class OtherSite(TypedDict):
    """A server block of another file, with its `server_name`s."""

    file: str
    names: list[str]


class CookieSettings(TypedDict):
    """SESSION_COOKIE_* or CSRF_COOKIE_*, by the ends of their names."""

    NAME: str
    DOMAIN: str | None
    PATH: str
    SECURE: bool
    HTTPONLY: bool
    SAMESITE: str | bool | None


class LoginSettings(TypedDict):
    """How the project keeps sessions and checks writes: see `as_user/login_settings.py`."""

    session: CookieSettings
    csrf: CookieSettings
    in_session: bool
    header: str
    trusted_origins: list[str]
    keeps_sessions: bool
    checks_csrf: bool
    returns: str
    sets_cookie: str


class Surroundings(TypedDict):
    """What can keep requests from nginx. `arrived`: whether nginx has logged a request with the
    orders' target. `refuses_connections`: why nothing connects to nginx's port on the host itself,
    or empty. `full`: what disks lack, or empty."""

    arrived: bool
    listens: bool
    refuses_connections: str
    firewall: list[str]
    other_sites: list[OtherSite]
    full: str


class RequestLog(TypedDict):
    """Where the project's log of failed requests goes: see `as_user/request_log.py`."""

    files: dict[str, str]  # path → its last lines
    journal: bool
    others: list[str]  # classes of handlers


class HostState(StatusAnswer, Surroundings):
    """`request_log` is None where the journal has the exception, or the project can't answer.
    `ever_attached`: name and origin of each preview that a generation here has answered."""

    diff: dict[str, str]
    last_words: str
    request_log: RequestLog | None
    login_settings: LoginSettings | None
    ever_attached: list[tuple[str, str]]


class ExamineAnswer(HostState):
    answers: list[HttpAnswer]  # in the order of the questions


class OutcomeAnswer(TypedDict):
    outcome: Ending


class _Timed(TypedDict, total=False):
    phases: dict[str, float]
    seconds: float


class _Deployed(_Timed):
    changed: bool
    restarted: dict[str, str]
    generation: str


class DeployAnswer(_Deployed, total=False):
    """deploy and rollback."""

    differs: list[str]
    certificate: bool  # another one serves now
    made_from: MadeFrom | None
    to_ship: list[str]


class FactsAnswer(TypedDict):
    python: str
    python_full: str
    machine: str
    libc: str
    release: str | None
    made_from: MadeFrom | None
    settled: bool
    releases: list[str]
    venvs: list[str]


class _Shipped(_Timed):
    changed: bool
    release: str
    previous: str | None


class ShipAnswer(_Shipped, total=False):
    """ship and rollback-release. `copy` is of the database, `configuration` a generation's id."""

    copy: str
    configuration: str


class Renewal(TypedDict):
    """The last check of a certificate, and what the CA's limits count. Times are seconds since
    1970; `result` is "issued", "kept" or "failed", `text` why it has failed, `retry_after` the CA's
    words."""

    checked: int
    next: int
    result: str
    text: str
    retry_after: str
    issued: list[int]
    failed: list[int]


class CertifyFactsAnswer(TypedDict):
    """`chain` is the PEM of what is installed, or empty; `certbot` are the names of complete
    environments. `account` and `pair` are secrets, and sent only to who asks for them."""

    python: str
    python_full: str
    machine: str
    libc: str
    certbot: list[str]
    chain: str
    has_account: bool
    account: Account | None
    pair: CertificatePair | None
    answers_challenge: bool
    renewal: Renewal | None


class CertifyAnswer(_Timed):
    changed: bool
    account: Account | None
    renewal: Renewal | None


class CloseAnswer(TypedDict):
    closing: str


class CopyAnswer(TypedDict):
    closing: str
    size: int
    digest: str
    told: Json
    seed: str  # what the mark of `seed_mark` says


class _Restored(TypedDict):
    restored: bool


class RestoreAnswer(_Restored, total=False):
    told: Json


class BackupAnswer(TypedDict):
    """`size` and `digest` are of what was sent; `counted` is for a person."""

    size: int
    digest: str
    counted: Json


class StagedAnswer(TypedDict):
    counted: Json


class RestoredAnswer(_Timed):
    """`copy` is the folder with what the databases were before."""

    changed: bool
    copy: str


class DoneAnswer(TypedDict):
    """There is nothing to say."""


class FirstBootAnswer(TypedDict):
    text: str
