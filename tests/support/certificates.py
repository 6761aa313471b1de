"""Certificates of a test's own CA, good ones and every broken kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    private: CertificateIssuerPrivateKeyTypes

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key(self) -> str:
        return key_pem(self.private)


def key_pem(private: CertificateIssuerPrivateKeyTypes, passphrase: bytes = b"") -> str:
    """The key as PKCS #8."""
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(passphrase)
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    ).decode()


def authority(name: str, by: Issued | None = None, *, since: datetime = NOW - 100 * DAY) -> Issued:
    """A CA: a root, or an intermediate that `by` has issued."""
    private = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, private.public_key(), by, since, 3650 * DAY)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return Issued(builder.sign(by.private if by else private, hashes.SHA256()), private)


def leaf(
    by: Issued | None,
    names: Sequence[str],
    *,
    since: datetime = NOW - 10 * DAY,
    lifetime: timedelta = 90 * DAY,
    private: CertificateIssuerPrivateKeyTypes | None = None,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> Issued:
    """A server's certificate; one that signs itself without `by`."""
    private = private or ec.generate_private_key(ec.SECP256R1())
    builder = _builder("leaf", private.public_key(), by, since, lifetime)
    if names:
        general = [_general_name(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return Issued(builder.sign(by.private if by else private, hashes.SHA256()), private)


def _builder(
    name: str, public: object, by: Issued | None, since: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    subject = _name(name)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(public)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + lifetime)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
