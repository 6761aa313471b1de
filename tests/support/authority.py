"""Certificates of a test's own, as a CA makes them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, and those of its issuers that a server sends along."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def ders(self) -> tuple[bytes, ...]:
        """The whole chain, the certificate itself first."""
        return (self.der, *(one.public_bytes(Encoding.DER) for one in self.issuers))

    @property
    def chain(self) -> str:
        """The same as PEM."""
        everything = (self.certificate, *self.issuers)
        return "".join(one.public_bytes(Encoding.PEM).decode() for one in everything)

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def context(self, folder: Path) -> ssl.SSLContext:
        """A server's side of TLS with this pair."""
        chain, key = folder / "chain.pem", folder / "key.pem"
        chain.write_text(self.chain)
        key.write_text(self.key_pem)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(chain, key)
        return made


@dataclass(frozen=True)
class Authority:
    """A CA: what it signs with. `sent` are the certificates that a server sends along."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    sent: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(cls, name: str = "Test Root") -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        made = _certificate(subject, subject, key, key, (-DAY, 3650 * DAY), authority=True)
        return cls(made, key)

    def intermediate(self, name: str = "Test Intermediate") -> Authority:
        """A CA below this one."""
        key = ec.generate_private_key(ec.SECP256R1())
        within = (-DAY, 1000 * DAY)
        subject = _name(name)
        made = _certificate(
            subject, self.certificate.subject, key, self.key, within, authority=True
        )
        return Authority(made, key, (made, *self.sent))

    def issue(self, *names: str, starts: timedelta = -DAY, ends: timedelta = 90 * DAY) -> Issued:
        """A server's certificate for these host names and IPs, valid within times from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(
            x509.Name([]),
            self.certificate.subject,
            key,
            self.key,
            (starts, ends),
            names,
            issuer_is_sent=bool(self.sent),
        )
        return Issued(made, key, self.sent)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def write(self, path: Path) -> Path:
        """The certificate as PEM, in a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    within: tuple[timedelta, timedelta],
    names: Sequence[str] = (),
    authority: bool = False,
    issuer_is_sent: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    starts, ends = within
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    )
    if issuer_is_sent:
        # Where its issuer is to be had: public CAs say it wherever the issuer is no root.
        url = x509.UniformResourceIdentifier("http://ca.example/issuer.crt")
        said = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, url)
        builder = builder.add_extension(x509.AuthorityInformationAccess([said]), critical=False)
    if names:
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        builder = builder.add_extension(alternatives, critical=True)
    return builder.sign(signer, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
