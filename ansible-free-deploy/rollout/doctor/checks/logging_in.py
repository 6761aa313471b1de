"""What keeps pages from logging in and writing, although CORS is right. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rollout.doctor import login
from rollout.doctor.checks.contract import two_sites_over_http
from rollout.doctor.checks.schemes import is_of_no_page
from rollout.doctor.codes import Code
from rollout.doctor.login import Row
from rollout.doctor.observations import Observations, distinct
from rollout.finding import Finding
from rollout.verdict.login import BROWSERS, Cause, Hurdle

_OF_REAL_COOKIES = (Cause.SECURE_OVER_HTTP, Cause.PREFIX_OVER_HTTP)  # `lost_cookies` has them
_OF_TWO_SITES = (Cause.SITES_OVER_HTTP, Cause.THIRD_PARTY)  # `contract_alone`, over http


@dataclass(frozen=True)
class _Met:
    """One hurdle with the rows that meet it."""

    hurdle: Hurdle
    rows: tuple[Row, ...]

    @property
    def origins(self) -> str:
        return ", ".join(distinct(row.origin for row in self.rows))

    @property
    def browsers(self) -> list[str]:
        return distinct(row.browser.name for row in self.rows)

    @property
    def everywhere(self) -> bool:
        """Whether no browser is without it."""
        return len(self.browsers) == len(BROWSERS)


def logging_in(observed: Observations) -> Iterator[Finding]:
    """One finding for each hurdle: first lost sessions, then tokens out of reach, then refused
    writes."""
    rows = []
    with_session = []
    with_token = []
    for row in login.rows(observed):
        if is_of_no_page(row.origin, observed.contract):
            continue
        rows.append(row)
        if not row.login.session:
            with_session.append(row)
            if not row.login.token:
                with_token.append(row)
    for met in _of(rows, "session"):
        if not _is_said_elsewhere(observed, met):
            yield _session(observed, met)
    for met in _of(with_session, "token"):
        yield _token(observed, met)
    for met in _of(with_token, "write"):
        yield _write(observed, met)


def _is_said_elsewhere(observed: Observations, met: _Met) -> bool:
    """Whether another check reports the same: `lost_cookies`, `contract_alone`, the matrix."""
    hurdle = met.hurdle
    if hurdle.cause in _OF_REAL_COOKIES:
        return hurdle.what in login.real_cookies(observed)
    if hurdle.cause in _OF_TWO_SITES:
        return _is_own(observed, met) and two_sites_over_http(observed.contract)
    return hurdle.cause is Cause.MIXED_CONTENT


def _is_own(observed: Observations, met: _Met) -> bool:
    """Whether the frontend's own pages meet it: those of other origins may have no need to log
    in."""
    return observed.contract.frontend.origin in [row.origin for row in met.rows]


def _of(rows: Sequence[Row], question: str) -> list[_Met]:
    """Each hurdle of this question once. A hurdle that names its browser counts for all."""
    hurdles: dict[tuple[Cause, str], Hurdle] = {}
    rows_of: dict[tuple[Cause, str], list[Row]] = {}
    for row in rows:
        hurdle = getattr(row.login, question)
        if hurdle:
            key = (hurdle.cause, hurdle.what)
            hurdles.setdefault(key, hurdle)
            rows_of.setdefault(key, []).append(row)
    return [_Met(hurdle, tuple(rows_of[key])) for key, hurdle in hurdles.items()]


def _session(observed: Observations, met: _Met) -> Finding:
    """Lost in every browser by the frontend's own pages it is an error: `allow_credentials` says
    that cookies are wanted."""
    hurdle = met.hurdle
    if met.everywhere:
        return Finding(
            f"pages of {met.origins} keep no session: {hurdle.sentence}",
            cure=hurdle.cure,
            code=Code.SESSION_LOST,
            anchor=_anchor(hurdle),
            warning=not _is_own(observed, met),
        )
    text = f"pages of {met.origins} keep no session in {_listed(met.browsers)}: {_short(hurdle)}"
    return Finding(
        text,
        cure=hurdle.cure,
        code=Code.SESSION_LOST_IN_SOME,
        anchor=_anchor(hurdle),
        warning=True,
    )


def _short(hurdle: Hurdle) -> str:
    if hurdle.cause is not Cause.THIRD_PARTY:
        return hurdle.sentence
    return (
        f"page and API are two sites, which makes {hurdle.what!r} a third-party cookie, and these"
        " browsers block those"
    )


def _token(observed: Observations, met: _Met) -> Finding:
    """An error where the project's own code hands the token out in that cookie only; otherwise its
    pages may not need one, e.g. where views are exempt."""
    settings = login.settings_of(observed)
    place = settings["sets_cookie"] if settings else ""
    certain = bool(place) and met.everywhere and _is_own(observed, met)
    ends = f" ({place} hands it out in the cookie alone)" if place else ""
    return Finding(
        f"scripts of {met.origins} can't get the CSRF token, so that a write with a session answers"
        f" 403: {met.hurdle.sentence}{ends}",
        cure=met.hurdle.cure,
        code=Code.TOKEN_OUT_OF_REACH,
        anchor=_anchor(met.hurdle),
        warning=not certain,
    )


def _write(observed: Observations, met: _Met) -> Finding:
    """An error for the frontend's own pages."""
    return Finding(
        f"writes of pages of {met.origins} are refused: {met.hurdle.sentence}",
        cure=met.hurdle.cure,
        code=Code.WRITE_REFUSED,
        anchor=_anchor(met.hurdle),
        warning=not (met.everywhere and _is_own(observed, met)),
    )


def _anchor(hurdle: Hurdle) -> str:
    return f"login.md#{hurdle.cause}"


def _listed(names: Sequence[str]) -> str:
    """Names as an enumeration; some hold a comma."""
    return "; ".join(names)
