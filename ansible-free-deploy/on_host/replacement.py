"""The mark of a host that is being replaced, or that replaces one: what may be done there
meanwhile.

/etc/origin-kit/replacement.json holds {"id": of the replacement, "state", "closing": id,
"name": host, "who", "since"}.

    state      on          means
    closed     the old     it takes no writes: nobody but this replacement ships, deploys or rolls
                           back here
    restoring  the new     its data is not whole: it is removed, and restored again
    restored   the new     it has the data of that closing, compared with what was copied
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from on_host import places
from on_host.files import sync, write_durably
from on_host.orders import ORDERS, REPLACEMENT_ORDERS
from on_host.runtime import Failed

if TYPE_CHECKING:
    from on_host.on_disk import ReplacementMark

MARK = places.KIT / "replacement.json"
CLOSED, RESTORING, RESTORED = "closed", "restoring", "restored"


def read() -> ReplacementMark:
    """The mark; empty where there is none."""
    try:
        found: ReplacementMark = json.loads(MARK.read_text())
    except FileNotFoundError:
        return {}
    return found


def write(state: str, closing: str) -> ReplacementMark:
    mark: ReplacementMark = {
        "id": ORDERS["replacement"],
        "state": state,
        "closing": closing,
        "name": REPLACEMENT_ORDERS.get("name", ""),
        "who": ORDERS.get("who", ""),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    write_durably(MARK, json.dumps(mark).encode(), 0o600)
    sync(places.KIT)
    return mark


def close() -> ReplacementMark:
    """Mark this host as closed, once: a closing has an id, and the copy that was made in it is
    known by that."""
    refuse()
    mark = read()
    return mark if mark.get("state") == CLOSED else write(CLOSED, uuid4().hex)


def forget() -> None:
    """Nothing is replaced here any more."""
    with contextlib.suppress(FileNotFoundError):
        MARK.unlink()
        sync(places.KIT)


def in_words() -> str:
    """What whoever looks at this host has to know of it; empty where nothing is replaced."""
    mark = read()
    if mark.get("state") != CLOSED or mark["id"] == ORDERS.get("replacement"):
        return ""
    name = mark["name"]
    return (
        f"{name} is being replaced since {mark['since']} by {mark['who']}, and takes no writes: run"
        f" `fab replace {name}` to finish that, or `fab replace {name} --abort` to take it back"
    )


def refuse() -> None:
    """Raise Failed where another than this host's own replacement wants to change it."""
    if text := in_words():
        raise Failed(f"{text}; nothing was changed")
