"""What the operator asks of a host: the orders of each verb, as typed dictionaries.

What the host says is in `events.py` and `answers.py`, and the configuration that it gets in
`generations.py`. Both sides are written against these modules, and mypy checks them. A host never
loads them: there they are imported for the type checker alone. On the wire all of it is JSON:

    operator → host    one order, then whatever the verb reads, then one line for each question's
                       answer (`states.ANSWERS`); an empty line is a sign of life
    host → operator    events, one a line; the last one is a result or an error

Keys may be added; one that is here keeps its name and its meaning, because a unit that an older kit
has started may still run.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypedDict, TypeVar

from on_host import answers
from on_host.generations import Generation, Outline


class _Basic(TypedDict):
    app: str
    who: str


class ChangeOrders(TypedDict, total=False):
    """What all hosts of one change are ordered alike."""

    deploy: str  # id of the transaction
    together: bool  # other hosts take part
    moving: dict[str, str]  # a ship: name of another application → "renamed" or "removed"
    replacement: str  # id of the replacement that is under way
    # For tests alone.
    die_at: str | None
    silence_s: float
    limit_s: int
    workers_s: int


class Certificate(TypedDict):
    """The pair that a deploy brings. `digest` is the SHA-256 of the chain, and "" for one that is
    still to be made; orders that only compare hold neither chain nor key."""

    lineage: str
    digest: str
    chain: str
    key: str


class CertificateOrders(TypedDict, total=False):
    """The part of a deploy's orders that `certificates/given.py` reads."""

    certificate: Certificate  # where the operator's side has it


class LoginOrders(TypedDict, total=False):
    """The part of a deploy's orders that `logins.py` reads."""

    logins: Logins


class Orders(_Basic, ChangeOrders, CertificateOrders, LoginOrders, total=False):
    """What the orders of any verb may hold."""

    verb: str
    role: str  # "backend" or "frontend"
    user: str  # of the application, where it is not `app`
    commit: str | None  # of the kit, for the audit; of the application in a ship
    wait_s: int  # for another change on the host
    units: list[str]
    restart: bool  # a deploy: also where nothing has changed
    expects: str  # a deploy or rollback: only where this generation is still current
    keeps_secrets: bool  # a deploy: secret files came without a value, and hold what they hold now
    secrets: dict[str, str]  # values that no message may hold
    probes: Probes
    # What a process on the host adds to its own orders.
    job: str  # the folder of the unit that carries them out
    participants: list[str]
    root: str  # for tests alone


class Probes(TypedDict, total=False):
    """What must be answered once a generation serves: `pages` for a frontend, else origins.

    `lineage`: over https, with this certificate; without it over http. `plain` is then what port 80
    must answer: a `redirect` to `origin`, a 403 (`deny`), or the `same` as port 443.
    """

    host: str
    origin: str
    lineage: str
    plain: Literal["redirect", "deny", "same"]
    pages: dict[str, str]  # path → text that it must hold
    allowed: list[str]
    refused: list[str]
    wildcard: bool


class _Logins(TypedDict):
    user: str
    keys: list[str]  # OpenSSH public key lines


class Logins(_Logins, total=False):
    """Who may log in. `own` is kind and data of the key that this login used."""

    own: str | None


class LookOrders(Orders, total=False):
    """history, logs, releases, moving: what the host remembers."""

    count: int


class StatusOrders(Orders):
    """status: compared with what the host has."""

    outline: Outline


class _ConfigurationOrders(Orders):
    generation: Generation


class DeployOrders(_ConfigurationOrders):
    """plan and deploy."""


class MoreOrders(ChangeOrders, total=False):
    """What a caller may put in the place of what all hosts are ordered."""

    wait_s: int
    restart: bool
    count: int
    units: list[str]
    generation: Generation
    probes: Probes


class RollbackOrders(Orders):
    """`to` is the id of a generation that is on the host."""

    to: str


class ExamineOrders(_ConfigurationOrders):
    """`questions`: [via ("nginx", "https" or "gunicorn"), method, target, [[name, value], ...]].
    `name` is the role's host name and `port` that of its origin; `target` is part of a request that
    was sent to it from outside, empty where none was answered."""

    questions: list[list[Any]]
    name: str
    port: int
    target: str


class OutcomeOrders(Orders):
    transaction: str


class _ShipOrders(Orders):
    id: str
    label: str
    revision: str
    digest: str | None  # of what is sent; None where the host has it
    size: int
    lock: str | None
    wheels: dict[str, str]
    wsgi: str
    settings: str
    files: dict[str, str]
    env: dict[str, str]
    unit: str  # the text of the service's unit
    generation: Generation | None


class ShipOrders(_ShipOrders, total=False):
    """ship: the release `id`, whose archive follows the orders."""

    made_from: answers.MadeFrom


# A field that is named `from` can't stand in a class.
_Leaving = TypedDict("_Leaving", {"from": "str | None"})


class ReleaseRollbackOrders(Orders, _Leaving):
    """rollback-release: to the release `to`, or to the one before; only if `from` still serves."""

    to: str | None


class ReplacementDetails(TypedDict, total=False):
    """What only some of these verbs need."""

    most: int  # bytes that the operator has room for in `place`
    place: str
    closing: str
    size: int
    digest: str
    seed: str  # what the mark of `seed_mark` said on the old host
    generation: str  # the id of the one that takes no writes


class ReplacementOrders(Orders, ReplacementDetails):
    """close, copy, reopen, restore, settle: `fab replace`."""

    name: str  # of the host


class BackupOrders(Orders):
    """backup: at most `most` bytes, for which the operator has room in `place`. `facts` are kept in
    the backup: app, stack, made, kit."""

    most: int
    place: str
    facts: dict[str, str]


class _RestoreOrders(Orders):
    """restore-switch: what `restore-stage` has put there under the same id."""

    restore: str


class RestoreOrders(_RestoreOrders, total=False):
    """restore-stage: the archive of `size` bytes follows the orders. `keeps_key`: it is another
    stack's, and the secret key of this one stays."""

    size: int
    digest: str
    keeps_key: bool


class CertificateOrder(TypedDict):
    """What to ask an ACME server for: a certificate for `names` (host names and IPs), which is
    installed as `lineage`. It holds no secret, and is a file of the generation too.

    `server` is the URL of the server's directory; `profile` and `eab_kid` are empty where the
    config has none."""

    lineage: str
    names: list[str]
    server: str
    email: str
    profile: str
    environment: str
    eab_kid: str


class Account(TypedDict):
    """An account with an ACME server as certbot keeps it: its id there, and its files' texts by
    name. One of them is its private key."""

    id: str
    files: dict[str, str]


class _CertifyOrders(Orders):
    order: CertificateOrder


class CertificatePair(TypedDict):
    """A chain and its key, PEM."""

    chain: str
    key: str


class CertifyDetails(TypedDict, total=False):
    """What only some of these need. `certbot` names the environment that the wheels, which follow
    as one archive, are for; without `size` nothing follows. acme_eab_hmac is one of `secrets`.
    `with_secrets` asks for the account and the pair; a `pair` is installed and nobody is asked."""

    with_secrets: bool
    account: Account | None
    pair: CertificatePair | None
    force: bool
    certbot: str
    wheels: dict[str, str]
    size: int
    digest: str


class CertifyOrders(_CertifyOrders, CertifyDetails):
    """certify-facts and certify."""


class FirstBootOrders(TypedDict):
    """`question` is shell."""

    question: str


# -------------------------------------------------------------------------------------------- verbs

Given = TypeVar("Given")
Answer = TypeVar("Answer")


class Verb(str, Generic[Given, Answer]):
    """What a host can be asked to do, with the types of its orders and of its answer."""


HISTORY: Verb[LookOrders, answers.HistoryAnswer] = Verb("history")
LOGS: Verb[LookOrders, answers.LogsAnswer] = Verb("logs")
RELEASES: Verb[LookOrders, answers.ReleasesAnswer] = Verb("releases")
MOVING: Verb[LookOrders, answers.MovingAnswer] = Verb("moving")
RUNNING: Verb[Orders, answers.RunningAnswer] = Verb("running")
STATUS: Verb[StatusOrders, answers.StatusAnswer] = Verb("status")
PLAN: Verb[DeployOrders, answers.PlanAnswer] = Verb("plan")
EXAMINE: Verb[ExamineOrders, answers.ExamineAnswer] = Verb("examine")
OUTCOME: Verb[OutcomeOrders, answers.OutcomeAnswer] = Verb("outcome")
DEPLOY: Verb[DeployOrders, answers.DeployAnswer] = Verb("deploy")
ROLLBACK: Verb[RollbackOrders, answers.DeployAnswer] = Verb("rollback")
FACTS: Verb[Orders, answers.FactsAnswer] = Verb("facts")
SHIP: Verb[ShipOrders, answers.ShipAnswer] = Verb("ship")
RELEASE_ROLLBACK: Verb[ReleaseRollbackOrders, answers.ShipAnswer] = Verb("rollback-release")
CLOSE: Verb[ReplacementOrders, answers.CloseAnswer] = Verb("close")
COPY: Verb[ReplacementOrders, answers.CopyAnswer] = Verb("copy")
REOPEN: Verb[ReplacementOrders, answers.DoneAnswer] = Verb("reopen")
RESTORE: Verb[ReplacementOrders, answers.RestoreAnswer] = Verb("restore")
SETTLE: Verb[ReplacementOrders, answers.DoneAnswer] = Verb("settle")
BACKUP: Verb[BackupOrders, answers.BackupAnswer] = Verb("backup")
RESTORE_STAGE: Verb[RestoreOrders, answers.StagedAnswer] = Verb("restore-stage")
RESTORE_SWITCH: Verb[RestoreOrders, answers.RestoredAnswer] = Verb("restore-switch")
CERTIFY_FACTS: Verb[CertifyOrders, answers.CertifyFactsAnswer] = Verb("certify-facts")
CERTIFY: Verb[CertifyOrders, answers.CertifyAnswer] = Verb("certify")
EMPTY: Verb[Orders, answers.DoneAnswer] = Verb("empty")
FIRST_BOOT: Verb[FirstBootOrders, answers.FirstBootAnswer] = Verb("first-boot")
