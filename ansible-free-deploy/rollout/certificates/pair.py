"""A certificate chain and its key: read, and checked for all that browsers would refuse.

No message quotes anything of a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from rollout import report
from rollout.certificates.age import Age, State
from rollout.certificates.errors import PairError

Certificates = Sequence[x509.Certificate]
Problems = Iterator[str]
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PRIVATE = re.compile(
    r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL
)
# What browsers take of a server: https://wiki.mozilla.org/Security/Server_Side_TLS
_CURVES = ("secp256r1", "secp384r1")
_LEAST_RSA = 2048  # bits
_KEYS = "use RSA of 2048 bits or more, P-256 or P-384"


@dataclass(frozen=True)
class Places:
    """What messages call the two halves of a pair."""

    chain: str
    key: str


def places(role: str) -> Places:
    """The names of a role's halves in a stack's secrets."""
    return Places(f"{role}_chain", f"{role}_key")


@dataclass(frozen=True)
class Pair:
    """The chain, leaf first and without its root, and the leaf's key; both PEM."""

    chain: str
    key: str = field(repr=False)

    @cached_property
    def leaf(self) -> x509.Certificate:
        """The certificate of the server itself."""
        return x509.load_pem_x509_certificate(self.chain.encode())

    def age(self, now: datetime) -> Age:
        """How old the leaf is."""
        return age_of(self.leaf, now)


def age_of(certificate: x509.Certificate, now: datetime) -> Age:
    """How old a certificate is."""
    return Age(certificate.not_valid_before_utc, certificate.not_valid_after_utc, now)


def read(
    chain: str,
    key: str,
    names: Sequence[str],
    *,
    now: datetime,
    roots: Certificates,
    places: Places,
) -> Pair:
    """The pair in these PEM texts, for a server with these names and addresses.

    `roots` are those that this computer trusts; without any, nothing is said of completeness.
    Raises PairError with all that is wrong.
    """
    found: list[str] = []
    certificates = _certificates(chain, places.chain, found)
    private = _private_key(key, places.key, found)
    if not certificates or private is None:
        raise PairError(found)
    problems = [f"{places.key}: {text}" for text in _of_key(private, certificates, places)]
    for check in (_order(certificates, roots), _of_leaf(certificates[0], names)):
        problems += [f"{places.chain}: {text}" for text in check]
    problems += [f"{places.chain}: {text}" for text in _times(certificates, now)]
    if _is_disordered(certificates):
        # What follows is about a certificate that is not the server's.
        problems = [text for text in problems if "wrong order" in text]
    if problems:
        raise PairError(problems)
    sent = [one for one in certificates if one is certificates[0] or not _signs_itself(one)]
    return Pair("".join(map(pem, sent)), key_pem(private))


def pem(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(private: PrivateKeyTypes) -> str:
    """A key as PKCS #8, without a passphrase."""
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


# ----------------------------------------------------------------------------------------- reading


def _certificates(chain: str, place: str, found: list[str]) -> list[x509.Certificate]:
    """The certificates in a text; what is wrong with it is added to `found`."""
    if not chain.strip():
        found.append(
            f"{place}: empty; expected PEM: the certificate, then each intermediate that leads to"
            " the CA's root"
        )
        return []
    if _PRIVATE.search(chain):
        name = place.replace("_chain", "_key")
        found.append(f"{place}: holds a private key; the key belongs into {name} alone")
        return []
    blocks = _CERTIFICATE.findall(chain)
    if not blocks:
        found.append(
            f"{place}: no certificate in PEM (-----BEGIN CERTIFICATE-----); convert another form"
            " with `openssl x509 -inform der -in FILE`"
        )
    read = []
    for number, block in enumerate(blocks, 1):
        try:
            read.append(x509.load_pem_x509_certificate(block.encode()))
        except ValueError:
            found.append(
                f"{place}: certificate {number} can't be read; copy it again from what the CA sent"
            )
    return read if len(read) == len(blocks) else []


def _private_key(key: str, place: str, found: list[str]) -> PrivateKeyTypes | None:
    """The key in a text; what is wrong with it is added to `found`."""
    if not key.strip():
        found.append(f"{place}: empty; expected the certificate's private key in PEM")
        return None
    block = _PRIVATE.search(key)
    try:
        if block is None:
            raise ValueError
        return serialization.load_pem_private_key(block[0].encode(), None)
    except TypeError:
        found.append(
            f"{place}: encrypted with a passphrase, which nginx can't enter; decrypt it with"
            " `openssl pkey -in KEY`"
        )
    except (ValueError, UnsupportedAlgorithm):
        found.append(f"{place}: can't be read; expected a private key in PEM")
    return None


# ------------------------------------------------------------------------------------------ the key


def _of_key(private: PrivateKeyTypes, certificates: Certificates, places: Places) -> Problems:
    kind = _kind_refused(private)
    if kind:
        yield f"{kind}, which browsers refuse; {_KEYS}"
    if _public(private.public_key()) != _public(certificates[0].public_key()):
        yield f"the key of another certificate than the first one of {places.chain}"


def _kind_refused(private: PrivateKeyTypes) -> str:
    """What kind of key it is, where browsers take no such key; otherwise empty."""
    if isinstance(private, rsa.RSAPrivateKey):
        size = private.key_size
        return f"RSA of {size} bits" if size < _LEAST_RSA else ""
    if isinstance(private, ec.EllipticCurvePrivateKey):
        curve = private.curve.name
        return curve if curve not in _CURVES else ""
    return type(private).__name__.strip("_").replace("PrivateKey", "")


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


# ---------------------------------------------------------------------------------------- the chain


def _order(certificates: Certificates, roots: Certificates) -> Problems:
    """What is wrong with the sequence from the leaf to a root."""
    if len(certificates) == 1 and _signs_itself(certificates[0]):
        yield (
            "signs itself, which no browser trusts; get one from a CA, or set `tls: local-ca` for"
            " development"
        )
        return
    order = _path(certificates)
    if order != sorted(order):
        numbers = ", ".join(str(index + 1) for index in order)
        yield f"wrong order; write the certificates in the order {numbers}"
        return
    for index, certificate in enumerate(certificates):
        if index not in order:
            name = common_name(certificate.subject)
            yield f"certificate {index + 1} ({name!r}) is no part of the chain; remove it"
            return
    if roots and not _leads_to_root(certificates, roots):
        issuer = common_name(certificates[-1].issuer)
        yield (
            f"incomplete: {issuer!r}, which issued the last certificate, is not in this computer's"
            " trust store; append the CA's intermediates, or the root of a private CA"
        )


def _is_disordered(certificates: Certificates) -> bool:
    order = _path(certificates)
    return order != sorted(order)


def _path(certificates: Certificates) -> list[int]:
    """The places of the certificates from the leaf upwards, as far as each one's issuer is here."""
    place = _leaf(certificates)
    path = [place]
    while (above := _issuer_of(path[-1], certificates, path)) is not None:
        path.append(above)
    return path


def _leaf(certificates: Certificates) -> int:
    """The place of the first certificate that has issued none of the others; 0 where each has."""
    for place, certificate in enumerate(certificates):
        others = (one for one in certificates if one is not certificate)
        if not any(issued(certificate, one) for one in others):
            return place
    return 0


def _issuer_of(place: int, certificates: Certificates, path: list[int]) -> int | None:
    for other, certificate in enumerate(certificates):
        if other not in path and issued(certificate, certificates[place]):
            return other
    return None


def issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether one certificate has signed the other, and may."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return _is_authority(issuer)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _signs_itself(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer


def _leads_to_root(certificates: Certificates, roots: Certificates) -> bool:
    """Whether the chain ends at a root: its own, or one of the trust store. One of its certificates
    may be a trusted root that another, older root has signed as well."""
    if _signs_itself(certificates[-1]):
        return True
    if any(issued(root, certificates[-1]) for root in roots):
        return True
    known = {(_public(root.public_key()), root.subject) for root in roots}
    return any((_public(one.public_key()), one.subject) in known for one in certificates)


def common_name(name: x509.Name) -> str:
    """What people call a subject or an issuer."""
    for oid in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(oid):
            return str(attribute.value)
    return name.rfc4514_string() or "without a name"


# ----------------------------------------------------------------------------------------- the leaf


def _of_leaf(leaf: x509.Certificate, names: Sequence[str]) -> Problems:
    """What the certificate is not good for."""
    if not _is_for_servers(leaf):
        yield "not for servers (extended key usage); get one for server authentication"
    missing = uncovered(leaf, names)
    if not missing:
        return
    wanted = ", ".join(names)
    held = names_of(leaf)
    if not held:
        yield (
            "the certificate has no subjectAltName, and browsers read no other name; get one for"
            f" {wanted}"
        )
        return
    yield (
        f"the certificate is for {', '.join(held)}, not for {', '.join(missing)}; get one for"
        f" {wanted}"
    )


def _is_for_servers(leaf: x509.Certificate) -> bool:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    allowed = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    return any(one in allowed for one in usage)


def names_of(leaf: x509.Certificate) -> list[str]:
    """The names and addresses that a certificate is for, as it has them."""
    try:
        held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in held.get_values_for_type(x509.IPAddress)]
    return [*held.get_values_for_type(x509.DNSName), *addresses]


def uncovered(leaf: x509.Certificate, names: Iterable[str]) -> list[str]:
    """Which of these names and addresses the certificate is not for (RFC 9525, 6.3 and 6.5)."""
    held = names_of(leaf)
    return [name for name in names if not any(_matches(one, name) for one in held)]


def _matches(held: str, name: str) -> bool:
    """Whether what a certificate has covers a name or an address."""
    try:
        return ip_address(held) == ip_address(name)
    except ValueError:
        held, name = held.lower(), name.lower()
    if not held.startswith("*."):
        return held == name
    label, _, rest = name.partition(".")
    return bool(label) and rest == held.removeprefix("*.")


# ---------------------------------------------------------------------------------------- the time


def _times(certificates: Certificates, now: datetime) -> Problems:
    """Which certificate is not valid now."""
    for number, certificate in enumerate(certificates, 1):
        which = "" if number == 1 else f"certificate {number} ({_subject(certificate)}) "
        state = age_of(certificate, now).state
        if state is State.EXPIRED:
            yield f"{which}expired on {report.moment(certificate.not_valid_after_utc)}; {_NEW}"
        elif state is State.EARLY:
            begins = report.moment(certificate.not_valid_before_utc)
            yield f"{which}not valid before {begins}; wait, or correct this computer's clock"


_NEW = "get a new certificate"


def _subject(certificate: x509.Certificate) -> str:
    return repr(common_name(certificate.subject))
