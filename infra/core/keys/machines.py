"""Config keys, Machines: debian, and what only the local cloud uses."""

from __future__ import annotations

import re

from infra.core import rules
from infra.core.keys import values
from infra.core.keys.key import Effect, Key, on_every_cloud

KEYS = (
    Key(
        name="image",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[a-z]{3,20}"), "a Debian release's code name, e.g. bookworm"),
        effects=(Effect.NEW_HOSTS, Effect.CHECK, Effect.CHECK),
        description=(
            "Debian release of new machines, trixie or bookworm; `fab replace NAME` takes "
            "a host to one. aws, gcp: the one that `fab images` finds; empty means trixie; "
            "local: empty means the host's own."
        ),
    ),
    Key(
        name="memory_mb",
        type="integer",
        default=512,
        bounds=(128, 1_048_576),
        effects=(Effect.IN_PLACE, Effect.UNUSED, Effect.UNUSED),
        description=(
            "local: memory limit per machine in MiB, enforced where the host has memory "
            "cgroups. A change takes effect while the machines run."
        ),
    ),
    Key(
        name="subnet",
        type="string",
        default="",
        may_be_empty=True,
        rule=values.subnet,
        effects=(Effect.REPLACES, Effect.UNUSED, Effect.UNUSED),
        description="local: /24 for this environment's machines; empty picks a free one.",
    ),
    Key(
        name="serials",
        type="object",
        default={},
        rule=values.serials,
        effects=on_every_cloud(Effect.IN_PLACE),
        description=(
            'Which machine serves as a host, e.g. `backend-1: "2"`. `fab replace NAME` '
            "writes it; without it a host has its first machine."
        ),
    ),
)
