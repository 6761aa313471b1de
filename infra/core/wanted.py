"""What a stack's config asks for, compared with what its outputs say that there is. Pure, no pulumi
import.

The Pulumi program exports `infrastructure(settings)` next to the contract. Every verb computes the
contract again from the config and the hosts of the outputs, and `pending` names the keys that only
`fab up` can follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infra.core import provider, rules, topology
from infra.core.contract import Contract, Json
from infra.core.keys import KEYS, Effect
from infra.core.settings import Settings

_MADE_FROM = (Effect.IN_PLACE, Effect.STOPS, Effect.REPLACES)
NAMES = ("domain", "frontend_name", "www_redirect", "backend_name")


@dataclass(frozen=True)
class Pending:
    """A key of the config whose value needs other infrastructure than there is."""

    key: str
    there: Any
    asked: Any

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.there)} → {_shown(self.asked)}"


def infrastructure(settings: Settings) -> Json:
    """What the cloud's resources are made from, by key, with the defaults that the cloud has filled
    in. JSON types."""
    values = {}
    for key in KEYS.values():
        if key.effect(settings.cloud) in _MADE_FROM:
            values[key.name] = getattr(settings, key.name)
    values |= _defaults(settings)
    for name in _without_effect(settings):
        values.pop(name, None)
    return _json(values)


def _json(values: Mapping[str, Any]) -> Json:
    """The values with lists for tuples, as JSON reads them back."""
    converted = {}
    for key, value in values.items():
        converted[key] = list(value) if isinstance(value, tuple) else value
    return converted


def _defaults(settings: Settings) -> Json:
    if settings.cloud == "local":
        return {}
    return {
        "zones": provider.zones(settings),
        "machine_type": provider.machine_type(settings),
        "network_cidr": settings.network_cidr or provider.NETWORK_CIDR,
    }


def _without_effect(settings: Settings) -> list[str]:
    """Keys that mean nothing next to the others."""
    keys = []
    if not settings.domain:
        keys += [name for name in NAMES if name != "domain"]
    if settings.existing_network:
        keys.append("network_cidr")
    if not settings.branch:
        keys += ["branch", "preview_mode"]
    return keys


def made_from(settings: Settings, role: str) -> Json:
    """What a role's release is made from, by key. JSON types, and no password: a host keeps it.

    `application` is not in it: a host denies another one by itself.
    """
    values = {}
    for key in KEYS.values():
        if key.effect(settings.cloud) is not Effect.RELEASE or key.name == "application":
            continue
        if _is_of(role, key.name):
            values[key.name] = getattr(settings, key.name)
    if "backend_git" in values:
        values["backend_git"] = rules.hide_password(values["backend_git"])
    return _json(values)


def _is_of(role: str, key: str) -> bool:
    """Whether the release of this role depends on the key."""
    if key == "ship_also":
        return True
    return (key == "frontend_path") == (role == "frontend")


def to_ship(asked: Mapping[str, Any], there: Mapping[str, Any] | None) -> list[str]:
    """The keys whose values differ from those that the release which is `there` was made from, with
    both; none where that is not recorded."""
    return [str(change) for change in _differences(asked, there or {})]


def _differences(asked: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[Pending, ...]:
    changes = []
    for key, value in asked.items():
        if key in there and there[key] != value:
            changes.append(Pending(key, there[key], value))
    return tuple(changes)


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
        "www_redirect": False,
        **recorded,
    }


def _names(contract: Contract) -> Json:
    frontend = contract.frontend.parsed_origin
    backend = contract.backend.parsed_origin
    if frontend.is_ip:
        return {"domain": ""}
    backend_label, _, domain = backend.host.partition(".")
    frontend_label = frontend.host.partition(".")[0]
    if frontend.host == domain:
        frontend_label = rules.APEX
    return {
        "domain": domain,
        "frontend_name": frontend_label,
        "backend_name": backend_label,
    }


def pending(settings: Settings, there: Mapping[str, Any]) -> tuple[Pending, ...]:
    """The keys whose values differ from those that `there` (see `applied`) was made from."""
    return _differences(infrastructure(settings), there)


def contract(
    settings: Settings,
    recorded: Contract,
    there: Mapping[str, Any],
    waits: Sequence[Pending],
) -> Contract:
    """The contract that the config asks of the hosts that there are: what `fab deploy` applies.

    While names and `production` wait for `fab up` (and `fab deploy` refuses), the names are those
    that there are, and the rules those of development, which both sides meet.
    """
    late = {one.key for one in waits}
    if late & set(NAMES):
        names = {key: there[key] for key in NAMES if key in there}
        settings = replace(settings, **names)
    if "production" in late:
        settings = replace(settings, production=False)
    if "preview_mode" in late:
        settings = _as_it_is_attached(settings, recorded)
    hosts = {"frontend": recorded.frontend.hosts, "backend": recorded.backend.hosts}
    return topology.contract(settings, recorded.project, hosts)


def _as_it_is_attached(settings: Settings, recorded: Contract) -> Settings:
    """The settings of a preview whose backend is the one that there is: its own, or that of the
    environment to which it is attached."""
    if recorded.attached_to is None:
        return replace(settings, attach_to="", attached_backend="")
    return replace(
        settings,
        attach_to=recorded.attached_to,
        attached_backend=recorded.backend.origin,
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
