"""Before a deploy with `tls: acme`: every host has a certificate, and the account that renews it.

The hosts are asked first, side by side; where nothing is missing that is all. Else the backend
comes first, since it makes the account where there is none.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from infra.core import exits
from infra.core.contract import Contract, Host
from infra.core.errors import KitError
from infra.core.https import ACME
from infra.core.keys.https import EAB_HMAC
from on_host import protocol
from on_host.answers import CertifyAnswer
from on_host.answers import CertifyFactsAnswer as Facts
from on_host.protocol import Account, CertifyOrders
from rollout import access, deploy, hosts, report, secret_values
from rollout.acme import limits
from rollout.acme.orders import order_of, without_https
from rollout.outputs import Outputs

_HTTP_FIRST = "deploys plain http first: the CA asks the hosts over it"


class AcmeError(KitError):
    """No certificate can be asked for; the text says why and the next step."""


@dataclass(frozen=True)
class Look:
    """What a host has."""

    role: str
    host: Host
    facts: Facts

    @property
    def is_served(self) -> bool:
        """Whether the host has a certificate for these names that is not near its end."""
        if not self.facts["chain"]:
            return False
        # Slow to import, and only `tls: acme` needs it here.
        from cryptography import x509

        from rollout.certificates.age import State
        from rollout.certificates.pair import age_of

        leaf = x509.load_pem_x509_certificate(self.facts["chain"].encode())
        return age_of(leaf, datetime.now(UTC)).state is State.GOOD


def before_deploy(
    outputs: Outputs,
    *,
    batch: int = 1,
    wait_s: int = deploy.WAIT_S,
    only: str | None = None,
) -> None:
    """Have a certificate on every host, or on those that `only` names; without `tls: acme` there is
    nothing to do.

    Where nginx does not answer the CA's challenge yet, the contract without https is deployed
    first. Raises HostError with the CA's words where a host has none and gets none: nothing was
    changed there. A host that has one, near its end or past it, serves that on: a CA that is down
    stops no change of the configuration.
    """
    contract = outputs.contract
    if contract.tls != ACME:
        return
    looks = _looks(contract, only)
    lacking = [look for look in looks if not look.is_served]
    if not lacking:
        return
    first = http_first(looks, only)
    if first:
        report.step("certificates", _HTTP_FIRST)
        plain = dataclasses.replace(outputs, contract=without_https(contract))
        for chosen in first:
            deploy.run_on_all_hosts(
                plain,
                protocol.DEPLOY,
                only=chosen,
                batch=batch,
                wait_s=wait_s,
            )
        lacking = [look for look in _looks(contract, only) if not look.is_served]
        _refuse_unanswered(lacking)
    _ask_all(outputs, looks, lacking, goes_on=True, wait_s=wait_s)


def http_first(looks: Sequence[Look], only: str | None) -> list[str | None]:
    """On which hosts the contract without https has to be deployed first, as `only` has it: those
    that lack a certificate and do not answer the CA. All go together where all are such; a host
    that serves https goes on to."""
    silent = [
        look.host.name
        for look in looks
        if not look.is_served and not look.facts["answers_challenge"]
    ]
    if len(silent) == len(looks):
        return [only] if silent else []
    return [*silent]


def renew(outputs: Outputs, *, force: bool, wait_s: int = deploy.WAIT_S) -> list[tuple[Host, bool]]:
    """Have every host ask now; which of them got a new certificate. The CA's renewal information
    decides, unless `force` does.

    Raises AcmeError where certificates come from elsewhere, HostError as `certify` does.
    """
    contract = outputs.contract
    if contract.tls != ACME:
        raise AcmeError(
            f"tls is {contract.tls}: nothing is asked of an ACME server",
            cure=_OTHERWISE,
            exit_status=exits.USAGE,
        )
    looks = _looks(contract, None)
    _refuse_unanswered(looks)
    return _ask_all(outputs, looks, looks, force=force, wait_s=wait_s)


_OTHERWISE = "`fab deploy` brings new files, and a local CA's certificates, to the hosts"


def _looks(
    contract: Contract,
    only: str | None,
    *,
    with_secrets: bool = False,
    replacement: str = "",
) -> list[Look]:
    """What each host has, asked side by side."""
    identity = access.identity(contract)

    def look(pair: tuple[str, Host]) -> Look:
        role, host = pair
        orders = orders_of(contract, role)
        orders["with_secrets"] = with_secrets
        orders["replacement"] = replacement
        with hosts.session(host, identity) as session:
            return Look(role, host, session.ask(protocol.CERTIFY_FACTS, orders))

    found: list[Look] = hosts.each(contract.chosen(only), look)
    return found


def orders_of(contract: Contract, role: str) -> CertifyOrders:
    """The orders for a host of `role`, without what only some need."""
    orders: CertifyOrders = cast("CertifyOrders", deploy.orders(contract, role))
    orders["order"] = order_of(contract, role)
    return orders


def _refuse_unanswered(looks: Sequence[Look]) -> None:
    """Raise AcmeError for hosts where a challenge would fail: that would count against the CA's
    limits."""
    unanswered = [look.host.name for look in looks if not look.facts["answers_challenge"]]
    if unanswered:
        raise AcmeError(
            f"{', '.join(unanswered)}: nginx does not answer /.well-known/acme-challenge/ on port"
            " 80, so the CA was not asked",
            cure="see `fab doctor` and `fab logs`",
        )


def _ask_all(
    outputs: Outputs,
    looks: Sequence[Look],
    lacking: Sequence[Look],
    *,
    force: bool = False,
    goes_on: bool = False,
    wait_s: int,
) -> list[tuple[Host, bool]]:
    """One host after the other, all with one account; which of them got a new certificate.

    With `goes_on` a failure is reported, not raised, for a host that has a certificate; no other
    such host is asked then, as the CA would count that too.
    """
    contract = outputs.contract
    account: Account | None = None
    if not all(look.facts["has_account"] for look in lacking):
        account = _account(contract, looks)
    results = []
    is_refused = False
    for look in lacking:
        has_one = goes_on and bool(look.facts["chain"])
        if is_refused and has_one:
            continue
        _warn(contract, look)
        orders = orders_of(contract, look.role)
        orders["wait_s"] = wait_s
        orders["force"] = force
        orders["account"] = account
        orders["secrets"] = _secrets(outputs)
        try:
            answer = _ask(contract, look, orders)
        except KitError as problem:
            if not has_one:
                raise
            report.step(look.host.name, f"warning: {problem.reason}")
            is_refused = True
            continue
        account = answer["account"]
        results.append((look.host, answer["changed"]))
        if answer["changed"]:
            _count(look, orders["order"]["names"])
    return results


def _count(look: Look, names: Sequence[str]) -> None:
    """Count what the CA has issued. The certificate is there, whatever this disk says."""
    issue = limits.Issue(int(time.time()), tuple(names), bool(look.facts["chain"]))
    try:
        limits.note(issue)
    except OSError as problem:
        report.step(
            look.host.name,
            f"counts nothing against the CA's limits: {problem.filename}: {problem.strerror}",
        )


def carry(old: Outputs, new: Outputs, name: str, replacement: str) -> None:
    """Give the machine that will serve as host `name` what the one that serves has: the CA can't
    ask it yet. `old` and `new` have the two machines in their contracts."""
    if old.contract.tls != ACME:
        return
    (there,) = _looks(old.contract, name, with_secrets=True)
    (here,) = _looks(new.contract, name, replacement=replacement)
    orders = orders_of(new.contract, here.role)
    orders["replacement"] = replacement
    orders["account"] = there.facts["account"]
    orders["pair"] = there.facts["pair"]
    _ask(new.contract, here, orders)


def _account(contract: Contract, looks: Sequence[Look]) -> Account | None:
    """The environment's account, from the first host that has it."""
    for look in looks:
        if look.facts["has_account"]:
            found = _looks(contract, look.host.name, with_secrets=True)
            return found[0].facts["account"]
    return None


def _secrets(outputs: Outputs) -> dict[str, str]:
    hmac = secret_values.of_https(outputs).get(EAB_HMAC)
    return {EAB_HMAC: hmac} if hmac else {}


def _ask(contract: Contract, look: Look, orders: CertifyOrders) -> CertifyAnswer:
    """Have one host ask the CA; certbot goes along where it is missing there."""
    # Slow to import, and most deploys ask no CA.
    from rollout.acme.wheels import certbot
    from rollout.release.target import Target

    name, facts = look.host.name, look.facts
    target = Target(
        facts["python"],
        facts["machine"],
        facts["libc"],
        facts["python_full"],
    )
    sent = certbot(target, lambda text: report.step(name, text))
    orders["certbot"] = sent.name
    blob = None
    if sent.name not in look.facts["certbot"]:
        orders["wheels"] = sent.wheels
        orders["digest"] = sent.digest
        orders["size"] = sent.archive.stat().st_size
        blob = sent.archive
    with (
        report.busy(name) as begin,
        hosts.session(look.host, access.identity(contract)) as session,
    ):
        return session.ask(
            protocol.CERTIFY,
            orders,
            blob=blob,
            on_event=lambda event: begin(event["text"]) if "text" in event else None,
        )


def _warn(contract: Contract, look: Look) -> None:
    """Say which of the CA's limits are near, before the order that may meet one."""
    renewal = look.facts["renewal"]
    lines = limits.warnings(
        contract.https.server,
        contract.certificate_names(look.role),
        renewal["issued"] if renewal else (),
        renewal["failed"] if renewal else (),
        limits.read(),
        time.time(),
    )
    for line in lines:
        report.step(look.host.name, line)
