"""What Django decides where nginx is not in front. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rollout.doctor.checks.logs import log_end
from rollout.doctor.checks.places import application_of, server_errors_of
from rollout.doctor.codes import Code
from rollout.doctor.observations import Direct, Observations
from rollout.finding import Finding


def django(observed: Observations) -> Iterator[Finding]:
    """Django's own decisions. Without an answer of Django's there is no verdict on it."""
    refused = set()
    for answer in observed.direct:
        if answer.kind == "page" and not answer.lines:
            refused.add((answer.host, answer.origin))
    for answer in observed.direct:
        if answer.lines is None:
            yield _silent(answer)
        elif answer.allowed and not answer.lines:
            if answer.status >= 500:
                yield _no_verdict(observed, answer)
            elif answer.kind == "page":
                yield _refuses(answer)
            elif (answer.host, answer.origin) not in refused:
                yield _wrong_order(answer)
        elif not answer.allowed and answer.lines:
            yield _allows(answer)


def _silent(answer: Direct) -> Finding:
    return Finding(
        f"gunicorn on {answer.host} does not answer ({answer.problem or 'nothing came back'})",
        cure="see `fab status` and `fab logs`",
        code=Code.DJANGO_SILENT,
        anchor="no-answer",
        places=frozenset([application_of(answer.host)]),
    )


def _wrong_order(answer: Direct) -> Finding:
    return Finding(
        f"Django on {answer.host} answers {answer.status} to a preflight with a wrong Host,"
        " without CORS headers: CorsMiddleware is missing, or stands below the middleware that"
        " refuses",
        cure="put it first; the kit does: run `fab deploy`",
        code=Code.DJANGO_MIDDLEWARE_ORDER,
        anchor="missingalloworiginheader",
        places=frozenset([answer.host]),
    )


def _refuses(answer: Direct) -> Finding:
    return Finding(
        f"Django on {answer.host} does not allow {answer.origin}: CORS_ALLOWED_ORIGINS or"
        " CorsMiddleware is not as the contract says",
        cure="run `fab deploy`",
        code=Code.DJANGO_REFUSES_LISTED,
        anchor="missingalloworiginheader",
        places=frozenset([answer.host]),
    )


def _allows(answer: Direct) -> Finding:
    return Finding(
        f"Django on {answer.host} allows {answer.origin} (nginx hides it): is"
        " CORS_ALLOWED_ORIGIN_REGEXES text instead of a list, or one of its patterns without an"
        " end?",
        cure="run `fab deploy`",
        code=Code.DJANGO_ALLOWS_UNLISTED,
        anchor="alloworiginmismatch",
        places=frozenset([answer.host]),
    )


def _no_verdict(observed: Observations, answer: Direct) -> Finding:
    """Django fails before CorsMiddleware can show that it is there."""
    asked = "a preflight" if answer.kind == "page" else "a preflight with a wrong Host"
    who_fails = "the application itself fails"
    if answer.bare:
        who_fails = "gunicorn's own error page, so the project's failed too"
    end = ""
    if not any(cell.failing for cell in observed.cells):  # else the cells' finding has it
        end = log_end(observed, [answer.host]).text
    return Finding(
        f"gunicorn on {answer.host} answers {answer.status} to {asked}: {who_fails}; whether"
        f" CorsMiddleware is in place could not be asked{end}",
        cure="see `fab logs`",
        code=Code.DJANGO_FAILS,
        places=frozenset([server_errors_of(answer.host)]),
    )
