"""Certificates of a test's own CA, good ones and every broken kind."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
# When a CA and a server's certificate begin and end, from now.
_OF_A_CA = (-100 * DAY, 3550 * DAY)
_OF_A_SERVER = (-10 * DAY, 80 * DAY)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key, and those of its issuers that a server sends along.

    `chain` and `key` are PEM, as those of the kit's own `Pair`.
    """

    certificate: x509.Certificate
    private: CertificateIssuerPrivateKeyTypes
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def ders(self) -> tuple[bytes, ...]:
        """The whole chain, the certificate itself first."""
        return (self.der, *(one.public_bytes(Encoding.DER) for one in self.issuers))

    @property
    def pem(self) -> str:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def chain(self) -> str:
        return self.pem + "".join(one.public_bytes(Encoding.PEM).decode() for one in self.issuers)

    @property
    def key(self) -> str:
        """The private key as PKCS #8."""
        form = PrivateFormat.PKCS8
        return self.private.private_bytes(Encoding.PEM, form, NoEncryption()).decode()

    @property
    def alone(self) -> Issued:
        """The same of a server that sends no issuer along."""
        return Issued(self.certificate, self.private)

    def context(self, folder: Path) -> ssl.SSLContext:
        """A server's side of TLS with this pair."""
        chain, key = folder / "chain.pem", folder / "key.pem"
        chain.write_text(self.chain)
        key.write_text(self.key)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(chain, key)
        return made

    def write(self, path: Path) -> Path:
        """The certificate alone, in a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.pem)
        return path


@dataclass(frozen=True)
class Authority(Issued):
    """A CA. What it issues begins and ends at times from its `now`."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def root(cls, name: str = "Test Root", now: datetime | None = None) -> Authority:
        now, private = now or datetime.now(UTC), _new_key()
        return cls(_signed(name, private, None, now, _OF_A_CA, [_is_ca(True)]), private, now=now)

    def intermediate(
        self,
        name: str = "Test Intermediate",
        starts: timedelta = _OF_A_CA[0],
        ends: timedelta = _OF_A_CA[1],
    ) -> Authority:
        """A CA below this one."""
        private = _new_key()
        made = _signed(name, private, self, self.now, (starts, ends), [_is_ca(True)])
        return Authority(made, private, self.sent, self.now)

    def issue(
        self,
        *names: str,
        starts: timedelta = _OF_A_SERVER[0],
        ends: timedelta = _OF_A_SERVER[1],
        private: CertificateIssuerPrivateKeyTypes | None = None,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    ) -> Issued:
        """A server's certificate for these host names and IPs."""
        private = private or _new_key()
        extensions = [*_of_a_server(names), x509.ExtendedKeyUsage([usage])]
        if self.sent:
            # Where its issuer is to be had: public CAs say it wherever the issuer is no root.
            url = x509.UniformResourceIdentifier("http://ca.example/issuer.crt")
            said = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, url)
            extensions.append(x509.AuthorityInformationAccess([said]))
        made = _signed("leaf", private, self, self.now, (starts, ends), extensions)
        return Issued(made, private, self.sent)

    @property
    def sent(self) -> tuple[x509.Certificate, ...]:
        """What a server sends along with a certificate of this CA: no root."""
        is_root = self.certificate.issuer == self.certificate.subject
        return () if is_root else (self.certificate, *self.issuers)


def self_signed(*names: str, now: datetime | None = None) -> Issued:
    """A server's certificate that no CA has issued."""
    private, now = _new_key(), now or datetime.now(UTC)
    made = _signed("leaf", private, None, now, _OF_A_SERVER, _of_a_server(names))
    return Issued(made, private)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _is_ca(it_is: bool) -> x509.ExtensionType:
    return x509.BasicConstraints(it_is, None)


def _of_a_server(names: Sequence[str]) -> list[x509.ExtensionType]:
    alternatives = [x509.SubjectAlternativeName([_general(name) for name in names])]
    return [_is_ca(False), *(alternatives if names else [])]


def _signed(
    name: str,
    private: CertificateIssuerPrivateKeyTypes,
    by: Issued | None,
    now: datetime,
    within: tuple[timedelta, timedelta],
    extensions: Sequence[x509.ExtensionType],
) -> x509.Certificate:
    """A certificate that signs itself without `by`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    public, signer = private.public_key(), by.private if by else private
    starts, ends = within
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
    )
    identifiers = (
        x509.SubjectKeyIdentifier.from_public_key(public),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
    )
    for extension in (*identifiers, *extensions):
        critical = isinstance(extension, x509.BasicConstraints)
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
