"""Which certificate this host's nginx serves: a handshake says it, not a file."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from on_host.certificates import versions
from on_host.configuration.state import current_record

if TYPE_CHECKING:
    import ssl

ADDRESS = ("127.0.0.1", 443)
_WAIT_S = 5.0  # for a handshake on the host itself
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)


def is_on_disk(lineage: str) -> bool:
    """Whether nginx serves the lineage's current version."""
    return bool(found := leaf(lineage)) and served() == found


def leaf(lineage: str) -> bytes:
    """The first certificate of the current version, as DER; empty where there is none."""
    import ssl  # milliseconds that a host without https never needs

    pair = versions.pair(lineage)
    first = _CERTIFICATE.search(pair[0]) if pair else None
    try:
        return ssl.PEM_cert_to_DER_cert(first[0]) if first else b""
    except ValueError:
        return b""


def served() -> bytes:
    """The certificate that is served for the role's name, as DER; empty where no handshake
    succeeds."""
    import ssl

    try:
        with (
            socket.create_connection(ADDRESS, _WAIT_S) as plain,
            _context().wrap_socket(plain, server_hostname=name()) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""
    except (OSError, ssl.SSLError):
        return b""


def served_pem() -> str:
    """The same as text."""
    import ssl

    found = served()
    return ssl.DER_cert_to_PEM_cert(found) if found else ""


def _context() -> ssl.SSLContext:
    """It verifies nothing: whether browsers trust the certificate is asked from outside."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def name() -> str | None:
    """The role's name, for SNI; None for a bare IP, which SNI can't carry (RFC 6066)."""
    host = str(current_record().get("probes", {}).get("host", ""))
    bare = re.sub(r":\d+$", "", host).strip("[]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return bare or None
    return None
