"""The verbs that ask for a certificate by hand: what this host has (`certify-facts`), and have one
(`certify`)."""

from __future__ import annotations

import hashlib
import platform
import sys
from typing import TYPE_CHECKING, Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host import name_checks, places, replacement
from on_host.acme import account, challenge, record, renewal, venv
from on_host.certificates import store
from on_host.orders import CERTIFY_ORDERS, ORDERS
from on_host.release.unpack import arriving
from on_host.runtime import Failed, end_step, send_heartbeats, step
from on_host.work import ended, print_answer, report, still_serves

if TYPE_CHECKING:
    from on_host.answers import CertifyAnswer, CertifyFactsAnswer


def facts() -> CertifyFactsAnswer:
    """What the operator's side needs: to see whether there is work to do, and to choose certbot's
    wheels."""
    name_checks.refuse_others(places.app())
    order = CERTIFY_ORDERS["order"]
    pair = store.pair(order["lineage"])
    own = account.known(order)
    with_secrets = CERTIFY_ORDERS.get("with_secrets", False)
    libc, version = platform.libc_ver()
    return {
        "python": "{}.{}".format(*sys.version_info),
        "python_full": platform.python_version(),
        "machine": platform.machine(),
        "libc": version if libc == "glibc" else "",
        "certbot": venv.kept(),
        "chain": pair[0] if pair else "",
        "has_account": own is not None,
        "account": own if with_secrets else None,
        "pair": {"chain": pair[0], "key": pair[1]} if pair and with_secrets else None,
        "answers_challenge": challenge.is_answered(order["names"][0]),
        "renewal": record.of(order["lineage"]),
    }


def certify() -> int:
    """Have the certificate of the orders, and answer with the account that has it."""
    send_heartbeats()
    name_checks.refuse_others(places.app())
    replacement.refuse()
    order = CERTIFY_ORDERS["order"]
    receive()
    given = CERTIFY_ORDERS.get("account")
    if given and account.known(order) != given:
        account.give(order, given)
    pair = CERTIFY_ORDERS.get("pair")
    if pair:
        is_new = renewal.take(order, pair)
    else:
        is_new = renewal.renew(
            order,
            force=CERTIFY_ORDERS.get("force", False),
            eab_hmac=CERTIFY_ORDERS.get("secrets", {}).get("acme_eab_hmac", ""),
        )
    end_step()
    answer: CertifyAnswer = {
        "changed": is_new,
        "account": account.known(order),
        "renewal": record.of(order["lineage"]),
    }
    report(answer)
    return 0


def receive() -> None:
    """Have certbot: from the wheels that follow the orders, or as it is kept here."""
    name = CERTIFY_ORDERS["certbot"]
    if CERTIFY_ORDERS.get("size"):
        step("certify-wheels", "installs certbot")
        venv.make(name, CERTIFY_ORDERS["wheels"], _arriving())
    if not venv.use(name):
        raise Failed("certbot is no longer here; run {again}")


def _arriving() -> Iterator[bytes]:
    """The archive. Raises Failed where it is not what was sent."""
    digest = hashlib.sha256()
    for chunk in arriving(CERTIFY_ORDERS["size"]):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != CERTIFY_ORDERS["digest"]:
        raise Failed("certbot arrives incomplete; was the connection cut? run {again}")


def main() -> int:
    """Answer the question, or do the work."""
    if ORDERS["verb"] == "certify-facts":
        return print_answer(facts, still_serves)
    return ended(certify, still_serves)
