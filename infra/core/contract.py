"""The stack outputs: the one thing that `infra/` and `ansible-free-deploy/` share.

`infra/` writes it with `to_json`, the rollout reads it with `from_json`; both sides hold the same
frozen dataclasses. Whoever reads one gets every value checked by the rules that hold for a stack's
config: it may come from a file that somebody edited, and its names become users, folders, units and
file names. No SDK is imported.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import Any

from infra.core import contract_checks, exits, from_json
from infra.core.errors import KitError
from infra.core.https import OFF, OFF_IN_PRODUCTION, Https, host_names, lineage
from infra.core.keys import KEYS
from infra.core.origins import Origin, parse_origin, site_of
from infra.core.parts import ALLOW_ALL as ALLOW_ALL
from infra.core.parts import Application as Application
from infra.core.parts import Cors as Cors
from infra.core.parts import Page as Page
from infra.core.parts import Preview as Preview
from infra.core.rules import quote

VERSION = 1

Json = dict[str, Any]

# Fields that came later: left out where they say nothing, so that an older kit reads the rest.
_LATER = ("attached", "attachable", "preview")
CURE = "run `fab up` or `pulumi up` again; a file is made with `fab outputs > FILE`"


class ContractError(KitError):
    """The outputs are not a contract of this version; the text names every place and the next
    step."""

    exit_status = exits.USAGE
    before_cure = "\n"

    def __init__(self, problems: str | Iterable[str], cure: str = CURE) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems), cure=cure)


@dataclass(frozen=True)
class Host:
    """One instance. `address` is where SSH and browsers reach it; `host_keys` are OpenSSH public
    key lines."""

    name: str
    address: str
    port: int
    user: str
    host_keys: tuple[str, ...]

    @classmethod
    def from_json(cls, place: str, data: object) -> Host:
        """Read what `dataclasses.asdict` wrote, and check every value. Raises ContractError with
        all that is wrong."""
        found: list[str] = []
        host = from_json.read(cls, data, f"contract.{place}", found)
        found = found or list(contract_checks.host_problems(place, host))
        if found:
            raise ContractError(found)
        return typing.cast(Host, host)


@dataclass(frozen=True)
class Role:
    """The hosts of one role and the origin that browsers know them by.

    `aliases` are further host names that lead there: the backend answers to them, the frontend
    redirects them to its origin. `former` are origins that it had and answers to as well while the
    environment moves (`fab move`); with `redirects_former` who opens the page there is led to its
    origin, and whatever else is asked is answered.
    """

    origin: str
    hosts: tuple[Host, ...]
    aliases: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    redirects_former: bool = False

    @cached_property
    def parsed_origin(self) -> Origin:
        """The origin as scheme, host and port."""
        return parse_origin(self.origin, production=False)

    @property
    def address(self) -> str:
        """Where to ask it when no name service says otherwise: the first host's address. For the
        backend of another environment, whose hosts are not in this contract, what its origin
        says."""
        return self.hosts[0].address if self.hosts else self.parsed_origin.hostname

    @property
    def alias_origins(self) -> tuple[str, ...]:
        """What browsers call the aliases by: the origin's scheme, and no port."""
        scheme = self.origin.partition("://")[0]
        return tuple(f"{scheme}://{alias}" for alias in self.aliases)

    @property
    def https_origins(self) -> tuple[str, ...]:
        """Every origin of this role that is answered over https, its own first."""
        everything = (self.origin, *self.alias_origins, *self.former)
        return tuple(origin for origin in everything if origin.startswith("https:"))


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
    # Who may log in, as OpenSSH public key lines; none where the stack has no such list.
    ssh_keys: tuple[str, ...] = ()
    page: Page = field(default_factory=Page)
    # Networks of the proxy in front of the hosts.
    behind: tuple[str, ...] = KEYS["behind"].default
    https: Https = field(default_factory=Https)
    # Whether previews may attach to it although it is production.
    attachable: bool = KEYS["attachable"].default
    # The origin of the page of each preview that is attached to this environment, by its stack's
    # name; `cors.allowed_origins` has them too.
    attached: dict[str, str] = field(default_factory=dict)
    preview: Preview | None = None

    @property
    def takes_previews(self) -> bool:
        """Whether previews may attach to this environment's backend."""
        return self.kind == "environment" and (self.attachable or not self.production)

    @property
    def speaks_https(self) -> bool:
        """Whether browsers reach the hosts over https."""
        return self.tls != OFF

    @property
    def moves_from_http(self) -> bool:
        """Whether it speaks https and still answers origins that it had over http (`fab move`)."""
        former = (*self.frontend.former, *self.backend.former)
        return self.speaks_https and any(origin.startswith("http:") for origin in former)

    @property
    def answers_http(self) -> bool:
        """Whether the API answers http as it answers https, or alone: a page may be on http."""
        if not self.speaks_https or self.moves_from_http or self.cors.allows_every_origin:
            return True
        listed = (*self.cors.exact_origins, *self.cors.pattern_texts)
        return any(origin.startswith("http:") for origin in listed)

    @property
    def is_one_site(self) -> bool:
        """Whether browsers take page and API for one site, whose cookies go along with every
        request."""
        return site_of(self.frontend.parsed_origin) == site_of(self.backend.parsed_origin)

    def certificate_names(self, role: str) -> tuple[str, ...]:
        """The host names and IPs (without scheme and brackets) that the role's certificate has to
        cover, each once: its origin's first."""
        found: Role = getattr(self, role)
        return host_names(found.https_origins)

    def lineage(self, role: str) -> str:
        """The name of the folder on a host that holds the role's certificate, whichever version of
        it."""
        return lineage(self.tls, self.https, self.certificate_names(role))

    def is_in_front(self, address: str) -> bool:
        """Whether this is an IP address of the proxy in front of the hosts."""
        try:
            found = ip_address(address)
        except ValueError:  # a name
            return False
        return any(found in ip_network(network) for network in self.behind)

    @property
    def hosts(self) -> tuple[tuple[str, Host], ...]:
        """Every host with its role, backends first: they learn a new origin before the page that
        has it."""
        found: list[tuple[str, Host]] = []
        for host in self.backend.hosts:
            found.append(("backend", host))
        for host in self.frontend.hosts:
            found.append(("frontend", host))
        return tuple(found)

    def chosen(self, only: str | None) -> tuple[tuple[str, Host], ...]:
        """The hosts of the role or the host that `only` names, as `hosts` gives them; all where it
        names none."""
        if not only:
            return self.hosts
        return tuple((role, host) for role, host in self.hosts if only in (role, host.name))

    def to_json(self) -> Json:
        """The contract as JSON types, `contract` (the version) first."""
        data = {"contract": VERSION, **dataclasses.asdict(self)}
        for name in _LATER:
            if not data[name]:
                del data[name]
        return data

    @classmethod
    def from_json(cls, data: object, recorded: bool = False) -> Contract:
        """Read what `to_json` wrote, and check every value. Of one that is `recorded`, which says
        what there is and not what is wanted, production may still be on http.

        Raises ContractError for another version, and with all that is wrong: missing and unknown
        fields, values of the wrong type, values that the rules refuse.
        """
        if not isinstance(data, dict) or "contract" not in data:
            raise ContractError(
                "the outputs hold no contract: run `fab up` or `pulumi up` for this stack first", ""
            )
        if data["contract"] != VERSION:
            raise ContractError(
                f"contract version {quote(data['contract'])}, this kit reads {VERSION}: "
                "run `fab up` or `pulumi up` with this checkout, then deploy again",
                "",
            )
        found: list[str] = []
        fields = {key: value for key, value in data.items() if key != "contract"}
        contract = from_json.read(cls, fields, "contract", found)
        found = found or list(contract_checks.problems(contract))
        if not found and not recorded and contract.production and not contract.speaks_https:
            found = [f"contract.tls: {OFF_IN_PRODUCTION}"]
        if found:
            raise ContractError(found)
        return typing.cast(Contract, contract)
