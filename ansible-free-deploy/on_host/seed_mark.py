"""The mark of a preview's first data: `preview_seed` has begun in this host's database, or is done.

`fab preview.up` writes it (`rollout/previews/seed.py`), once in the life of a database; `fab
replace` takes it along with the data.
"""

from __future__ import annotations

import contextlib

from on_host import places
from on_host.files import sync, write_durably
from on_host.runtime import Failed

MARK = places.KIT / "seed"
BEGUN, DONE = "begun", "done"


def read() -> str:
    """What it says; empty where there is none. Raises Failed for a damaged one."""
    try:
        state = MARK.read_text().strip()
    except FileNotFoundError:
        return ""
    if state not in (BEGUN, DONE):
        raise Failed(
            f"{MARK} is damaged: it says neither {BEGUN} nor {DONE}; write what is true into it,"
            " then run this again"
        )
    return state


def write(state: str) -> None:
    """Have it say the same as on the host whose data this one has; empty for none."""
    if state:
        write_durably(MARK, f"{state}\n".encode(), 0o600)
    else:
        with contextlib.suppress(FileNotFoundError):
            MARK.unlink()
    sync(places.KIT)
