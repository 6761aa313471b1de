"""Blank pages for a browser here, over http and https, under any origin that its resolver leads to
them."""

from __future__ import annotations

import ssl
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rollout.certificates.pair import key_pem, pem
from rollout.doctor.observations import Observations

_BLANK = "<!doctype html><title>doctor</title>"
_LIFETIME = timedelta(hours=6)


@dataclass(frozen=True)
class Pages:
    """The ports of the pages on 127.0.0.1 by scheme, and the key of the https ones, which no CA has
    signed."""

    ports: dict[str, int]
    key: str


def spki_of(certificate: x509.Certificate) -> str:
    """The key of a certificate as Chromium's --ignore-certificate-errors-spki-list takes it."""
    der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(der).digest()).decode()


@contextmanager
def serving(observed: Observations) -> Iterator[Pages]:
    """Servers for blank pages, the frontend's with the policy that the live one sends."""
    frontend = observed.contract.frontend.parsed_origin.authority
    csp = observed.page.csp

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = _BLANK.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            if csp and self.headers["Host"] == frontend:
                self.send_header("Content-Security-Policy", csp)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing: nobody reads it."""

    certificate, context = _own_certificate()
    with ExitStack() as stack:
        ports = {
            "http": stack.enter_context(_port(Handler, None)),
            "https": stack.enter_context(_port(Handler, context)),
        }
        yield Pages(ports, spki_of(certificate))


@contextmanager
def _port(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None) -> Iterator[int]:
    server = _Server(("127.0.0.1", 0), handler)
    server.context = context
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """Serves the pages that ask. It is normal that a browser opens a connection and closes it
    unused."""

    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In a thread of each connection: a handshake may take its time."""
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


def _own_certificate() -> tuple[x509.Certificate, ssl.SSLContext]:
    """A certificate that signs itself, and a server's side of TLS with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "origin-kit-doctor")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFETIME)
        .not_valid_after(now + _LIFETIME)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:  # 0700
        file = Path(folder, "pair.pem")
        file.write_text(key_pem(key) + pem(certificate))
        context.load_cert_chain(file)
    return certificate, context
