"""Findings, and which of them only follow from another: one root cause is one finding. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rollout.doctor.codes import Code, Kind, kind_of
from rollout.doctor.observations import PUBLIC
from rollout.finding import Finding

# What a part of the application or of nginx takes with it that can't work.
_TAKEN_ALONG = frozenset({Kind.BROKEN, Kind.FAILS, Kind.SILENT, Kind.CORS, Kind.PAGE})
# What may follow from a finding of each kind, within its reach.
_EXPLAINS: dict[Kind, frozenset[Kind]] = {
    Kind.HOST: frozenset({Kind.SILENT}),
    Kind.NAME: frozenset({Kind.TLS, Kind.SILENT, Kind.FAILS, Kind.CORS, Kind.PAGE}),
    Kind.BLOCKED: _TAKEN_ALONG | {Kind.STOPPED, Kind.TLS},
    Kind.NO_RELEASE: _TAKEN_ALONG | {Kind.STOPPED},
    Kind.STOPPED: frozenset({Kind.TLS, Kind.FAILS, Kind.SILENT, Kind.CORS}),
    Kind.DRIFT: frozenset({Kind.CORS}),
    # Without a handshake nothing is answered; and what is served explains why it is refused.
    Kind.TLS: frozenset({Kind.TLS, Kind.BROKEN, Kind.SILENT}),
    Kind.BROKEN: frozenset({Kind.FAILS, Kind.SILENT, Kind.CORS}),
    Kind.FAILS: frozenset({Kind.SILENT, Kind.CORS}),
}
# The same of one finding, where it is more or less than its kind's.
_EXPLAINED_BY: dict[str, frozenset[Kind]] = {
    # A changed file can break anything that it is part of.
    Code.FILE_DIFFERS: _TAKEN_ALONG | {Kind.TLS},
    Code.RELEASE_CHANGED: _TAKEN_ALONG,
    Code.OLDER_CONFIGURATION: frozenset({Kind.TLS, Kind.SILENT, Kind.CORS, Kind.PAGE}),
    Code.ORIGINS_DIFFER: frozenset({Kind.TLS, Kind.SILENT, Kind.CORS, Kind.PAGE}),
    Code.PORT_BLOCKED: frozenset({Kind.SILENT}),
}
# What one cause makes many views and many kinds of requests show: with the same cure it is one.
_SHOWN_MANY_TIMES = frozenset(
    {
        Code.UNLISTED_ORIGIN_ALLOWED,
        Code.LISTED_ORIGIN_REFUSED,
        Code.REFUSED_OUTSIDE_THE_KIT,
        Code.MIXED_CONTENT,
        Code.REFUSED_BY_A_SERVER_ERROR,
        Code.FAILS_IN_FRONT,
        Code.ANSWERED_BEFORE_HEADERS,
        Code.DJANGO_REFUSES_LISTED,
        Code.DJANGO_ALLOWS_UNLISTED,
        Code.DJANGO_MIDDLEWARE_ORDER,
    }
)
# A deploy that has not been made, however many hosts and files show it.
_ONE_MISSING_DEPLOY = frozenset({Code.ORIGINS_DIFFER, Code.OLDER_CONFIGURATION})


def by_cause(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """The root causes, errors before warnings. What follows from a root cause is listed under
    it."""
    distinct = dict.fromkeys(found)
    causes: list[_Cause] = []
    for finding in sorted(distinct, key=_order):
        cause = _cause_of(finding, causes)
        if cause is None:
            causes.append(_Cause(finding, finding.reach))
        else:
            cause.take(finding)
    return tuple(replace(cause.root, follows=tuple(cause.follows)) for cause in causes)


@dataclass
class _Cause:
    """A root cause with what follows from it. Its reach grows with the places where it shows
    again."""

    root: Finding
    reach: frozenset[str]
    follows: list[Finding] = field(default_factory=list)

    def take(self, finding: Finding) -> None:
        """Add what it explains."""
        if _is_same(self.root, finding):
            self.reach |= finding.reach
        self.follows.append(finding)


def _order(finding: Finding) -> tuple[bool, Kind, bool]:
    """Errors first, then what is nearest to the hosts: a host's own answers before what arrives
    from it."""
    return finding.warning, kind_of(finding), PUBLIC in finding.places


def _cause_of(finding: Finding, causes: Sequence[_Cause]) -> _Cause | None:
    """The first of these causes that explains the finding."""
    for cause in causes:
        if _explains(cause, finding):
            return cause
    return None


def _is_same(root: Finding, finding: Finding) -> bool:
    """Whether both are one cause, which shows in several places."""
    if {root.code, finding.code} <= _ONE_MISSING_DEPLOY:
        return True
    one_cure = (root.code, root.cure) == (finding.code, finding.cure)
    return root.code in _SHOWN_MANY_TIMES and one_cure


def _explains(by: _Cause, finding: Finding) -> bool:
    root = by.root
    cause = kind_of(root)
    kind = kind_of(finding)
    if _is_same(root, finding):
        return True
    if cause is Kind.NOTHING:
        # Without a network a name is unknown. A name that leads elsewhere was answered.
        unknown_name = kind is Kind.NAME and finding.warning
        return kind in (Kind.HOST, Kind.SILENT) or unknown_name
    explained = _EXPLAINED_BY.get(root.code, _EXPLAINS.get(cause, frozenset()))
    if kind not in explained:
        return False
    return bool(by.reach & finding.places)
