"""The pair that a deploy brings: whether it is needed here, and its part in the change.

A change that has nothing but a certificate to do is a reload: no generation is written, and nothing
restarts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from on_host.acme import record
from on_host.certificates import served, store, versions
from on_host.files import link_of
from on_host.orders import ORDERS
from on_host.runtime import Failed, hide_also

if TYPE_CHECKING:
    from pathlib import Path

    from on_host.answers import CertificateAnswer
    from on_host.protocol import Certificate

CERTIFICATE = "certificate"  # how answers name it among what differs


def needed() -> Certificate | None:
    """The orders' pair, where this host does not have it."""
    given = ORDERS.get("certificate")
    if given and given["digest"] != versions.digest(given["lineage"]):
        return given
    return None


def differences(found: CertificateAnswer) -> list[str]:
    """CERTIFICATE, where this host has another one than ordered, or serves another one than it has;
    `found` is what `look` answers."""
    is_served = not found["disk"] or served.is_same(found["disk"], found["served"])
    return [] if is_served and not needed() else [CERTIFICATE]


def look() -> CertificateAnswer:
    """What is here and what is served; a `lineage` of "" says that there is no https."""
    lineage = versions.in_use()
    if not lineage:
        return {
            "lineage": "",
            "disk": "",
            "served": "",
        }
    pair = versions.pair(lineage)
    return {
        "lineage": lineage,
        "disk": pair[0] if pair else "",
        "served": served.served_pem(),
        "renewal": record.of(lineage),
    }


class NewPair:
    """The pair of a deploy, from its staging to its place; does nothing where none is needed."""

    def __init__(self) -> None:
        self.given = needed()
        self.target = ""  # of `current`, once it is staged
        if self.given:
            hide_also([self.given["key"]])

    def stage(self) -> None:
        """Write it next to the one before."""
        if self.given:
            given = self.given
            self.target = store.stage(given["lineage"], given["chain"], given["key"])

    def discard(self) -> None:
        """Remove it again, unless it is current."""
        if self.given:
            versions.discard_others(self.given["lineage"])

    @property
    def bound(self) -> tuple[str, str] | None:
        """The lineage, and the version of it that a test has to take."""
        return (self.given["lineage"], self.target) if self.given else None

    def check(self) -> None:
        """Have nginx test it, where that is all that changes."""
        if self.given:
            store.check(self.given["lineage"], self.target)

    def links(self) -> dict[str, str | None]:
        """What the journal has to put back."""
        if self.given is None:
            return {}
        link = versions.link(self.given["lineage"])
        return {str(link): link_of(link)}

    def switch(self) -> None:
        """Make it current."""
        if self.given:
            store.switch(self.given["lineage"], self.target)


def refuse_missing(generation: Path) -> None:
    """Raise Failed where a generation names a certificate that this host does not have."""
    for lineage in sorted(versions.named_in(generation)):
        if versions.pair(lineage) is None:
            raise Failed(
                f"this host has no certificate of {lineage} yet; run `fab deploy`, with `tls: acme`"
                " `fab tls.renew` before it; nothing was changed"
            )
