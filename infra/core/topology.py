"""What every cloud builds, without naming one: instances, ports, who may talk to whom, and the
origins that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.core.contract import ALLOW_ALL, Application, Contract, Cors, Host, Page, Preview, Role
from infra.core.https import Https, scheme_of
from infra.core.keys import KEYS
from infra.core.origins import parse_origin
from infra.core.rules import APEX, WWW, full_name
from infra.core.serials import Serials, resource
from infra.core.settings import Settings

ROLES = ("frontend", "backend")
_MOST_PER_ROLE = 64


@dataclass(frozen=True)
class Port:
    """A TCP port and who may reach it: `anyone`, or `operators` (those who deploy)."""

    number: int
    open_to: str


@dataclass(frozen=True)
class Instance:
    """One instance to build; `number` counts over all roles from 0 and is stable while counts grow.

    `name` is the host's. While a host is replaced it has two instances, of two serials: one serves,
    the other one has a `standing`.
    """

    name: str
    role: str
    number: int
    ports: tuple[Port, ...]
    serial: int = 1
    standing: str = ""
    protected: bool = True

    @property
    def resource(self) -> str:
        """The name of what only this instance has."""
        return resource(self.name, self.serial)

    @property
    def serves(self) -> bool:
        """Whether it has the host's address."""
        return not self.standing

    @property
    def first(self) -> bool:
        """Whether the role's origin leads to it."""
        return self.serves and self.number % _MOST_PER_ROLE == 0


# Browsers call both roles, so both are open to everyone; nothing calls from one role to the other.
PORTS = (Port(80, "anyone"), Port(443, "anyone"), Port(22, "operators"))


def roles(settings: Settings) -> tuple[str, ...]:
    """The roles that have hosts: both, but for a preview that is attached to another backend."""
    return ROLES if settings.backend_count else ROLES[:1]


def instances(settings: Settings) -> tuple[Instance, ...]:
    """Every instance of the environment, frontends first; the older one first of two that are one
    host's."""
    counts = {"frontend": settings.frontend_count, "backend": settings.backend_count}
    built = []
    for place, role in enumerate(ROLES):
        for index in range(counts[role]):
            name = f"{role}-{index + 1}"
            number = place * _MOST_PER_ROLE + index
            serials = Serials.parse(settings.serials.get(name, "1"))
            for machine in serials.machines():
                built.append(Instance(name, role, number, PORTS, *machine))
    return tuple(built)


def name_of(settings: Settings, role: str) -> str:
    """The role's public name under `domain`."""
    label = {"frontend": settings.frontend_name, "backend": settings.backend_name}[role]
    return full_name(label, settings.domain)


def redirected_names(settings: Settings) -> tuple[str, ...]:
    """Names that only lead to the frontend's own: www next to the domain itself, or the domain next
    to www."""
    if not settings.www_redirect or not settings.domain:
        return ()
    other = WWW if settings.frontend_name == APEX else APEX
    return (full_name(other, settings.domain),)


def records(settings: Settings, instance: Instance) -> dict[str, str]:
    """The DNS names that lead to this instance, by the name of the resource.

    A role has at most one label and the domain itself; each has its resource, whichever of them is
    the origin and whichever redirects. So turning that round makes no record again.
    """
    if not settings.domain or not instance.first:
        return {}
    names = [name_of(settings, instance.role)]
    if instance.role == "frontend":
        names += redirected_names(settings)
    return {_record(instance, name == settings.domain): name for name in names}


def _record(instance: Instance, is_apex: bool) -> str:
    return f"{instance.name}-apex" if is_apex else instance.name


def origin(settings: Settings, role: str, first_address: str) -> str:
    """The role's public origin: its name under `domain`, or the first host's address.

    Raises OriginError where that is no origin for this environment.
    """
    host = name_of(settings, role) if settings.domain else first_address
    if ":" in host:
        host = f"[{host}]"
    scheme = scheme_of(settings.tls)
    return str(parse_origin(f"{scheme}://{host}", production=settings.production))


def contract(settings: Settings, project: str, hosts: Mapping[str, Sequence[Host]]) -> Contract:
    """The outputs, from the settings and the hosts that exist (by role, first one first).

    A preview that is attached to an environment has no backend of its own: the origin is that
    one's.
    """
    page = origin(settings, "frontend", hosts["frontend"][0].address)
    attached = settings.attached_backend
    api = attached or origin(settings, "backend", hosts["backend"][0].address)
    backends = () if attached else tuple(hosts["backend"])
    return Contract(
        project=project,
        environment=settings.stack,
        production=settings.production,
        kind="preview" if settings.branch else "environment",
        branch=settings.branch or None,
        attached_to=settings.attach_to or None,
        tls=settings.tls,
        application=_application(settings),
        frontend=Role(page, tuple(hosts["frontend"]), redirected_names(settings)),
        backend=Role(api, backends, settings.backend_aliases),
        cors=_cors(settings, page),
        ssh_keys=settings.ssh_keys,
        behind=settings.behind,
        page=Page(**_part(settings, "page")),
        https=Https(**_part(settings, "https")),
        attachable=settings.attachable,
        preview=Preview(**_part(settings, "preview")) if settings.branch else None,
    )


def _part(settings: Settings, part: str) -> dict[str, Any]:
    """The fields of a part of the contract that hold a key's value as it is."""
    fields = {}
    for key in KEYS.values():
        place, _, name = key.contract.partition(".")
        if place == part:
            fields[name] = getattr(settings, key.name)
    return fields


def _application(settings: Settings) -> Application:
    fields = _part(settings, "application")
    fields["env"] = dict(settings.env)
    fields["timers"] = dict(settings.timers)
    return Application(**fields)


def _cors(settings: Settings, frontend: str) -> Cors:
    extra = [str(origin) for origin in settings.extra_origins]
    patterns = tuple(pattern.text for pattern in settings.allowed_patterns)
    fields = _part(settings, "cors")
    fields["allowed_origins"] = tuple(dict.fromkeys([frontend, *extra]))
    fields["allowed_shapes"] = ALLOW_ALL if settings.allow_all_origins else patterns
    return Cors(**fields)
