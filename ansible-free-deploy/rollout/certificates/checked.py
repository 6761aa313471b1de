"""Pairs of the user's own CA that were checked before: what was found out of their bytes, next to
each.

    tls/pairs/STACK.ROLE.pem     a role's key and certificate, 0600
    tls/pairs/STACK.ROLE.json    of which bytes they are, for whom and for how long they are valid

What reads certificates takes longer to import than all else that an unchanged deploy does with
them. Signature and names follow from the bytes of the pair and of the CA, so they are read once; a
note counts for exactly these bytes. The time is looked at each time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from infra.core.home import CERTIFICATES, home, write_whole
from rollout.certificates.age import Age

_MARK = "-----BEGIN CERTIFICATE-----"


class Texts(NamedTuple):
    """The two halves of a pair, as PEM."""

    chain: str
    key: str


def ca_path() -> Path:
    """Where the CA's certificate is, made or not."""
    return home() / CERTIFICATES / "ca.pem"


def pair_path(stack: str, role: str) -> Path:
    """Where the pair of a stack's role is, made or not."""
    return home() / CERTIFICATES / "pairs" / f"{stack}.{role}.pem"


def halves(text: str) -> Texts:
    """A pair's file, taken apart; both halves are empty or broken where the file is."""
    key, mark, chain = text.partition(_MARK)
    return Texts(mark + chain, key)


def recall(
    stack: str,
    role: str,
    names: Sequence[str],
    now: datetime,
) -> Texts | None:
    """The pair that a deploy would take as it is; None where that is not known without reading
    certificates."""
    path = pair_path(stack, role)
    try:
        note = json.loads(_note_path(path).read_bytes())
        pair = path.read_bytes()
        begins, ends = (datetime.fromisoformat(note[name]) for name in ("begins", "ends"))
        if note["of"] != _of(pair, names) or Age(begins, ends, now).is_due:
            return None
        return halves(pair.decode())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note(stack: str, role: str, names: Sequence[str], age: Age) -> None:
    """Write down that the pair was checked: the CA has signed it for these names."""
    path = pair_path(stack, role)
    times = {"begins": age.begins.isoformat(), "ends": age.ends.isoformat()}
    found = {"of": _of(path.read_bytes(), names), **times}
    write_whole(_note_path(path), json.dumps(found, indent=1))


def _note_path(pair: Path) -> Path:
    return pair.with_suffix(".json")


def _of(pair: bytes, names: Sequence[str]) -> dict[str, object]:
    """What a note counts for."""
    ca = ca_path().read_bytes()
    return {
        "pair": _digest(pair),
        "ca": _digest(ca),
        "names": sorted(names),
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
