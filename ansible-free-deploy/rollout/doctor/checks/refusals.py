"""Why a listed origin may not read an answer: one cause for all cells that fail alike. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.doctor.ask import Answer
from rollout.doctor.checks.places import server_errors_of
from rollout.doctor.codes import Code
from rollout.doctor.observations import (
    PUBLIC,
    Cell,
    Observations,
    distinct,
    is_server_error,
    responses,
    view_name,
)
from rollout.finding import Finding
from rollout.verdict import Reason, Response

_DEPLOY = "run `fab deploy`"
_COOKIES = "set allow_credentials: true, then run `fab deploy`; or send no cookies"
_ONE_ALONE = "let only one of them add it"

# Statuses that a plain add_header reaches:
# https://nginx.org/en/docs/http/ngx_http_headers_module.html#add_header
_PLAIN = {200, 201, 204, 206, 301, 302, 303, 304, 307, 308}


@dataclass(frozen=True)
class Cause:
    """Why browsers refuse an answer, or empty where the verdict says it all; and the cure.

    `code` is LISTED_ORIGIN_REFUSED where a host differs from the contract, so that a deploy is the
    cure.
    """

    text: str
    cure: str
    code: Code = Code.REFUSED_OUTSIDE_THE_KIT


# Causes that follow from the reason alone.
_CAUSES = {
    Reason.mixed_content: Cause(
        "",
        "serve the API by https: set `tls` (acme, files or local-ca), then run `fab up`; or take"
        " the https origin out of the list",
        Code.MIXED_CONTENT,
    ),
    Reason.InsecureLocalNetwork: Cause(
        "", "give the backend a public address, or serve the page from the same network"
    ),
    Reason.LocalNetworkAccessPermissionDenied: Cause("", "give the backend a public address"),
    Reason.csp: Cause(
        "",
        "run `fab deploy`, which writes connect-src from the contract",
        Code.LISTED_ORIGIN_REFUSED,
    ),
    Reason.HeaderDisallowedByPreflightResponse: Cause(
        "", "add it to allow_headers, then run `fab deploy`"
    ),
    Reason.MethodDisallowedByPreflightResponse: Cause(
        "", "add it to allow_methods, then run `fab deploy`"
    ),
    Reason.InvalidAllowCredentials: Cause("", _COOKIES),
    Reason.PreflightInvalidAllowCredentials: Cause("", _COOKIES),
}


def refused(
    observed: Observations,
    view: str,
    cells: Sequence[Cell],
) -> Finding:
    """The finding for cells of one view that fail for one reason."""
    verdict = cells[0].verdict
    assert verdict
    titles = ", ".join(distinct(cell.question.endpoint.title for cell in cells))
    origins = ", ".join(distinct(cell.question.row.origin for cell in cells))
    asked = f"{view_name(view)}, {titles}"
    text = f"{asked}, for {origins}: {verdict.sentence}"
    if _is_missing(verdict.reason):
        early = _answered_before_headers(cells[0].answers[-1])
        if early:
            return Finding(
                f"{asked}: {early.text}; no header can reach it",
                cure=early.cure,
                code=early.code,
                anchor="what-no-header-can-reach",
            )
        if all(is_server_error(cell.answers[-1]) for cell in cells):
            return Finding(
                text,
                cure="fix what answers 5xx first",
                code=Code.REFUSED_BY_A_SERVER_ERROR,
                anchor=verdict.anchor,
                places=frozenset([server_errors_of(view)]),
            )
    cause = _cause(observed, view, verdict.reason, cells)
    return Finding(
        f"{text}; {cause.text}" if cause.text else text,
        cure=cause.cure,
        code=cause.code,
        anchor=verdict.anchor,
        places=frozenset([view]),
    )


def _is_missing(reason: Reason | None) -> bool:
    return reason is not None and reason.of_any_answer == Reason.MissingAllowOriginHeader


def _answered_before_headers(answer: Answer) -> Cause | None:
    """An answer that nginx gives before it knows which site is asked."""
    if not isinstance(answer, Response):
        return None
    if answer.status == 414:
        return Cause(
            "414, the URL is too long for nginx to have read the Origin",
            "shorten it, or send it as a POST's body",
            Code.ANSWERED_BEFORE_HEADERS,
        )
    server = answer.get("Server") or ""
    if answer.status == 400 and server.startswith("nginx") and not answer.get("Vary"):
        return Cause(
            "400 of another server block, so this name is not this site's",
            "call the API by the name in the contract",
            Code.ANSWERED_BEFORE_HEADERS,
        )
    return None


def _cause(
    observed: Observations,
    view: str,
    reason: Reason | None,
    cells: Sequence[Cell],
) -> Cause:
    if reason is None:
        return Cause("", _DEPLOY, Code.LISTED_ORIGIN_REFUSED)
    if reason.of_any_answer == Reason.MultipleAllowOriginValues:
        return _added_twice(observed, view)
    if _is_missing(reason):
        if _only_errors(observed, view, cells):
            text = "headers are missing on errors: `add_header` without `always`, or overridden"
            return Cause(f"{text} there", _DEPLOY, Code.LISTED_ORIGIN_REFUSED)
        return Cause(
            "it is not in the list that runs there",
            "run `fab deploy`; others go in extra_origins",
            Code.LISTED_ORIGIN_REFUSED,
        )
    return _CAUSES.get(reason, Cause("", _DEPLOY, Code.LISTED_ORIGIN_REFUSED))


def _added_twice(observed: Observations, view: str) -> Cause:
    """Who adds the second Access-Control-Allow-Origin: Django, or a proxy in front of the hosts."""
    asked = any(cell.view != PUBLIC and cell.verdict for cell in observed.cells)
    if view == PUBLIC and not asked:
        text = "Django's line is not hidden, or a proxy in front adds another"
        return Cause(text, _ONE_ALONE)
    return Cause(
        "Django's line is not hidden (proxy_hide_header), so nginx's is the second",
        _DEPLOY,
        Code.LISTED_ORIGIN_REFUSED,
    )


def _only_errors(
    observed: Observations,
    view: str,
    cells: Sequence[Cell],
) -> bool:
    """Whether the same origins are allowed wherever the status is one that a plain add_header
    reaches."""
    for cell in cells:
        answer = cell.answers[-1]
        if isinstance(answer, Response) and answer.status in _PLAIN:
            return False
    origins = {cell.question.row.origin for cell in cells}
    for cell in observed.of_view(view):
        if cell.question.row.origin in origins:
            for answer in responses([cell]):
                if answer.get("Access-Control-Allow-Origin"):
                    return True
    return False
