"""Where what belongs to ACME lies on this host."""

from __future__ import annotations

from pathlib import Path

from on_host import places

TLS = places.KIT / "tls"
ACCOUNTS = TLS / "certbot"  # a folder for each environment: accounts are never shared
RECORD = TLS / "renewal.json"
VENVS = places.ROOT / "opt/origin-kit-certbot"
WORK = places.ROOT / "var/lib/origin-kit/certbot"
LOGS = places.ROOT / "var/log/origin-kit/certbot"
# Served at /.well-known/acme-challenge/ by every generation, of both roles.
WEBROOT = places.ROOT / "var/lib/origin-kit/acme"
# Of the current generation: what to ask for. Only one with `tls: acme` has it.
WANTED = places.CONFIGURATION / "acme.json"


def config(environment: str) -> Path:
    """certbot's configuration folder for an environment."""
    return ACCOUNTS / environment
