"""The certificates of a new environment, counted before anything of it is made.

Previews under one domain share the CA's weekly limit with everything else below that domain: one
that would have to serve without its certificates is refused, and the machines are not paid for.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra.core import topology
from infra.core.errors import KitError
from infra.core.https import ACME, LETS_ENCRYPT, Https
from infra.core.settings import Settings
from rollout.acme.limits import (
    NEAR_DOMAIN,
    PER_DOMAIN,
    WEEK_S,
    Issue,
    new_below,
    registered_domain,
    said_of_domain,
    time_of,
)


class LimitError(KitError):
    """The CA would not issue what the environment needs; the text says when it will."""


def names_of(settings: Settings) -> list[str]:
    """The name of each certificate that Let's Encrypt would be asked for, one a host; none for bare
    IPs, of which each counts for itself, and where another CA is asked."""
    server = Https(directory=settings.acme_directory, staging=settings.acme_staging).server
    if settings.tls != ACME or not settings.domain or server != LETS_ENCRYPT:
        return []
    return [topology.name_of(settings, host.role) for host in topology.instances(settings)]


def check(settings: Settings, issued: Iterable[Issue], now: float) -> str:
    """What to say before a new environment is made; empty where the limit is far. A name that has
    had a certificate in the last week gets another one that does not count.

    Raises LimitError where the limit leaves less than it needs.
    """
    known = [issue for issue in issued if issue.at > now - WEEK_S]
    had = {name for issue in known for name in issue.names}
    needs = [name for name in names_of(settings) if name not in had]
    if not needs:
        return ""
    domain = registered_domain(needs[0])
    times = new_below(domain, known, now)
    after = len(times) + len(needs)
    if after > PER_DOMAIN:
        free = time_of(times[after - PER_DOMAIN - 1] + WEEK_S)
        raise LimitError(
            f"{said_of_domain(domain, len(times))}, and {settings.stack} needs {len(needs)}",
            cure=(
                f"there is room from {free}; or use `preview_slots`, whose names have theirs"
                " already, or no `domain`. Nothing was made"
            ),
        )
    if after >= NEAR_DOMAIN:
        return f"{said_of_domain(domain, len(times))}; {settings.stack} takes {len(needs)} more"
    return ""
