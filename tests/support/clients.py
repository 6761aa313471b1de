"""Clients of a pair that trust the kit's own CA."""

from __future__ import annotations

import functools
import http.client
import socket
import ssl
from pathlib import Path

import pytest

from infra.core.contract import Role
from rollout.certificates import local_ca
from tests.support.certificates import Authority
from tests.support.kit import Kit


def root_of(kit: Kit) -> Path:
    """The certificate of the CA that issues for `tls: local-ca`."""
    return kit.home / "tls" / "ca.pem"


@functools.cache
def trusting(root: Path) -> ssl.SSLContext:
    """A client's side of TLS that trusts this root (a PEM file) and no other."""
    return ssl.create_default_context(cafile=root)


def authority_of(kit: Kit) -> Authority:
    """That CA, which then issues for a test's own servers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORIGIN_KIT_HOME", str(kit.home))
        own = local_ca.authority()
    return Authority(own.certificate, own.key)


def dial(kit: Kit, role: Role, timeout: float = 20) -> socket.socket:
    """A connection to a role's first host as a client of its origin has it: for https over TLS."""
    origin, address = role.parsed_origin, role.hosts[0].address
    plain = socket.create_connection((address, origin.port_number), timeout)
    if origin.scheme == "http":
        return plain
    return trusting(root_of(kit)).wrap_socket(plain, server_hostname=origin.hostname)


class Connection(http.client.HTTPConnection):
    """The same for HTTP/1.1 requests, with the origin's `Host`. A request connects where it has
    to."""

    def __init__(self, kit: Kit, role: Role, timeout: float = 20) -> None:
        super().__init__(role.parsed_origin.authority, timeout=timeout)
        self.dial = functools.partial(dial, kit, role, timeout)

    def connect(self) -> None:
        self.sock = self.dial()


def connected(kit: Kit, role: Role, timeout: float = 20) -> http.client.HTTPConnection:
    """One that is open."""
    made = Connection(kit, role, timeout)
    made.connect()
    return made


def ask(
    kit: Kit, role: Role, path: str, timeout: float = 20, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    """GET as it is written here, on a connection of its own: status, body and headers."""
    connection = connected(kit, role, timeout)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=given)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("latin-1"), answer.headers
    finally:
        connection.close()
