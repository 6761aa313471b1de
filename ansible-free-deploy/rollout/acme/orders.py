"""What each role asks an ACME server for, and the contract without https that comes first. Pure."""

from __future__ import annotations

import dataclasses

from infra.core.contract import Contract, Role
from infra.core.https import OFF, Https
from on_host.protocol import CertificateOrder


def order_of(contract: Contract, role: str) -> CertificateOrder:
    """What the hosts of a role ask for."""
    https = contract.https
    return {
        "lineage": contract.lineage(role),
        "names": list(contract.certificate_names(role)),
        "server": https.server,
        "email": https.email,
        "profile": https.profile,
        "environment": contract.environment,
        "eab_kid": https.eab_kid,
    }


def without_https(contract: Contract) -> Contract:
    """The same environment over plain http: what a host serves that has no certificate yet, so that
    the CA can ask it. Production's rules deny http, and a policy may ask for https: neither holds
    for these moments."""
    own = {_plain(role): role.origin for role in (contract.frontend, contract.backend)}
    former = {origin: plain for plain, origin in own.items()}
    origins = [former.get(origin, origin) for origin in contract.cors.allowed_origins]
    return dataclasses.replace(
        contract,
        production=False,
        tls=OFF,
        https=Https(),
        page=dataclasses.replace(contract.page, csp=""),
        frontend=_plain_role(contract.frontend),
        backend=_plain_role(contract.backend),
        cors=dataclasses.replace(
            contract.cors, allowed_origins=tuple(dict.fromkeys([*origins, *former]))
        ),
    )


def _plain_role(role: Role) -> Role:
    former = tuple(origin for origin in role.former if origin.startswith("http:"))
    return dataclasses.replace(role, origin=_plain(role), former=former)


def _plain(role: Role) -> str:
    return "http:" + role.origin.partition(":")[2]
