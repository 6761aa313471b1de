"""Start what the orders ask for. On a host this package runs as root, from the folder that
`bootstrap` has made.

python3 FOLDER job JOB        the unit's part of a change: its orders are in the folder JOB
python3 PROGRAM boot APP      the boot after a power cut in the middle of a change
python3 PROGRAM renew APP     the timer that renews the certificate
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from on_host.orders import ORDERS, take_over

if TYPE_CHECKING:
    from on_host.protocol import Orders

# Verb → the module that does it. Imported when the orders are known, and only what the verb needs:
# a question that finds nothing to do is to cost a host little.
MODULE_OF = {
    **dict.fromkeys(
        (
            "plan",
            "status",
            "history",
            "releases",
            "logs",
            "moving",
            "running",
            "examine",
            "outcome",
        ),
        "looks",
    ),
    **dict.fromkeys(("deploy", "rollback"), "configuration.deploy"),
    **dict.fromkeys(("facts", "ship", "rollback-release"), "release.verbs"),
    **dict.fromkeys(("close", "copy", "reopen", "restore", "settle"), "data_copy"),
    "backup": "backup",
    **dict.fromkeys(("restore-stage", "restore-switch"), "restore"),
    **dict.fromkeys(("certify-facts", "certify"), "acme.verbs"),
    "empty": "emptying",
    "first-boot": "first_boot",
}

_RENEWAL_WAITS_S = 900  # for a ship or a deploy that is under way


def main(orders: Orders) -> int:
    """Do what the orders say; the exit status. All output goes to standard output,
    as JSON lines."""
    ORDERS.update(orders)
    os.umask(0o022)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    status: int = importlib.import_module("on_host." + MODULE_OF[orders["verb"]]).main()
    return status


def start() -> int:
    """The ways that need no operator."""
    way, what = sys.argv[1:3]
    if way == "job":
        return main(take_over(what))
    if way == "renew":
        ORDERS.update(
            {
                "who": "the renewal timer",
                "app": what,
                "verb": "renew",
                "wait_s": _RENEWAL_WAITS_S,
            }
        )
        renewed: int = importlib.import_module("on_host.acme.renewal").main()
        return renewed
    ORDERS.update({"who": "the boot after a power cut", "app": what})
    from on_host import journal

    journal.boot()
    return 0


if __name__ == "__main__":
    sys.exit(start())
