"""Ask for a certificate and put it where nginx reads it; what the timer does every six hours.

Each run ends in the same state wherever an earlier one was cut: certbot's newest pair is installed,
or the one before serves.

python3 PROGRAM renew APP
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
from typing import TYPE_CHECKING, Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host import audit, places, replacement
from on_host.acme import certbot, record
from on_host.acme.paths import WANTED
from on_host.acme.words import LOG, retry_after
from on_host.certificates import store
from on_host.disk import note_full, trouble
from on_host.files import private_folder
from on_host.lock import take_lock
from on_host.runtime import Failed, hide, hide_also, note, step

if TYPE_CHECKING:
    from on_host.protocol import CertificateOrder, CertificatePair

_LOCK = places.RUN / "acme.lock"  # one certbot at a time
_STILL = "; the certificate that serves stays"
_NONE = "; this host has none for these names yet"


def renew(order: CertificateOrder, *, force: bool = False, eab_hmac: str = "") -> bool:
    """Have the certificate that the order asks for, installed; whether it is a new one.

    Raises Failed in the CA's words, and notes it for `fab status`. The host's lock is held while
    the pair is switched, not while the CA is waited for.
    """
    with _alone():
        try:
            is_new = _renew(order, force=force, eab_hmac=eab_hmac)
        except (Failed, OSError) as problem:
            note_full()
            _note_failure(order, problem)
            raise
        record.note(order["lineage"], "issued" if is_new else "kept")
        if is_new:
            audit.write("issued", order["lineage"], "certificate")
        return is_new


def take(order: CertificateOrder, pair: CertificatePair) -> bool:
    """Install a certificate that another machine has got for these names; whether it is new here.
    certbot knows nothing of it: the first renewal is an issue."""
    hide_also([pair["key"]])
    step("certify-install", "installs the certificate of the machine that serves")
    with take_lock():
        return store.install(order["lineage"], pair["chain"], pair["key"])


def _renew(order: CertificateOrder, *, force: bool, eab_hmac: str) -> bool:
    before = certbot.pair(order)
    names = ", ".join(order["names"])
    step("certify-ask", f"asks {order['server']} for a certificate for {names}")
    try:
        certbot.ask(order, force=force, eab_hmac=eab_hmac)
    except Failed as problem:
        still = _STILL if store.pair(order["lineage"]) else _NONE
        raise Failed(f"{problem}{still}") from problem
    after = certbot.pair(order)
    if after is None:
        raise Failed(f"certbot reports success and leaves no certificate; see {LOG}")
    is_new = before != after
    text = "installs the new certificate" if is_new else "it is not time for a new one"
    step("certify-install", text)
    with take_lock():
        store.install(order["lineage"], *after)
    return is_new


def said(problem: Exception) -> str:
    """What has failed, for who has no command to run again."""
    text = str(problem)
    if isinstance(problem, OSError):
        text = trouble(problem, places.KIT)
    return hide(text.replace("{again}", "`fab tls.renew`"))


def _note_failure(order: CertificateOrder, problem: Exception) -> None:
    """A full disk may take no note either: the message is what counts."""
    text = said(problem)
    with contextlib.suppress(OSError):
        record.note(order["lineage"], "failed", text, retry_after(text))
        audit.write(f"failed: {text}", order["lineage"], "certificate")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait for another run of certbot on this host."""
    private_folder(_LOCK.parent)
    with _LOCK.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("wait", "waits for another renewal on this host")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def wanted() -> CertificateOrder | None:
    """What the current generation asks for; None where its certificates come from elsewhere."""
    try:
        order: CertificateOrder = json.loads(WANTED.read_text())
    except FileNotFoundError:
        return None
    return order


def main() -> int:
    """The timer's run; its output is the journal's."""
    order = wanted()
    if order is None:
        return 0
    if replaced := replacement.in_words():
        print(replaced)
        return 0
    try:
        is_new = renew(order)
    except (Failed, OSError) as problem:
        print(said(problem), file=sys.stderr)
        return 1
    print("a new certificate serves" if is_new else "the certificate is not due for renewal")
    return 0
