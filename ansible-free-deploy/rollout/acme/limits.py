"""How near this environment, and all that were made from here, are to the CA's limits.

Only Let's Encrypt's are known (https://letsencrypt.org/docs/rate-limits/). The hosts count their
own issues; what this user has asked for from this machine is counted in the cache, so that previews
under one domain count together. The CA counts what others have asked for as well: its own answer
decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from infra.core.home import cache_folder, locked
from infra.core.https import LETS_ENCRYPT
from infra.core.origins.suffixes import public_suffixes
from rollout import report

HOUR_S, WEEK_S = 3600, 7 * 86_400
PER_SET = 5  # certificates for exactly the same names, in a week; renewals count
PER_DOMAIN = 50  # new certificates for a registered domain, in a week; renewals do not count
FAILURES = 5  # failed authorisations of a name, in an hour
NEAR_DOMAIN = 45


@dataclass(frozen=True)
class Issue:
    """A certificate that was issued: when (seconds since 1970), for which names, and whether it
    renewed one for the same names."""

    at: int
    names: tuple[str, ...]
    renewal: bool


def warnings(
    server: str,
    names: Sequence[str],
    issued: Iterable[int],
    failed: Iterable[int],
    others: Iterable[Issue],
    now: float,
) -> Iterator[str]:
    """What a person should know before the next order for these names: a line for each limit that
    it may meet. `issued` and `failed` are times of this very set, `others` all issues from here."""
    if server != LETS_ENCRYPT:
        return
    same = sorted(at for at in issued if at > now - WEEK_S)
    if len(same) >= PER_SET - 1:
        after = time_of(same[-PER_SET:][0] + WEEK_S)
        yield (
            f"{len(same)} certificates for exactly {', '.join(names)} in 7 days: Let's Encrypt"
            f" issues {PER_SET}, the next one after that from {after}"
        )
    lately = [at for at in failed if at > now - HOUR_S]
    if len(lately) >= FAILURES - 1:
        yield (
            f"{len(lately)} failed orders for {', '.join(names)} within an hour: Let's Encrypt"
            f" takes {FAILURES}; correct the cause before the next one"
        )
    yield from _of_domains(names, others, now)


def _of_domains(names: Sequence[str], others: Iterable[Issue], now: float) -> Iterator[str]:
    issues = list(others)
    for domain in dict.fromkeys(map(registered_domain, names)):
        count = len(new_below(domain, issues, now))
        if count >= NEAR_DOMAIN:
            yield said_of_domain(domain, count)


def new_below(domain: str, others: Iterable[Issue], now: float) -> list[int]:
    """When certificates that count for a registered domain were issued in the last week, the oldest
    first."""
    return sorted(
        issue.at
        for issue in others
        if issue.at > now - WEEK_S
        and not issue.renewal
        and domain in map(registered_domain, issue.names)
    )


def said_of_domain(domain: str, count: int) -> str:
    """What is known of a registered domain, as messages say it."""
    return (
        f"{count} new certificates below {domain} in 7 days from this machine: Let's Encrypt issues"
        f" {PER_DOMAIN}, whoever asks"
    )


def registered_domain(name: str) -> str:
    """What counts as one domain: that which was registered; of an IPv4 address the address itself,
    of an IPv6 one its /64."""
    try:
        address = ip_address(name)
    except ValueError:
        return str(public_suffixes().privatesuffix(name) or name)
    if address.version == 4:
        return name
    return str(ip_address(int(address) >> 64 << 64))


def time_of(at: float) -> str:
    """A time in UTC, for people."""
    return report.moment(datetime.fromtimestamp(at, UTC))


# ------------------------------------------------------------------------------ what was asked here


def _place() -> Path:
    return cache_folder("acme") / "issues.jsonl"


def read() -> list[Issue]:
    """What was issued from here in the last week."""
    try:
        lines = _place().read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            values = json.loads(line)
            found.append(Issue(values["at"], tuple(values["names"]), values["renewal"]))
        except (ValueError, KeyError):  # a line cut by a full disk
            continue
    return found


def note(issue: Issue) -> None:
    """Count an issue; what is older than a week goes."""
    with locked(_place().with_suffix(".lock")):
        recent = [one for one in read() if one.at > issue.at - WEEK_S]
        text = "".join(f"{json.dumps(asdict(one))}\n" for one in [*recent, issue])
        new = _place().with_suffix(".new")
        new.write_text(text)
        new.replace(_place())
