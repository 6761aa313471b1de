"""TLS of browser-like requests from here: the system's trust store, and the user's own local CA."""

from __future__ import annotations

import http.client
import sqlite3
import ssl
import sys
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from infra.core.origins import Origin
from rollout.certificates import checked

# Where Chromium keeps what its user trusts: the first one that exists.
# https://chromium.googlesource.com/chromium/src/+/main/docs/linux/cert_management.md
_NSS = (Path(".pki/nssdb/cert9.db"), Path(".local/share/pki/nssdb/cert9.db"))
_HAS_CERTIFICATE = "SELECT count(*) FROM nssPublic WHERE a11 = ?"  # a11: CKA_VALUE, the DER bytes


def system() -> ssl.SSLContext:
    """The trust store of the system; SSL_CERT_FILE and SSL_CERT_DIR take its place.

    https://docs.openssl.org/master/man3/SSL_CTX_load_verify_locations/
    """
    return ssl.create_default_context()


def context() -> ssl.SSLContext:
    """The trust store of the system, and the local CA's root where there is one."""
    made = system()
    root = checked.ca_path()
    if root.is_file():
        made.load_verify_locations(root)
    return made


def unverified() -> ssl.SSLContext:
    """Whatever is served is accepted; no trust store is read."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


@dataclass(frozen=True)
class Place:
    """Where to ask: an origin, at an address that may be another one than its name's. Over https
    its certificate is `verified`."""

    origin: Origin
    address: str
    verified: bool = True

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        """A connection that is not yet made; over TLS if the origin is https."""
        if self.origin.scheme == "http":
            return http.client.HTTPConnection(
                self.address, self.origin.port_number, timeout=timeout
            )
        return _Connection(self.origin, self.address, timeout, self._context)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Reading the trust store takes longer than a request, so it is read once."""
        return context() if self.verified else unverified()


class _Connection(http.client.HTTPConnection):
    """TLS with an address, whose certificate has to be the origin's."""

    def __init__(
        self,
        origin: Origin,
        address: str,
        timeout: float,
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(address, origin.port_number, timeout=timeout)
        self._name = origin.hostname
        self._context = context

    def connect(self) -> None:
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)


def browsers_trust(certificate: bytes) -> bool | None:
    """Whether Chromium of this user knows this root (DER); None where that can't be found out."""
    if sys.platform != "linux":
        return None
    for place in _NSS:
        database = Path.home() / place
        if database.exists():
            return _holds(database, certificate)
    return False


def _holds(database: Path, certificate: bytes) -> bool | None:
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as opened:
            (count,) = opened.execute(_HAS_CERTIFICATE, (certificate,)).fetchone()
            return bool(count)
    except sqlite3.Error:
        return None
