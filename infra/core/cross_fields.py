"""Cross-field validation: what keys of a stack's config must hold between each other.

Each check yields every mistake that it finds, as the key and what is wrong with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from infra.core import csp, https, rules
from infra.core.rules import APEX, WWW, full_name, quote

UNBALANCED = "ORIGIN_KIT_WITHOUT_BALANCER"  # 1: for the kit's tests, which take many hosts

Problem = tuple[str, str]  # the key, and what is wrong with it


def problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong between keys. A value that has a problem already is None, or missing."""
    yield from _cors_problems(values)
    yield from _credential_problems(values)
    yield from https.problems(values)
    yield from _page_problems(values)
    yield from _host_problems(values)
    yield from _ssh_problems(values)
    yield from _application_problems(values)


def _cors_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if not values.get("allow_all_origins"):
        return
    if values.get("production"):
        yield "allow_all_origins", rules.EVERYONE_IN_PRODUCTION
    if values.get("allowed_patterns"):
        yield (
            "allowed_patterns",
            "allow_all_origins allows every origin already; keep one of the two",
        )


def _credential_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if not values.get("allow_credentials"):
        return
    without_tls = values.get("tls") == https.OFF
    if values.get("production"):
        extra = [str(origin) for origin in values.get("extra_origins") or ()]
        listed = [*extra, *(values.get("app_origins") or ())]
        plain = [origin for origin in listed if origin.startswith("http:")]
        if plain:
            yield "allow_credentials", rules.plain_http_credentials(plain[0])
        elif without_tls:
            yield "allow_credentials", rules.plain_http_credentials("the frontend's own origin")
    if without_tls and values.get("domain") == "":
        yield (
            "allow_credentials",
            "browsers never send cookies between two http IPs; set a domain, or leave it false and"
            " use tokens",
        )


def _page_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if values.get("tls") != https.OFF:
        return
    directives = csp.names(values.get("csp") or "")
    if csp.UPGRADE in directives:
        yield "csp", csp.UPGRADE_WITHOUT_TLS


def _host_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    hosts = set()
    for role in ("frontend", "backend"):
        count = values.get(f"{role}_count") or 1
        for number in range(count):
            hosts.add(f"{role}-{number + 1}")
        if count > 1 and os.environ.get(UNBALANCED) != "1":
            yield (
                f"{role}_count",
                f"{count}: without a load balancer, which this kit doesn't have yet, each host"
                " would have a database and a secret key of its own, and all requests would go to"
                " the first; set it to 1 (`fab up` asks before it removes the others)",
            )
    replaced = values.get("serials") or {}
    for name in sorted(replaced.keys() - hosts):
        yield "serials", f"there is no host {quote(name)}; take it out"
    yield from _name_problems(values)
    if values.get("production") and values.get("cloud") == "local":
        yield "production", "the local cloud is for development; set it to false"


def _name_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if values.get("frontend_name") == values.get("backend_name"):
        yield "frontend_name", "the same as backend_name; the two need names of their own"
    if values.get("www_redirect"):
        yield from _redirect_problems(values)
    own = _own_names(values)
    for alias in values.get("backend_aliases") or ():
        if alias in own:
            yield "backend_aliases", f"{alias} is a name of this stack already; take it out"


def _redirect_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    frontend = values.get("frontend_name")
    backend = values.get("backend_name")
    if values.get("domain") == "":
        yield "www_redirect", "there is no domain whose www it could be"
    elif frontend not in (APEX, WWW):
        yield (
            "www_redirect",
            f'frontend_name is {frontend}; the redirect is between "{APEX}" and {WWW}',
        )
    elif frontend == APEX and backend == WWW:
        yield "www_redirect", f"backend_name is {WWW}, so that name is the backend's"


def _own_names(values: Mapping[str, Any]) -> set[str]:
    """The names that the stack has under its domain."""
    labels = {str(values.get("frontend_name")), str(values.get("backend_name"))}
    if values.get("www_redirect"):
        labels |= {APEX, WWW}
    domain = str(values.get("domain"))
    return {full_name(label, domain) for label in labels}


def _ssh_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if values.get("ssh_from_anywhere") is not False:
        return
    for text in values.get("ssh_from") or ():
        if ip_network(text).prefixlen == 0:
            yield (
                "ssh_from",
                f"{text} is the whole internet; name your own, or say ssh_from_anywhere: true",
            )
            return


def _application_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if not values.get("backend_git") and values.get("backend_path") == "":
        yield "backend_path", "missing, and so is backend_git; name the folder with manage.py"
    if values.get("backend_ref") and not values.get("backend_git"):
        yield "backend_ref", "there is no backend_git that it belongs to"
    if values.get("static_url") == values.get("media_url"):
        yield "media_url", rules.SAME_URL
