"""A TLS handshake with a role's public address, as a browser makes it: what is served there, and
why a browser does not accept it."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from cryptography import x509

from infra.core.origins import Origin
from rollout import tls
from rollout.certificates import local_ca

# X509_V_ERR_*: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
EXPIRED = 10
NOT_YET_VALID = 9
SELF_SIGNED = 18
SELF_SIGNED_IN_CHAIN = 19
ISSUER_UNKNOWN = 20
FIRST_UNVERIFIED = 21
WRONG_HOST = 62
WRONG_ADDRESS = 64
UNTRUSTED = (SELF_SIGNED, SELF_SIGNED_IN_CHAIN, ISSUER_UNKNOWN, FIRST_UNVERIFIED)

# Below what browsers accept, so that it can be said what the server speaks.
_ANY_CIPHER = "ALL:@SECLEVEL=0"


@dataclass(frozen=True)
class Handshake:
    """What became of one handshake, at a time.

    `problem` is OpenSSL's sentence, empty where a browser accepts what is served. `code` is the
    result of the verification (X509_V_ERR_*), 0 where the certificate is not the reason; `reason`
    is then OpenSSL's name of it. `version` is the protocol that the server chooses, `chain` what it
    sends, DER, its own certificate first; both are empty where that is not known. `by_local_ca`: it
    is accepted only because the user's own CA is; `browsers_trust`: whether Chromium of this user
    knows that CA, None where that is not known.
    """

    at: datetime
    problem: str = ""
    code: int = 0
    reason: str = ""
    version: str = ""
    chain: tuple[bytes, ...] = ()
    by_local_ca: bool = False
    browsers_trust: bool | None = None

    @cached_property
    def leaf(self) -> x509.Certificate | None:
        """The server's own certificate; None where that is not known."""
        return x509.load_der_x509_certificate(self.chain[0]) if self.chain else None


class NoConnection(Exception):
    """Nothing takes the connection; the text says why."""


def of(origin: Origin, address: str, timeout: float) -> Handshake:
    """Shake hands with the address for an https origin. Raises NoConnection."""
    found = _verified(origin, address, timeout, tls.system())
    own_ca = local_ca.certificate_path()
    if found.code in UNTRUSTED and own_ca.is_file():
        again = _verified(origin, address, timeout, tls.context())
        root = ssl.PEM_cert_to_DER_cert(own_ca.read_text())
        known = tls.browsers_trust(root)
        found = replace(
            again,
            by_local_ca=not again.problem,
            browsers_trust=known,
        )
    if found.problem:
        return _with_what_is_served(found, origin, address, timeout)
    return found


def _verified(
    origin: Origin,
    address: str,
    timeout: float,
    context: ssl.SSLContext,
) -> Handshake:
    """One handshake, with verification."""
    at = datetime.now(UTC)
    with _connect(origin, address, timeout) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=origin.hostname) as connection:
                return Handshake(
                    at,
                    version=connection.version() or "",
                    chain=_chain(connection),
                )
        except ssl.SSLCertVerificationError as problem:
            return Handshake(at, problem.verify_message, problem.verify_code)
        except ssl.SSLError as problem:
            return Handshake(at, _sentence(problem), reason=problem.reason or "")
        except OSError as problem:  # closed, or silent
            return Handshake(at, str(problem) or type(problem).__name__)


def _sentence(problem: ssl.SSLError) -> str:
    """`no protocols available` of `[SSL: NO_PROTOCOLS_AVAILABLE] no protocols … (_ssl.c:992)`."""
    text = problem.strerror or str(problem)
    return text.partition("] ")[2].partition(" (_ssl")[0] or text


def _with_what_is_served(
    found: Handshake,
    origin: Origin,
    address: str,
    timeout: float,
) -> Handshake:
    """The same with version and chain, which a handshake without verification shows."""
    context = tls.unverified()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers(_ANY_CIPHER)
    try:
        with (
            _connect(origin, address, timeout) as plain,
            context.wrap_socket(plain, server_hostname=origin.hostname) as connection,
        ):
            return replace(
                found,
                version=connection.version() or "",
                chain=_chain(connection),
            )
    except (OSError, NoConnection):
        return found


def _connect(
    origin: Origin,
    address: str,
    timeout: float,
) -> socket.socket:
    try:
        return socket.create_connection((address, origin.port_number), timeout=timeout)
    except OSError as problem:
        raise NoConnection(str(problem) or type(problem).__name__) from None


def _chain(connection: ssl.SSLSocket) -> tuple[bytes, ...]:
    """What the server sent, DER. SSLSocket.get_unverified_chain() is public from Python 3.13 on."""
    made: Any = connection
    if hasattr(made, "get_unverified_chain"):
        return tuple(made.get_unverified_chain())
    return tuple(
        ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in made._sslobj.get_unverified_chain()
    )
