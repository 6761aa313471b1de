"""`tls: local-ca`: a CA of this user's own, made once, and the certificates that it issues.

    tls/ca.pem                      its certificate, for trust stores
    tls/ca-key.pem                  its key, 0600
    tls/pairs/STACK.ROLE.pem        a role's key and certificate, 0600; `checked` has a note of it

All of it lies in the kit's home, which only its owner can enter. The CA stays when the last stack
goes: browsers may trust it, and the next stack uses it again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.core.errors import KitError
from infra.core.home import CERTIFICATES, KIT, claim, home, locked, private, user_name
from rollout.certificates import checked
from rollout.certificates.pair import Pair, issued, key_pem, names_of, pem

LIFETIME = timedelta(days=365)
_LIFETIME_OF_CA = timedelta(days=3650)
_EARLIER = timedelta(hours=1)  # a machine's clock may be behind
_LONGEST_NAME = 64  # of a common name, by X.520
# Where Debian's update-ca-certificates looks; the home itself can't be entered by browsers.
INSTALLED = f"/usr/local/share/ca-certificates/{KIT}.crt"


class LocalCaError(KitError):
    """The user's own CA can't be used."""


@dataclass(frozen=True)
class Authority:
    """The CA: its certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def certificate_path() -> Path:
    """Where the CA's certificate is, made or not."""
    return checked.ca_path()


def _key_path() -> Path:
    return home() / CERTIFICATES / "ca-key.pem"


def _folder() -> Path:
    claim()
    return private(home() / CERTIFICATES)


# ------------------------------------------------------------------------------------------ the CA


def authority(at: datetime | None = None) -> Authority:
    """The CA, made on first use, and made again when it would end before what it issues.

    Raises LocalCaError where only a part of it is left.
    """
    moment = at or now()
    with locked(_folder() / ".lock"):
        found = _read()
        if found is None or _ends_too_soon(found.certificate, moment):
            found = _make(moment)
    return found


def _ends_too_soon(certificate: x509.Certificate, moment: datetime) -> bool:
    return certificate.not_valid_after_utc < moment + LIFETIME


def _read() -> Authority | None:
    path, key_path = certificate_path(), _key_path()
    if not path.exists():
        return None
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), None)
    except (OSError, ValueError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise LocalCaError(
            "missing or unreadable, and certificates can't be made without it",
            where=str(key_path),
            cure=f"remove {path.parent}, and have browsers trust the CA that is made then",
        )
    key_path.chmod(0o600)
    return Authority(certificate, key)


def _make(moment: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    owner = f"{user_name(os.geteuid())}@{os.uname().nodename}"
    name = _name(f"{KIT} CA of {owner}")
    usage = _usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _begun(name, name, key.public_key(), moment, _LIFETIME_OF_CA)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(_key_path(), key_pem(key))
    _write(certificate_path(), pem(certificate), 0o644)
    return Authority(certificate, key)


# --------------------------------------------------------------------------------------- its pairs


def pair_for(
    stack: str,
    role: str,
    names: Sequence[str],
    at: datetime | None = None,
) -> Pair:
    """The pair of a stack's role for these names and addresses.

    It is made where there is none, where it is for other names, and when a third of its time is
    left. Raises LocalCaError.
    """
    if not names:
        raise LocalCaError(f"no name to make a certificate of the {role} for")
    moment = at or now()
    found = kept(stack, role, names, moment)
    if found is None:
        found = _issue(authority(moment), names, moment)
        private(_folder() / "pairs")
        _write(checked.pair_path(stack, role), found.key + found.chain)
    checked.note(stack, role, names, found.age(moment))
    return found


def kept(
    stack: str,
    role: str,
    names: Sequence[str],
    at: datetime | None = None,
) -> Pair | None:
    """The pair that a deploy would take as it is, or None; nothing is written."""
    try:
        pair = Pair(*checked.halves(checked.pair_path(stack, role).read_text()))
        fits = sorted(names_of(pair.leaf)) == sorted(_canonical(name) for name in names)
        by = x509.load_pem_x509_certificate(certificate_path().read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not fits or not issued(by, pair.leaf) or pair.age(at or now()).is_due:
        return None
    return pair


def _issue(by: Authority, names: Sequence[str], moment: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    of_issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
    certificate = (
        _begun(
            _name(names[0]),
            by.certificate.subject,
            key.public_key(),
            moment,
            LIFETIME,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(server, critical=False)
        .add_extension(alternative, critical=False)
        .add_extension(of_issuer, critical=False)
        .sign(by.key, hashes.SHA256())
    )
    return Pair(pem(certificate), key_pem(key))


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    moment: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    """What every certificate has."""
    begins = moment - _EARLIER
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(**allowed: bool) -> x509.KeyUsage:
    every = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**every, **allowed})


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_LONGEST_NAME])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _canonical(name: str) -> str:
    try:
        return str(ip_address(name))
    except ValueError:
        return name


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader sees the old or the new one, and never a key with another
    mode."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(path)


# -------------------------------------------------------------------------------------------- trust


def how_to_trust() -> str:
    """How browsers and other programs of this user trust the CA; lines for a terminal."""
    by = authority()
    path = certificate_path()
    digest = by.certificate.fingerprint(hashes.SHA256()).hex()
    name = f"{KIT} {digest[:8]}"
    return "\n".join(
        [
            f"certificates are from your own CA, {path} (SHA-256 {digest[:16]}…); to trust it:",
            f"  Debian    sudo install -m 644 {path} {INSTALLED} && sudo update-ca-certificates",
            f'  Chromium  certutil -d sql:"$HOME"/.pki/nssdb -A -a -t C,, -n "{name}" -i'
            f" {INSTALLED}",
            "            (after the first line; certutil is in Debian's libnss3-tools)",
            "  Firefox   Settings, Privacy & Security, View Certificates, Authorities, Import:"
            f" {INSTALLED}",
            f"  curl      nothing after the first line; without it: curl --cacert {path}",
        ]
    )
