"""What `fab VERB --help` says of the options that several verbs have."""

from __future__ import annotations

STACK = (
    "environment (default: $STACK, else $PULUMI_STACK, else the stack selected in Pulumi, else"
    " local)"
)
OUTPUTS = "read the contract from this file, which says itself of which stack it is"
JSON = "every host's answer as JSON on stdout, nothing else"
WAIT = "how long to wait for another ship or deploy, e.g. 90s or 5m (default: a minute)"
BATCH = "how many hosts are switched at a time (default: 1)"
CODE_OF = "only the hosts of this role: frontend or backend"
RENAME = "the application's name before: its user and data get the new one, its units go"
REMOVE = "an application of this kit to remove from the hosts, with its data (repeatable)"
ALLOW_REPLACE = "a host (its data is lost) or a DNS record that may be replaced (repeatable)"
ALLOW_DELETE = "a host that may be deleted with its data (repeatable)"
ALLOW_STOP = "a host that may be stopped and started again (repeatable)"
BUILT = "ship what `fab build` has written to this file: nothing of the project is run or read here"
TAKE_OVER = "make another checkout's or user's local stack yours"
