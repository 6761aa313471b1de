"""The roots that this computer trusts."""

from __future__ import annotations

import functools
import os
import ssl
from pathlib import Path

from cryptography import x509

# Debian, Red Hat, Alpine and macOS, where OpenSSL's own default file is missing.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def bundle() -> Path | None:
    """The file with the roots: $SSL_CERT_FILE, else OpenSSL's default, else the system's; None
    where there is none."""
    chosen = os.environ.get("SSL_CERT_FILE")
    if chosen:
        return Path(chosen)
    paths = [ssl.get_default_verify_paths().cafile, *_BUNDLES]
    for path in paths:
        if path and Path(path).is_file():
            return Path(path)
    return None


def roots() -> tuple[x509.Certificate, ...]:
    """The roots in that file; none where there is no such file."""
    path = bundle()
    return _roots_in(path) if path and path.is_file() else ()


@functools.cache
def _roots_in(path: Path) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
