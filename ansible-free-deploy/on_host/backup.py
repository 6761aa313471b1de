"""Send a backup of the application's data to the operator, while the application serves.

The data goes as events, `{"data": base64}`, as in `data_copy`: root forwards what a program of the
application's user reads. The operator encrypts it.
"""

from __future__ import annotations

import fcntl
import json
import sys
from typing import TYPE_CHECKING

from on_host import places, replacement
from on_host.as_user import text
from on_host.as_user.archive import FORMAT
from on_host.data_copy import LIMIT_S, Sender, must, summary
from on_host.disk import trouble
from on_host.lock import held
from on_host.orders import BACKUP_ORDERS
from on_host.runtime import Failed, step
from on_host.user import apart
from on_host.work import print_answer

if TYPE_CHECKING:
    from on_host.answers import BackupAnswer

IN_USE = places.RUN / "data.lock"  # shared by those who read the data, alone by who exchanges it


def backup() -> BackupAnswer:
    """Send the data, at most `most` bytes. Raises Failed where there is none, or where somebody is
    exchanging it."""
    if not places.data().is_dir():
        raise Failed(f"there is no data of {places.app()} here yet; run `fab ship` first")
    if replacement.read().get("state") == replacement.RESTORING:
        raise Failed("the data of this host is not whole yet: finish `fab replace` first")
    with held(IN_USE, fcntl.LOCK_SH, "a `fab restore` is under way here; run this again after it"):
        return _send()


def _send() -> BackupAnswer:
    release = places.current_id()
    facts = {**BACKUP_ORDERS["facts"], "format": FORMAT, "release": release, "database": "sqlite"}
    step("copy", "copies the data")
    sender = Sender()
    done = apart("backup").run(
        sys.executable,
        "-I",
        "-c",
        text("copy_data"),
        "read",
        str(places.data()),
        json.dumps(facts),
        into=sender,
        most=sys.maxsize,
        limit_s=LIMIT_S,
    )
    must(done, "the data can't be copied")
    return {
        "size": sender.size,
        "digest": sender.digest.hexdigest(),
        "counted": summary(done.stdout),
    }


def main() -> int:
    """Answer the operator; the status of this process."""
    return print_answer(backup, lambda problem: trouble(problem, places.data()))
