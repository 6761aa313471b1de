"""nginx in front of the backend: it owns the CORS headers (cors.md, section 3.6, model A)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.contract import Contract
from rollout.render import places
from rollout.render.cors import Allowed
from rollout.render.generation import File, Link
from rollout.render.templates import fill
from rollout.render.units import LISTENERS, proxy_timeout

# Debian's own site claims port 80 for itself.
ABSENT = ("/etc/nginx/sites-enabled/default",)


def files(contract: Contract) -> tuple[File, ...]:
    """The sites and the headers that they share."""
    return (
        File("nginx/origin-kit.conf", _backend(contract), "nginx"),
        File("nginx/origin-kit-cors.conf", fill("origin-kit-cors.conf"), "nginx"),
    )


def links() -> tuple[Link, ...]:
    """Where Debian's nginx.conf looks for them."""
    return (
        Link("/etc/nginx/conf.d/origin-kit.conf", "nginx/origin-kit.conf"),
        Link("/etc/nginx/snippets/origin-kit-cors.conf", "nginx/origin-kit-cors.conf"),
    )


def _backend(contract: Contract) -> str:
    application, cors = contract.application, contract.cors
    return fill(
        "backend.conf",
        origins="\n".join(f"    {line}" for line in origin_lines(Allowed.of(contract), cors.allow_credentials)),
        credentials="true" if cors.allow_credentials else "",
        exposed=", ".join(cors.expose_headers),
        methods=", ".join(cors.allow_methods),
        headers=", ".join(cors.allow_headers),
        max_age_s=cors.max_age_s,
        socket=places.application_socket(application.name),
        listen=listen_lines(),
        max_body_mb=application.max_body_mb,
        proxy_s=proxy_timeout(application),
        static_url=application.static_url,
        media_url=application.media_url,
        release=places.release(application.name),
        data=places.data(application.name),
        status=status_server(),
    )


def origin_lines(allowed: Allowed, credentials: bool) -> Iterator[str]:
    """Lines of the map from `Origin` to what is allowed.

    Keys are patterns, because nginx ignores the case of plain keys and refuses long ones; an exact origin's value is
    the literal, never what the client sent.
    """
    if allowed.everyone:
        # With credentials a browser takes no `*`.
        yield "default $http_origin;" if credentials else 'default "*";'
        return
    yield 'default "";'
    yield from (f'"~^{re.escape(origin)}$" "{origin}";' for origin in allowed.origins)
    yield from (f'"~{pattern}" $http_origin;' for pattern in allowed.nginx_patterns)


def listen_lines() -> str:
    """`listen` for each socket that nginx.socket holds; the backlog is its, for nginx sets its own otherwise."""
    return "\n".join(f"    listen {address} default_server backlog=4096;" for address in LISTENERS)


def status_server() -> str:
    """The server that tells what nginx has loaded."""
    return fill("status.conf", status_socket=places.STATUS_SOCKET).rstrip()
