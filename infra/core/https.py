"""HTTPS in the contract: where certificates come from, whom they name, which keys fit together.
Pure.

A certificate is data, not configuration: no generation holds one. nginx reads it from a folder that
is named by its lineage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from infra.core.keys import KEYS
from infra.core.origins import Origin, is_reachable, parse_origin

OFF, ACME, FILES, LOCAL_CA = "off", "acme", "files", "local-ca"

# https://letsencrypt.org/docs/acme-protocol-updates/ and .../staging-environment/
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

HSTS_WITHOUT_TLS = "browsers take it over https alone, and tls is off; take it out"
HSTS_OF_ADDRESS = (
    "there is no domain, and browsers ignore it for an IP (RFC 6797, section 8.1.1); take it out"
)
TWO_DIRECTORIES = "Let's Encrypt's staging is another server than acme_directory; keep one of both"
EAB_WITHOUT_DIRECTORY = (
    "Let's Encrypt has no such keys; name the server of the CA that gave it in acme_directory"
)
OFF_IN_PRODUCTION = (
    "whoever is on the way reads and changes everything over plain http; set acme or files"
    " (docs/https.md)"
)
LOCAL_IN_PRODUCTION = "no visitor's browser trusts a CA of your own; set acme or files"

LOCAL_AND_PUBLIC = (
    "Let's Encrypt reaches no machine of this host; set local-ca, or name your own CA in"
    " acme_directory"
)

Conflict = tuple[str, str]  # a field of Https, or `tls`; and what is wrong with it


@dataclass(frozen=True)
class Https:
    """How certificates are asked for, and the value of Strict-Transport-Security (empty: none).

    `directory` is as the config has it; `server` is the ACME server that is meant.
    """

    directory: str = KEYS["acme_directory"].default
    staging: bool = KEYS["acme_staging"].default
    email: str = KEYS["acme_email"].default
    profile: str = KEYS["acme_profile"].default
    eab_kid: str = KEYS["acme_eab_kid"].default
    hsts: str = KEYS["hsts"].default

    @property
    def server(self) -> str:
        """The URL of the ACME server's directory."""
        if self.staging:
            return LETS_ENCRYPT_STAGING
        return self.directory or LETS_ENCRYPT


# The config key of each field of Https.
_KEY_OF = {
    key.contract.removeprefix("https."): key.name
    for key in KEYS.values()
    if key.contract.startswith("https.")
}


def scheme_of(tls: str) -> str:
    """The scheme of the roles' origins."""
    return "http" if tls == OFF else "https"


def host_names(origins: Iterable[str]) -> tuple[str, ...]:
    """The host names and IPs (an IPv6 one without brackets) of the origins, each once, in their
    order."""
    hosts = [parse_origin(origin, production=False).hostname for origin in origins]
    return tuple(dict.fromkeys(hosts))


def lineage(tls: str, https: Https, covered: Iterable[str]) -> str:
    """The name of a certificate's folder: the same while it comes from the same place for the same
    names, whatever their order."""
    words = sorted(covered)
    if tls == ACME:
        words.insert(0, https.server)
    return f"{tls}-{hashlib.sha256(chr(0).join(words).encode()).hexdigest()[:16]}"


def conflicts(
    tls: str,
    https: Https,
    production: bool,
    by_name: bool,
) -> Iterator[Conflict]:
    """What does not fit together. `by_name`: the origins are names, not IPs."""
    if tls == LOCAL_CA and production:
        yield "tls", LOCAL_IN_PRODUCTION
    if https.hsts and tls == OFF:
        yield "hsts", HSTS_WITHOUT_TLS
    elif https.hsts and not by_name:
        yield "hsts", HSTS_OF_ADDRESS
    if tls != ACME:
        yield from _unused(tls, https)
    elif https.staging and https.directory:
        yield "staging", TWO_DIRECTORIES
    elif https.eab_kid and not https.directory:
        yield "eab_kid", EAB_WITHOUT_DIRECTORY


def _unused(tls: str, https: Https) -> Iterator[Conflict]:
    for field, key in _KEY_OF.items():
        if key.startswith("acme_") and getattr(https, field):
            yield field, f"tls is {tls}, so nobody is asked; take it out, or set tls: acme"


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong between the keys of a stack's config, by key. `values` holds None for a key
    that has a problem already."""
    tls, domain = values.get("tls"), values.get("domain")
    fields = {field: values.get(name) for field, name in _KEY_OF.items()}
    if None in (tls, domain, *fields.values()):
        return
    https = Https(**cast(dict[str, Any], fields))
    production = bool(values.get("production"))
    for field, text in conflicts(str(tls), https, production, domain != ""):
        yield _KEY_OF.get(field, field), text
    if tls == OFF and production and values.get("cloud") != "local":
        yield "tls", OFF_IN_PRODUCTION
    if tls == ACME and values.get("cloud") == "local" and not https.directory:
        yield "tls", LOCAL_AND_PUBLIC


def misfits(
    tls: str,
    https: Https,
    production: bool,
    own: Mapping[str, Origin],
    covered: Iterable[Origin],
) -> Iterator[tuple[str, str]]:
    """What is wrong between these parts of a contract, by its place there. `own` are the roles'
    origins by role, `covered` all that a certificate has to name."""
    by_name = not any(origin.is_ip for origin in own.values())
    for field, text in conflicts(tls, https, production, by_name):
        yield field if field == "tls" else f"https.{field}", text
    if tls == ACME:
        for text in _not_issued(https, covered):
            yield "tls", text
    scheme = scheme_of(tls)
    for role, origin in own.items():
        if origin.scheme != scheme:
            yield f"{role}.origin", f"tls is {tls}, so write {scheme}://…"


def _not_issued(https: Https, origins: Iterable[Origin]) -> Iterator[str]:
    """Why Let's Encrypt issues nothing for one of these origins; another ACME server may be your
    own and do so."""
    if https.directory:
        return
    for origin in origins:
        if not is_reachable(origin):
            yield (
                f"Let's Encrypt issues no certificate for {origin.hostname}, which the internet"
                " does not know; set tls: local-ca, or name your own CA in acme_directory"
            )
