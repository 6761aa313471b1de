"""The stack outputs: the one thing that `infra/` and `ansible-free-deploy/` share.

`infra/` writes it with `to_json`, the rollout reads it with `from_json`; both sides hold the same frozen dataclasses.
Standard library only, so that reading a contract costs nothing.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

VERSION = 1

Json = dict[str, Any]


class ContractError(ValueError):
    """The outputs are not a contract of this version; the text names the place and the next step."""


@dataclass(frozen=True)
class Host:
    """One instance. `address` is where SSH and browsers reach it; `host_keys` are OpenSSH public key lines."""

    name: str
    address: str
    port: int
    user: str
    host_keys: tuple[str, ...]


@dataclass(frozen=True)
class Role:
    """The hosts of one role and the origin that browsers know them by."""

    origin: str
    hosts: tuple[Host, ...]


@dataclass(frozen=True)
class Application:
    """What runs on the backend; `env` holds plain values only, never a secret."""

    name: str
    wsgi: str
    settings: str
    env: dict[str, str] = field(default_factory=dict)
    static_url: str = "/static/"
    media_url: str = "/media/"
    max_body_mb: int = 10
    timeout_s: int = 30
    workers: int = 2


@dataclass(frozen=True)
class Cors:
    """The one list. `allowed_shapes` are shapes (`https://{branch}.example.com`), never raw patterns; `*` alone means
    every origin and exists in development only. `max_age_s` is in seconds."""

    allowed_origins: tuple[str, ...]
    allowed_shapes: tuple[str, ...]
    allow_credentials: bool
    allow_methods: tuple[str, ...]
    allow_headers: tuple[str, ...]
    expose_headers: tuple[str, ...]
    max_age_s: int


@dataclass(frozen=True)
class Contract:
    """Everything that a deploy has to know of an environment."""

    project: str
    environment: str
    production: bool
    kind: str
    tls: str
    application: Application
    frontend: Role
    backend: Role
    cors: Cors
    # Some readers of Pulumi's state drop what is null.
    branch: str | None = None
    attached_to: str | None = None

    @property
    def hosts(self) -> tuple[tuple[str, Host], ...]:
        """Every host with its role, backends first: they learn a new origin before the page that has it."""
        return tuple(("backend", h) for h in self.backend.hosts) + tuple(("frontend", h) for h in self.frontend.hosts)

    def to_json(self) -> Json:
        """The contract as JSON types, `contract` (the version) first."""
        return {"contract": VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, data: object) -> Contract:
        """Read what `to_json` wrote.

        Raises ContractError for another version, a missing or unknown field, or a value of the wrong type.
        """
        if not isinstance(data, dict) or "contract" not in data:
            raise ContractError("the outputs hold no contract: run `fab up` or `pulumi up` for this stack first")
        if data["contract"] != VERSION:
            raise ContractError(
                f"contract version {data['contract']!r}, this kit reads {VERSION}: "
                "run `fab up` or `pulumi up` with this checkout, then deploy again"
            )
        fields = {key: value for key, value in data.items() if key != "contract"}
        return typing.cast(Contract, _read(cls, fields, "contract"))


def _read(kind: Any, value: Any, place: str) -> Any:
    """Turn JSON `value` into `kind` (a dataclass, a scalar, a tuple or dict of such, or an optional one)."""
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, place)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _read(arguments[0], value, place)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_read(arguments[0], item, f"{place}[{index}]") for index, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _read(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)  # Pulumi keeps every number as a double
    if origin is None and type(value) is kind:
        return value
    wanted = getattr(origin or kind, "__name__", str(kind))
    raise ContractError(f"{place}: {value!r} is not a {wanted}: run `fab up` or `pulumi up` again")


def _read_dataclass(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise ContractError(f"{place}: {value!r} is not an object: run `fab up` or `pulumi up` again")
    hints = typing.get_type_hints(kind)
    required = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - value.keys()):
        raise ContractError(f"{place}: {', '.join(missing)} missing: run `fab up` or `pulumi up` again")
    if unknown := sorted(value.keys() - hints.keys()):
        raise ContractError(f"{place}: {', '.join(unknown)} unknown to this kit: pull a newer one")
    return kind(**{key: _read(hints[key], item, f"{place}.{key}") for key, item in value.items()})
