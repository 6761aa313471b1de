"""The pair of a role that the operator's side brings: from the stack's secrets, or from the user's
own CA. With `tls: acme` a host gets its certificate itself.

What reads certificates is imported where there is one: it is slow, and without https nothing needs
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infra.core.contract import Contract
from infra.core.https import FILES, LOCAL_CA
from infra.core.keys import PAIRS
from on_host.certificates.versions import digest_of
from on_host.protocol import Certificate
from rollout.certificates import checked
from rollout.certificates.checked import Texts
from rollout.certificates.errors import PairError

if TYPE_CHECKING:
    from rollout.certificates.pair import Pair

NONE_YET = ""  # the digest of a certificate that is to be made
_ROLES = ("frontend", "backend")


def orders(contract: Contract, secrets: Mapping[str, str], *, make: bool) -> dict[str, Certificate]:
    """For each role what its hosts are ordered; nothing where hosts get their certificates
    themselves, or have none.

    Without `make` nothing is written here: a pair of the own CA that is due has NONE_YET. Raises
    PairError for secrets that are no good pair.
    """
    found = {}
    for role in _ROLES if contract.tls in (FILES, LOCAL_CA) else ():
        if not getattr(contract, role).hosts:
            continue  # an attached backend has its environment's certificate
        given = _pair(contract, role, secrets, make)
        found[role] = _order(contract.lineage(role), given)
    return found


def ages(orders: Mapping[str, Certificate]) -> dict[str, str]:
    """For each role whose certificate is brought, and how long it is still valid."""
    from rollout.certificates import local_ca, pair

    found = {}
    for role, order in orders.items():
        leaf = pair.Pair(order["chain"], order["key"]).leaf
        issuer = pair.common_name(leaf.issuer)
        found[role] = f"certificate of {issuer}: {pair.age_of(leaf, local_ca.now()).text}"
    return found


def _order(lineage: str, given: Texts | None) -> Certificate:
    if given is None:
        return {
            "lineage": lineage,
            "digest": NONE_YET,
            "chain": "",
            "key": "",
        }
    digest = digest_of(given.chain)
    return {
        "lineage": lineage,
        "digest": digest,
        "chain": given.chain,
        "key": given.key,
    }


def without_keys(orders: Mapping[str, Certificate]) -> dict[str, Certificate]:
    """The same for hosts that are only to compare."""
    return {
        role: {
            **order,
            "chain": "",
            "key": "",
        }
        for role, order in orders.items()
    }


def _pair(
    contract: Contract,
    role: str,
    secrets: Mapping[str, str],
    make: bool,
) -> Texts | None:
    stack, names = contract.environment, contract.certificate_names(role)
    if contract.tls == FILES:
        found: Pair | None = from_secrets(stack, role, names, secrets)
    elif known := checked.recall(stack, role, names, datetime.now(UTC)):
        return known
    else:
        found = _of_own_ca(stack, role, names, make)
    return Texts(found.chain, found.key) if found else None


def _of_own_ca(
    stack: str,
    role: str,
    names: tuple[str, ...],
    make: bool,
) -> Pair | None:
    from rollout.certificates import local_ca

    if make:
        return local_ca.pair_for(stack, role, names)
    return local_ca.kept(stack, role, names)


def from_secrets(
    stack: str,
    role: str,
    names: tuple[str, ...],
    secrets: Mapping[str, str],
) -> Pair:
    """The pair of `tls: files`. In a secrets file a line end is written \\n. Raises PairError."""
    from rollout.certificates import local_ca, pair, trust

    chain_name, key_name = PAIRS[role]
    missing = [name for name in (chain_name, key_name) if name not in secrets]
    if missing:
        raise PairError(
            f"{name}: not set, and tls is files; run `pulumi config set --secret {name} --stack"
            f" {stack} < FILE`; on the local cloud write {name}=… into stacks/{stack}.secrets, with"
            " \\n for each line end"
            for name in missing
        )
    return pair.read(
        secrets[chain_name].replace("\\n", "\n"),
        secrets[key_name].replace("\\n", "\n"),
        names,
        now=local_ca.now(),
        roots=trust.roots(),
        places=pair.Places(chain_name, key_name),
    )
