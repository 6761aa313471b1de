"""Clients of a pair that trust the kit's own CA."""

from __future__ import annotations

import functools
import socket
import ssl
from pathlib import Path

from infra.core.contract import Role
from tests.support.kit import Kit


def root_of(kit: Kit) -> Path:
    """The certificate of the CA that issues for `tls: local-ca`."""
    return kit.home / "tls" / "ca.pem"


@functools.cache
def trusting(root: Path) -> ssl.SSLContext:
    """A client's side of TLS that trusts this root (a PEM file) and no other."""
    return ssl.create_default_context(cafile=root)


def dial(kit: Kit, role: Role) -> socket.socket:
    """A connection to a role's first host as a client of its origin has it: for https over TLS."""
    origin, address = role.parsed_origin, role.hosts[0].address
    plain = socket.create_connection((address, origin.port_number), timeout=20)
    if origin.scheme == "http":
        return plain
    return trusting(root_of(kit)).wrap_socket(plain, server_hostname=origin.hostname)
