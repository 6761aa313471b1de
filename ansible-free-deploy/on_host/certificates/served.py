"""Which certificate this host's nginx serves: a handshake says it, not a file."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from on_host.certificates import versions
from on_host.configuration.state import current_record

if TYPE_CHECKING:
    import ssl

PORT = 443  # nginx's; another one in tests only
_WAIT_S = 5.0  # for a handshake on the host itself
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)


def is_on_disk(lineage: str) -> bool:
    """Whether nginx serves the lineage's current version."""
    return bool(found := leaf(lineage)) and served() == found


def is_same(chain: str, other: str) -> bool:
    """Whether both begin with one certificate."""
    return bool(found := first(chain)) and first(other) == found


def leaf(lineage: str) -> bytes:
    """The first certificate of the current version, as DER; empty where there is none."""
    pair = versions.pair(lineage)
    return first(pair[0]) if pair else b""


def first(chain: str) -> bytes:
    """The first certificate of a PEM text, as DER; empty where there is none."""
    import ssl  # milliseconds that a host without https never needs

    found = _CERTIFICATE.search(chain)
    try:
        return ssl.PEM_cert_to_DER_cert(found[0]) if found else b""
    except ValueError:
        return b""


def served() -> bytes:
    """The certificate that is served for the role's name, as DER; empty where no handshake
    succeeds."""
    try:
        return handshake(current_record().get("probes", {}).get("host", ""), _WAIT_S)
    except OSError:
        return b""


def served_pem() -> str:
    """The same as text."""
    import ssl

    found = served()
    return ssl.DER_cert_to_PEM_cert(found) if found else ""


def handshake(authority: str, seconds: float) -> bytes:
    """The certificate, as DER, that nginx serves to who asks for this authority. Raises OSError
    where no handshake succeeds."""
    with (
        socket.create_connection(("127.0.0.1", PORT), seconds) as plain,
        tls_with(plain, authority) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def tls_with(plain: socket.socket, authority: str) -> ssl.SSLSocket:
    """The same connection over TLS, asking for this authority's certificate; whatever comes is
    taken: whether browsers trust it is asked from outside.

    An authority is a host name or an IP, perhaps with a port. Python sends no name for an IP, which
    SNI can't carry (RFC 6066).
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host = authority.rpartition("]")[0].lstrip("[") or authority.partition(":")[0]
    return context.wrap_socket(plain, server_hostname=host or None)
