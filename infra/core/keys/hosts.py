"""Config keys, The environment: which hosts there are, and under which names."""

from __future__ import annotations

from infra.core import rules
from infra.core.keys import values
from infra.core.keys.key import CLOUDS, Effect, Key, on_clouds, on_every_cloud

KEYS = (
    Key(
        name="cloud",
        type="string",
        rule=rules.one_of(*CLOUDS),
        effects=on_every_cloud(Effect.REPLACES),
        description="Where the instances live. `local` is this very machine (systemd-nspawn).",
    ),
    Key(
        name="production",
        type="boolean",
        default=False,
        effects=on_clouds(Effect.IN_PLACE),
        contract="production",
        description=(
            "Refuse whatever only a developer's machine may do (private origins, "
            "allow_all_origins)."
        ),
    ),
    Key(
        name="domain",
        type="string",
        default="",
        may_be_empty=True,
        rule=values.domain,
        effects=(Effect.CONFIG, Effect.IN_PLACE, Effect.IN_PLACE),
        description=(
            "Parent of both names, e.g. shop.example.com. Empty means that the addresses "
            "are the origins. Hosts under one domain share cookies; two bare IPs never do over "
            "http."
        ),
    ),
    Key(
        name="frontend_name",
        type="string",
        default="app",
        rule=rules.frontend_label,
        effects=(Effect.CONFIG, Effect.IN_PLACE, Effect.IN_PLACE),
        description='The frontend\'s label under `domain`; "@", in quotes, is the domain itself.',
    ),
    Key(
        name="www_redirect",
        type="boolean",
        default=False,
        effects=(Effect.CONFIG, Effect.IN_PLACE, Effect.IN_PLACE),
        description=(
            "Redirect www.<domain> to the frontend at the domain itself, or the domain to a"
            " frontend that is called www. The page has one origin either way."
        ),
    ),
    Key(
        name="backend_name",
        type="string",
        default="api",
        rule=rules.label,
        effects=(Effect.CONFIG, Effect.IN_PLACE, Effect.IN_PLACE),
        description="The backend's label under `domain`.",
    ),
    Key(
        name="backend_aliases",
        type="array",
        default=(),
        item_rule=rules.host_name,
        effects=on_every_cloud(Effect.CONFIG),
        contract="backend.aliases",
        description=(
            "Further host names that lead to the backend, e.g. api2.example.com: Django answers"
            " to them too. Their DNS records are yours to make."
        ),
    ),
    Key(
        name="behind",
        type="array",
        default=(),
        item_rule=values.proxy_network,
        effects=on_every_cloud(Effect.CONFIG),
        contract="behind",
        description=(
            "Networks of the CDN or proxy in front, as CIDRs. A name that leads there is no"
            " address that changed, and the visitor's address is the one that the proxy names in"
            " X-Forwarded-For; nobody else is believed."
        ),
    ),
    Key(
        name="frontend_count",
        type="integer",
        default=1,
        bounds=(1, 64),
        effects=on_every_cloud(Effect.IN_PLACE),
        description=(
            "How many frontend hosts. Only 1 until a load balancer comes; each would have "
            "data of its own."
        ),
    ),
    Key(
        name="backend_count",
        type="integer",
        default=1,
        bounds=(1, 64),
        effects=on_every_cloud(Effect.IN_PLACE),
        description=(
            "How many backend hosts. Only 1 until a load balancer comes; each would have "
            "data of its own."
        ),
    ),
)
