"""Two machines with certificates of an ACME server that runs here."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography import x509

from infra.core.contract import Contract, Host
from infra.local import networks
from rollout import outputs
from tests.support.kit import Kit, Stack
from tests.support.pebble import LIFETIMES, LIMITED, Pebble, pebble

TLS = "/etc/origin-kit/tls"
RENEWAL = "origin-kit-renew"


@dataclass(frozen=True)
class Acme:
    """Two machines, and `ca`, an ACME server on this one."""

    stack: Stack
    ca: Pebble
    address: str  # where the machines reach it
    folder: Path

    @property
    def contract(self) -> Contract:
        """As `fab outputs` prints it now, without a process for it."""
        return outputs.read(self.stack.name)

    @property
    def config(self) -> dict[str, object]:
        """The keys of a stack that has its certificates from there."""
        return {"tls": "acme", "acme_directory": self.ca.directory, "extra_origins": []}

    def host(self, role: str) -> Host:
        found: Host = getattr(self.contract, role).hosts[0]
        return found

    def name(self, role: str) -> str:
        return self.contract.certificate_names(role)[0]

    def run(self, role: str, command: str, check: bool = True) -> str:
        return self.stack.kit.ssh(self.host(role), command, check)

    def resolve(self, domain: str) -> None:
        """Have the CA find the page and the API by their names below a domain."""
        for role, label in (("frontend", "app"), ("backend", "api")):
            self.ca.resolve(f"{label}.{domain}", self.host(role).address)

    def trusting(self) -> ssl.SSLContext:
        """What a browser trusts that knows this CA and no other."""
        return ssl.create_default_context(cadata=self.ca.root())

    def served(self, role: str, trust: ssl.SSLContext | None = None) -> x509.Certificate:
        """The certificate of a handshake, verified unless `trust` does without."""
        address = (self.host(role).address, 443)
        context = trust or self.trusting()
        with (
            socket.create_connection(address, 10) as plain,
            context.wrap_socket(plain, server_hostname=self.name(role)) as secured,
        ):
            return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")

    def on_disk(self, role: str) -> x509.Certificate:
        """The leaf in the store of the role's host."""
        place = f"{TLS}/{self.contract.lineage(role)}/current/chain.pem"
        return x509.load_pem_x509_certificate(self.run(role, f"cat {place}").encode())

    def serials(self, trust: ssl.SSLContext | None = None) -> dict[str, int]:
        """What is served, by role; it is what lies on the disk."""
        found = {role: self.served(role, trust).serial_number for role in ("backend", "frontend")}
        assert found == {role: self.on_disk(role).serial_number for role in found}
        return found

    def renew(self, *words: str, status: int = 0) -> str:
        """`fab tls.renew`, and what it says."""
        done = self.stack.fab("tls.renew", *words, status=status)
        return done.stderr if status else done.stdout

    def record(self, role: str) -> dict[str, object]:
        """What the host has noted of its last check."""
        found = json.loads(self.run(role, f"cat {TLS}/renewal.json"))
        record: dict[str, object] = found[self.contract.lineage(role)]
        return record

    def forget_when_to_ask(self, role: str) -> None:
        """certbot asks for renewal information every six hours at most."""
        self.run(role, f"sed -i /ari_retry_after/d {TLS}/certbot/*/renewal/*.conf")

    def trust(self, ca: Pebble | None = None) -> None:
        """As for a CA of your own: its certificate in the hosts' trust store (docs/https.md)."""
        place = "/usr/local/share/ca-certificates/acme-server.crt"
        text = (ca or self.ca).ca
        for _, host in self.stack.contract.hosts:
            self.stack.kit.ssh(host, f"cat > {place} <<'END'\n{text}END\nupdate-ca-certificates")

    @contextmanager
    def limited(self) -> Iterator[str]:
        """New orders are refused as Let's Encrypt refuses them; in which words."""
        self.ca.front.limited = True
        try:
            yield LIMITED
        finally:
            self.ca.front.limited = False

    @contextmanager
    def dead(self) -> Iterator[str]:
        """Nobody listens where the CA's directory is; what is said then."""
        self.ca.front.close()
        try:
            yield f"{self.ca.directory} can't be reached: Connection refused"
        finally:
            self.ca.front.open()


@contextmanager
def acme_pair(folder: Path, lifetimes: Mapping[str, int] = LIFETIMES) -> Iterator[Acme]:
    """A pair that is not up yet; this process and its commands trust the certificates of `ca`."""
    subnet = networks.free_subnet(str(folder), networks.taken())
    address = str(IPv4Network(subnet)[1])
    trusted = folder / "trusted.pem"
    kit = Kit(folder / "home", {"SSL_CERT_FILE": str(trusted)})
    with (
        pytest.MonkeyPatch.context() as patch,
        pebble(folder / "pebble", address, lifetimes=lifetimes) as ca,
        Stack.of(kit) as stack,
    ):
        patch.setenv("ORIGIN_KIT_HOME", str(kit.home))
        trusted.write_text(ca.root())
        stack.usual = {"subnet": subnet}
        stack.write()
        yield Acme(stack, ca, address, folder)
