"""DNS records that somebody else has made, and that an `up` would overwrite.

Google's provider asks for the records of the zone, and deletes one of the same name and type in the
request that makes the new one. So the name is looked up before: what answers is a record, or a
wildcard above it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from rollout.changes import Change


def addresses(name: str) -> tuple[str, ...]:
    """The IPv4 addresses that a name has in DNS; none where it has none, or nothing answers."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(sorted({str(place[0]) for *_, place in found}))


def looked_up(
    found: Sequence[Change], look_up: Callable[[str], tuple[str, ...]] = addresses
) -> list[Change]:
    """The same changes; those that make a DNS record know what its name answers now, unless that is
    what it would answer then."""
    changes = []
    for change in found:
        answers = look_up(change.record) if change.record else ()
        is_ours = set(answers) <= set(change.addresses)
        changes.append(change if is_ours else replace(change, answers=answers))
    return changes
