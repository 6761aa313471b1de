"""certbot's own decision to renew, asked every six hours of a clock that we move.

Run by the Python that has certbot. Standard input: {"lifetime_s", "certificates", "ari", "seed",
"off_s"}; standard output: for each certificate [not before, not after, renewed], seconds since
1970. With `ari`, a CA answers as Let's Encrypt's does (boulder, core/objects.go,
RenewalInfoSimple), through certbot's own client for it. `off_s`: the host is off for that long
after the first issue.
"""

from __future__ import annotations

import datetime
import json
import random
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import configobj
from acme import client, messages
from certbot._internal import renewal
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

BEGIN = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
EVERY = datetime.timedelta(hours=6)
JITTER_S = 3600  # RandomizedDelaySec of the timer
BACKDATED = datetime.timedelta(hours=1)  # as Let's Encrypt does
clock = [BEGIN]


class Clock(datetime.datetime):
    """`datetime`, whose now is ours."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        moment = clock[0].astimezone(tz or datetime.UTC)
        return moment if tz else moment.replace(tzinfo=None)


SHIM = types.SimpleNamespace(
    datetime=Clock, timedelta=datetime.timedelta, timezone=datetime.timezone
)
KEY = ec.generate_private_key(ec.SECP256R1())


class Net:
    """certbot's connection to a CA that suggests times."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self.certificate = certificate

    def get(self, _url: str, **_more: object) -> Any:
        start, end = suggested(self.certificate)
        window = {"start": start.isoformat(), "end": end.isoformat()}
        return types.SimpleNamespace(
            json=lambda: {"suggestedWindow": window}, headers={"Retry-After": "21600"}
        )


def suggested(certificate: x509.Certificate) -> tuple[datetime.datetime, datetime.datetime]:
    """A window of 2 % of the validity around two thirds of it, or a half below ten days."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    validity = end - begin
    ideal = end - validity / (2 if validity < datetime.timedelta(days=10) else 3)
    return ideal - validity / 100, ideal + validity / 100


def issue(lifetime: datetime.timedelta) -> x509.Certificate:
    begin = clock[0] - BACKDATED
    name = x509.Name([])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + lifetime)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(KEY.public_key()), critical=False
        )
        .sign(KEY, hashes.SHA256())
    )


def is_due(certificate: x509.Certificate, folder: Path, ari: bool) -> bool:
    """certbot's own answer, as one of its runs would give it now."""
    cert, record = folder / "cert.pem", folder / "lineage.conf"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    directory = {"renewalInfo": "https://ca/ari"} if ari else {}
    acme = client.ClientV2(messages.Directory(directory), Net(certificate))
    lineage = types.SimpleNamespace(
        autorenewal_is_enabled=lambda: True,
        version=lambda _kind, _number: str(cert),
        latest_common_version=lambda: 1,
        ocsp_revoked=lambda _number: False,
        configuration={},
        configfile=configobj.ConfigObj(str(record)),
        server="https://ca/dir",
    )
    pool = types.SimpleNamespace(get=lambda _server: acme)
    return bool(renewal.should_autorenew(lineage, pool))


def main() -> None:
    wanted = json.load(sys.stdin)
    random.seed(wanted["seed"])
    lifetime = datetime.timedelta(seconds=wanted["lifetime_s"])
    renewal.datetime = client.datetime = SHIM
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "lineage.conf").touch()
        certificate = issue(lifetime)
        clock[0] += datetime.timedelta(seconds=wanted["off_s"])
        found: list[list[float]] = []
        number = 0
        while len(found) < wanted["certificates"]:
            number += 1
            at = BEGIN + EVERY * number + datetime.timedelta(seconds=random.uniform(0, JITTER_S))
            clock[0] = max(clock[0], at)
            if is_due(certificate, folder, wanted["ari"]):
                ends = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
                found.append([moment.timestamp() for moment in (*ends, clock[0])])
                certificate = issue(lifetime)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
