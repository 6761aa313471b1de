"""What a stack's config asks for, compared with what its outputs say that there is. Pure, no pulumi
import.

The Pulumi program exports `infrastructure(settings)` beside the contract. Every verb computes the
contract again from the config and the hosts of the outputs, and `pending` names the keys that only
`fab up` can follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from infra.core import provider, rules, topology
from infra.core.contract import Contract, Json
from infra.core.settings import CLOUDS, Settings


class Effect(StrEnum):
    """What has to run after a key has changed, and what that does. The value is the word in
    docs/operating.md."""

    CONFIG = "config-only"
    RELEASE = "release"
    IN_PLACE = "in place"
    STOPS = "stops"
    REPLACES = "**replaces**"
    NEW_HOSTS = "new hosts"
    CHECK = "check"
    UNUSED = ""


CONFIG, RELEASE, CHECK, UNUSED = Effect.CONFIG, Effect.RELEASE, Effect.CHECK, Effect.UNUSED
IN_PLACE, STOPS, REPLACES, NEW_HOSTS = (
    Effect.IN_PLACE,
    Effect.STOPS,
    Effect.REPLACES,
    Effect.NEW_HOSTS,
)

# One row a key: its effect on each of CLOUDS. tests/test_config_keys.py changes each key and holds
# the table.
EFFECTS: dict[str, tuple[Effect, Effect, Effect]] = {
    "cloud": (REPLACES, REPLACES, REPLACES),
    "production": (UNUSED, IN_PLACE, IN_PLACE),
    "tls": (UNUSED, UNUSED, UNUSED),
    "domain": (CONFIG, IN_PLACE, IN_PLACE),
    "frontend_name": (CONFIG, IN_PLACE, IN_PLACE),
    "backend_name": (CONFIG, IN_PLACE, IN_PLACE),
    "frontend_count": (IN_PLACE, IN_PLACE, IN_PLACE),
    "backend_count": (IN_PLACE, IN_PLACE, IN_PLACE),
    "application": (RELEASE, RELEASE, RELEASE),
    "backend_path": (RELEASE, RELEASE, RELEASE),
    "backend_git": (RELEASE, RELEASE, RELEASE),
    "backend_ref": (RELEASE, RELEASE, RELEASE),
    "requirements": (RELEASE, RELEASE, RELEASE),
    "build_sdists": (RELEASE, RELEASE, RELEASE),
    "ship_also": (RELEASE, RELEASE, RELEASE),
    "wsgi": (CONFIG, CONFIG, CONFIG),
    "settings": (CONFIG, CONFIG, CONFIG),
    "frontend_path": (RELEASE, RELEASE, RELEASE),
    "static_url": (CONFIG, CONFIG, CONFIG),
    "media_url": (CONFIG, CONFIG, CONFIG),
    "max_body_mb": (CONFIG, CONFIG, CONFIG),
    "timeout_s": (CONFIG, CONFIG, CONFIG),
    "workers": (CONFIG, CONFIG, CONFIG),
    "env": (CONFIG, CONFIG, CONFIG),
    "extra_origins": (CONFIG, CONFIG, CONFIG),
    "allowed_shapes": (CONFIG, CONFIG, CONFIG),
    "allow_all_origins": (CONFIG, CONFIG, CONFIG),
    "allow_credentials": (CONFIG, CONFIG, CONFIG),
    "allow_methods": (CONFIG, CONFIG, CONFIG),
    "allow_headers": (CONFIG, CONFIG, CONFIG),
    "expose_headers": (CONFIG, CONFIG, CONFIG),
    "max_age_s": (CONFIG, CONFIG, CONFIG),
    "region": (UNUSED, REPLACES, REPLACES),
    "zones": (UNUSED, REPLACES, REPLACES),
    "gcp_project": (UNUSED, UNUSED, REPLACES),
    "machine_type": (UNUSED, STOPS, STOPS),
    "architecture": (UNUSED, CHECK, CHECK),
    "machine_image": (UNUSED, NEW_HOSTS, NEW_HOSTS),
    "disk_gb": (UNUSED, IN_PLACE, REPLACES),
    "ssh_from": (UNUSED, IN_PLACE, IN_PLACE),
    "ssh_from_anywhere": (UNUSED, CHECK, CHECK),
    "ssh_keys": (UNUSED, CONFIG, CONFIG),
    "ssh_key_file": (UNUSED, NEW_HOSTS, NEW_HOSTS),
    "network_cidr": (UNUSED, REPLACES, REPLACES),
    "existing_network": (UNUSED, REPLACES, REPLACES),
    "existing_subnets": (UNUSED, REPLACES, REPLACES),
    "dns_zone": (UNUSED, IN_PLACE, IN_PLACE),
    "image": (NEW_HOSTS, CHECK, CHECK),
    "memory_mb": (IN_PLACE, UNUSED, UNUSED),
    "subnet": (REPLACES, UNUSED, UNUSED),
    "serials": (IN_PLACE, IN_PLACE, IN_PLACE),
}

_NAMES = ("domain", "frontend_name", "backend_name")


@dataclass(frozen=True)
class Pending:
    """A key of the config whose value needs other infrastructure than there is."""

    key: str
    there: Any
    asked: Any

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.there)} → {_shown(self.asked)}"


def effect(key: str, cloud: str) -> Effect:
    """What a change of this key does to a stack of this cloud."""
    return EFFECTS[key][CLOUDS.index(cloud)]


def infrastructure(settings: Settings) -> Json:
    """What the cloud's resources are made from, by key, with the defaults that the cloud has filled
    in. JSON types."""
    keys = [key for key in EFFECTS if effect(key, settings.cloud) in (IN_PLACE, STOPS, REPLACES)]
    values = {key: getattr(settings, key) for key in keys} | _defaults(settings)
    for key in _without_effect(settings):
        values.pop(key, None)
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def _defaults(settings: Settings) -> Json:
    if settings.cloud == "local":
        return {}
    return {
        "zones": provider.zones(settings),
        "machine_type": provider.machine_type(settings),
        "network_cidr": settings.network_cidr or provider.NETWORK_CIDR,
    }


def _without_effect(settings: Settings) -> list[str]:
    """Keys that mean nothing beside the others."""
    labels = [] if settings.domain else ["frontend_name", "backend_name"]
    return [*labels, "network_cidr"] if settings.existing_network else labels


def made_from(settings: Settings, role: str) -> Json:
    """What a role's release is made from, by key. JSON types, and no password: a host keeps it.
    (`application` is the host's own matter: it refuses another one.)"""
    keys = [
        key for key in EFFECTS if effect(key, settings.cloud) is RELEASE and key != "application"
    ]
    others = {"frontend": {*keys} - {"frontend_path", "ship_also"}, "backend": {"frontend_path"}}[
        role
    ]
    values = {key: getattr(settings, key) for key in keys if key not in others}
    if "backend_git" in values:
        values["backend_git"] = rules.hide_password(values["backend_git"])
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def to_ship(asked: Mapping[str, Any], there: Mapping[str, Any] | None) -> list[str]:
    """The keys whose values are others than those that the release which is `there` was made from,
    with both; none where nobody has written that down."""
    known = [key for key in asked if key in (there or {})]
    return [
        str(Pending(key, there[key], asked[key]))
        for key in known
        if there and there[key] != asked[key]
    ]


def applied(contract: Contract, recorded: Mapping[str, Any]) -> Json:
    """What the infrastructure that there is was made from, by key.

    `recorded` is what the program exported. Outputs from before it did so hold less: counts,
    production and names.
    """
    return {
        "production": contract.production,
        "frontend_count": len(contract.frontend.hosts),
        "backend_count": len(contract.backend.hosts),
        **_names(contract),
        "serials": {},
        **recorded,
    }


def _names(contract: Contract) -> Json:
    frontend = contract.frontend.parsed_origin
    backend = contract.backend.parsed_origin
    if frontend.is_ip:
        return {"domain": ""}
    frontend_label, _, domain = frontend.host.partition(".")
    backend_label = backend.host.partition(".")[0]
    return {"domain": domain, "frontend_name": frontend_label, "backend_name": backend_label}


def pending(settings: Settings, there: Mapping[str, Any]) -> tuple[Pending, ...]:
    """The keys whose values are others than those that `there` (see `applied`) was made from."""
    asked = infrastructure(settings)
    known = [key for key in asked if key in there]
    return tuple(Pending(key, there[key], asked[key]) for key in known if there[key] != asked[key])


def contract(
    settings: Settings, recorded: Contract, there: Mapping[str, Any], waits: Sequence[Pending]
) -> Contract:
    """The contract that the config asks of the hosts that there are: what `fab deploy` applies.

    While names and `production` wait for `fab up` (and `fab deploy` refuses), the names are those
    that there are, and the rules those of development, which both sides meet.
    """
    late = {one.key for one in waits}
    if late & set(_NAMES):
        settings = replace(settings, **{key: there[key] for key in _NAMES if key in there})
    if "production" in late:
        settings = replace(settings, production=False)
    hosts = {"frontend": recorded.frontend.hosts, "backend": recorded.backend.hosts}
    return topology.contract(settings, recorded.project, hosts)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
