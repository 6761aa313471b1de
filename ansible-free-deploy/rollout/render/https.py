"""nginx over https, and what it answers on port 80 next to it."""

from __future__ import annotations

import json
import re

from infra.core.contract import Contract, Role
from infra.core.origins import parse_origin
from rollout.render import gates, places
from rollout.render.templates import fill
from rollout.render.units import PLAIN, SECURE

# Mozilla's intermediate guideline, version 5.8: https://ssl-config.mozilla.org/guidelines/5.8.json
# TLS 1.3 has suites of its own, all of them in it. Of its groups X25519MLKEM768 is left out: Debian
# 12's OpenSSL does not know it, and nginx would not start.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
GROUPS = ("X25519", "prime256v1", "secp384r1")

# One server of a socket has these options. The backlog is the unit's, for nginx sets its own
# otherwise.
_ONCE = " default_server backlog=4096"
_TLS = " ssl http2"  # every nginx from 1.9 on knows this spelling


def listen_plain(default: bool = True) -> str:
    """`listen` for port 80. Of the servers on a port one is the default."""
    return _listen(PLAIN, _ONCE if default else "")


def listen_secure(default: bool = True) -> str:
    """`listen` for port 443."""
    return _listen(SECURE, _TLS + (_ONCE if default else ""))


def _listen(addresses: tuple[str, ...], options: str) -> str:
    return "\n".join(f"    listen {address}{options};" for address in addresses)


def listen(contract: Contract, plain: bool) -> str:
    """`listen` of a role's main server; `plain`: port 80 is answered like port 443."""
    if not contract.speaks_https:
        return listen_plain()
    lines = [listen_secure()]
    if plain:
        lines.insert(0, listen_plain())
    return "\n".join(lines)


def tls(contract: Contract, role: str) -> str:
    """The lines of a server on port 443: the role's certificate, and how it is used. Empty without
    https."""
    if not contract.speaks_https:
        return ""
    return (
        "\n"
        + fill(
            "tls.conf",
            certificate=places.certificate(contract.lineage(role)),
            ciphers=":".join(CIPHERS),
            groups=":".join(GROUPS),
        ).rstrip()
    )


def strict_map(contract: Contract) -> str:
    """The http level's variable with the value of Strict-Transport-Security; empty where nobody
    asked for it."""
    if not contract.https.hsts:
        return ""
    return "\n" + fill("hsts.conf", value=contract.https.hsts)


def strict_header(contract: Contract) -> str:
    """The line that adds Strict-Transport-Security, next to each role's other headers; empty where
    nobody asked for it. A header without a value is not sent, so none goes over http."""
    if not contract.https.hsts:
        return ""
    return "add_header Strict-Transport-Security $origin_kit_strict always;\n"


def challenge() -> str:
    """The location of a server where a CA asks for its proof (RFC 8555, section 8.3)."""
    return fill("challenge.conf", webroot=places.WEBROOT).rstrip()


# ----------------------------------------------------------------------------------------- the API


def deny(
    contract: Contract,
    limits: str,
    shortcuts: str,
    before: str,
) -> str:
    """The server on port 80 of an API that is called over https alone; none where it is not.

    It never redirects a page's request: on the way its origin would become `null`
    (https://fetch.spec.whatwg.org/#http-redirect-fetch).
    """
    if contract.answers_http:
        return ""
    return "\n" + fill(
        "deny.conf",
        listen=listen_plain(),
        targets=_targets(contract.backend),
        limits=limits,
        challenge=challenge(),
        shortcuts=shortcuts,
        before=before,
        said=what_to_call(contract.backend.origin),
        gate=gates.of_api(contract),
    )


def what_to_call(backend: str) -> str:
    """The answer to who calls the API over http, as JSON."""
    said = {"detail": f"This API is called over https alone: {backend}", "backend": backend}
    return json.dumps(said)


def _targets(backend: Role) -> str:
    """Lines of the map from the host's name to the origin that who opens it is sent to. Keys are
    patterns, because nginx refuses long plain ones."""
    lines = [f'    default "{backend.origin}";']
    for name, origin in zip(backend.aliases, backend.alias_origins, strict=True):
        lines.append(f'    "~^{re.escape(name)}$" "{origin}";')
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------- the page


def former_http(role: Role) -> tuple[str, ...]:
    """The hosts of the former origins that are still answered over http, as `server_name` has
    them."""
    plain = [origin for origin in role.former if origin.startswith("http:")]
    return tuple(parse_origin(origin, production=False).host for origin in plain)
