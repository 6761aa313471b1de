"""What `fab status` and `fab tls.show` say of the certificates that hosts serve. Pure but for the
time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from on_host.answers import CertificateAnswer
from rollout import report
from rollout.certificates.age import Age, State
from rollout.certificates.local_ca import now
from rollout.certificates.pair import age_of, common_name, names_of

_NEXT = {
    "acme": "run `fab tls.renew`",
    "files": "set a new chain and key, then run `fab deploy`",
    "local-ca": "run `fab deploy`",
}


@dataclass(frozen=True)
class Shown:
    """A host's certificate: the one that is served, or the one on its disk where none is."""

    host: str
    role: str
    tls: str
    certificate: x509.Certificate | None
    is_served: bool
    is_on_disk: bool
    renewal: dict[str, Any]
    now: datetime

    @property
    def age(self) -> Age | None:
        """How old it is."""
        return age_of(self.certificate, self.now) if self.certificate else None

    @property
    def served(self) -> str:
        """Whether it is served, in a few words."""
        if not self.is_served:
            return "no"
        return "yes" if self.is_on_disk else "yes, and another one is on the disk"

    @property
    def problem(self) -> str:
        """What is wrong with it and the next step; empty where nothing is."""
        if self.certificate is None or not self.is_served:
            return "no certificate is served: run `fab deploy`, then see `fab logs`"
        if not self.is_on_disk:
            return "serves another certificate than the one on its disk: run `fab deploy`"
        age = self.age
        if age is None or age.state is State.GOOD:
            return ""
        if age.state is State.EARLY:
            return f"certificate {age.text}: correct the clock of the host or of this computer"
        why = self.renewal.get("text") or ""
        because = f" (the last renewal failed: {why})" if why else ""
        urgent = " (urgent)" if age.state is State.RED else ""
        return f"certificate {age.text}{urgent}{because}: {_NEXT[self.tls]}"

    @property
    def note(self) -> str:
        """What to know although nothing is wrong yet: the last renewal has failed, and the timer
        tries again."""
        if self.renewal.get("result") != "failed":
            return ""
        return f"the last renewal failed, the next try is within six hours: {self.renewal['text']}"


def of(
    host: str,
    role: str,
    answer: CertificateAnswer,
    at: datetime | None = None,
) -> Shown:
    """What a host that has https has answered."""
    served, on_disk = _first(answer["served"]), _first(answer["disk"])
    return Shown(
        host,
        role,
        answer["lineage"].rpartition("-")[0],
        served or on_disk,
        served is not None,
        on_disk is not None and on_disk == served,
        dict(answer.get("renewal") or {}),
        at or now(),
    )


def _first(chain: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(chain.encode()) if chain else None
    except ValueError:
        return None


def table(found: Sequence[Shown]) -> str:
    """One row a host; empty without any."""
    if not found:
        return ""
    header = ("host", "certificate for", "issuer", "until", "left", "served")
    return report.table(header, [_row(one) for one in found])


def text(found: Sequence[Shown]) -> str:
    """The table, and what is wrong with whose certificate."""
    if not found:
        return "no host has https (`tls: off`)"
    return "\n".join([table(found), *notes(found, problems=True)])


def notes(found: Sequence[Shown], *, problems: bool = False) -> list[str]:
    """What a person should know next to the table, a line a host; with `problems` what is wrong as
    well."""
    lines = []
    for one in found:
        text = (one.problem if problems else "") or one.note
        if text:
            lines.append(f"{one.host}: {text}")
    return lines


def _row(one: Shown) -> tuple[str, ...]:
    if one.certificate is None or one.age is None:
        return (one.host, "none", "", "", "", one.served)
    until = report.moment(one.certificate.not_valid_after_utc)
    names = ", ".join(names_of(one.certificate))
    issuer = common_name(one.certificate.issuer)
    return (one.host, names, issuer, until, one.age.text, one.served)


def as_json(found: Iterable[Shown]) -> str:
    """The same for other programs, by host; times as ISO 8601, spans in seconds."""
    return json.dumps({one.host: _facts(one) for one in found}, indent=2)


def _facts(one: Shown) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "role": one.role,
        "tls": one.tls,
        "served": one.is_served,
        "on_disk": one.is_on_disk,
        "problem": one.problem,
        "renewal": one.renewal,
    }
    if one.certificate is None or one.age is None:
        return facts
    return facts | {
        "issuer": common_name(one.certificate.issuer),
        "names": names_of(one.certificate),
        "serial": f"{one.certificate.serial_number:x}",
        "sha256": one.certificate.fingerprint(hashes.SHA256()).hex(),
        "not_before": one.certificate.not_valid_before_utc.isoformat(),
        "not_after": one.certificate.not_valid_after_utc.isoformat(),
        "left_s": int(one.age.left.total_seconds()),
        "warning_line_s": int(one.age.warning_line.total_seconds()),
        "state": str(one.age.state),
    }
