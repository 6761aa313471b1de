"""nginx for the page's files, and what the page has to know: the other direction of the
contract."""

from __future__ import annotations

import json
from collections.abc import Mapping

from infra.core import csp
from infra.core.contract import Contract
from on_host import page_files
from rollout.render import gates, https, moving, places
from rollout.render.generation import File, Link
from rollout.render.nginx import (
    MAIN_LINK,
    limits,
    main_file,
    of_both_sites,
)
from rollout.render.templates import fill

# Browsers ask for them where developer tools are open.
_NO_SOURCE_MAPS = r"""    location ~ \.(?:js|mjs|cjs|css)\.map$ {
        return 404;
    }
"""


def files(contract: Contract, secrets: Mapping[str, str]) -> tuple[File, ...]:
    """The site, the headers that its answers share, config.json, which nginx reads again for each
    request, and of a preview the hash of its password, which is in `secrets`."""
    site = fill(
        "frontend.conf",
        **of_both_sites(contract, "frontend"),
        listen=_listen(contract),
        names=" ".join(_former(contract)) or "_",
        release=places.release(contract.application.name),
        current=places.CURRENT,
        config=moving.config_location(contract),
        moving_maps=moving.page_maps(contract),
        moving=moving.page_lines(contract),
        gate_maps=gates.network_maps(contract, "frontend") + gates.realm_map(contract, secrets),
        gate=gates.of_page(contract) + gates.asking(contract, secrets),
        redirect=_redirects(contract),
        source_maps="" if contract.page.source_maps else _NO_SOURCE_MAPS,
        views="    ~*^:.*text/html /index.html;\n" if contract.page.single_page else "",
        hashed="\n".join(f'    "~{pattern}" 1;' for pattern in page_files.HASHED.values()),
        loaded_later="|".join(page_files.LOADED_LATER),
        earlier=_earlier(contract.application.name),
        no_api=no_api(contract.backend.origin),
    )
    page = fill(
        "origin-kit-page.conf",
        policy=policy(contract),
        referrer_policy=contract.page.referrer_policy,
        strict=https.strict_header(contract),
        noindex=gates.noindex(contract),
    )
    return (
        File("nginx/origin-kit.conf", site, "nginx", reports=True),
        File("nginx/origin-kit-page.conf", page, "nginx"),
        main_file(),
        File("frontend/config.json", moving.config_text(contract)),
        *gates.password_files(contract, secrets),
    )


def _listen(contract: Contract) -> str:
    """The page's own server: on port 80 alone, or on port 443 and, for origins that the environment
    had, on port 80 too."""
    lines = https.listen(contract, plain=False)
    if _former(contract):
        lines = f"{lines}\n{https.listen_plain(default=False)}"
    return lines


def _former(contract: Contract) -> tuple[str, ...]:
    """The names that the page is still served under over http, next to https."""
    return https.former_http(contract.frontend) if contract.speaks_https else ()


def _redirects(contract: Contract) -> str:
    """The servers that lead to the page's origin: from its other names, and from http."""
    servers = []
    names = " ".join(moving.redirected_names(contract))
    if names:
        why = "The page's other names lead to the one that is its origin"
        if contract.speaks_https:
            lines = https.listen_secure(default=False) + https.tls(contract, "frontend")
        else:
            lines = https.listen_plain(default=False)
        servers.append(_redirect(contract, why, lines, names))
    if contract.speaks_https:
        servers.append(_redirect(contract, "http leads to https", https.listen_plain(), "_"))
    return "".join(f"\n{server}" for server in servers)


def _redirect(contract: Contract, why: str, listen: str, names: str) -> str:
    return fill(
        "redirect.conf",
        why=why,
        listen=listen,
        names=names,
        limits=limits(contract),
        strict=_indented(https.strict_header(contract)),
        noindex=gates.noindex(contract, " " * 4),
        gate=gates.of_page(contract),
        challenge=https.challenge(),
        origin=contract.frontend.origin,
    )


def _indented(line: str) -> str:
    return f"    {line}" if line else ""


def links() -> tuple[Link, ...]:
    """Where Debian's nginx.conf looks for them."""
    return (
        Link("/etc/nginx/conf.d/origin-kit.conf", "nginx/origin-kit.conf"),
        Link("/etc/nginx/snippets/origin-kit-page.conf", "nginx/origin-kit-page.conf"),
        MAIN_LINK,
    )


def no_api(backend: str) -> str:
    """What is answered to who asks the page's host for the API, as JSON."""
    said = {"detail": f"The API is not on this host. It is at {backend}", "backend": backend}
    return json.dumps(said)


def _earlier(application: str) -> str:
    """A location for each of the releases that served before, which leads to the next one."""
    folder, last = places.earlier(application), page_files.EARLIER
    steps = []
    for number in range(1, last + 1):
        after = "view" if number == last else f"earlier_{number + 1}"
        steps.append(
            fill(
                "earlier.conf",
                number=number,
                folder=folder,
                next=after,
            )
        )
    return "".join(steps).rstrip()


def policy(contract: Contract) -> str:
    """The page's Content-Security-Policy. Its first two directives are the kit's alone, and the
    first of a name counts: whatever else there is, the page may call its backend."""
    page = contract.page
    backend = contract.backend
    backends = [backend.origin, *backend.alias_origins, *backend.former]
    own = [source for origin in backends for source in connect_sources(origin)]
    called = dict.fromkeys([*own, *page.connect_src])
    directives = [
        " ".join(["connect-src", csp.SELF, *called]),
        " ".join(["frame-ancestors", *page.frame_ancestors]),
    ]
    if page.csp:
        directives.append(page.csp)
    return "; ".join(directives)


def connect_sources(origin: str) -> tuple[str, str]:
    """The backend in a Content-Security-Policy, by requests and by WebSocket. Its grammar (CSP3,
    2.3.1) has no IPv6 address: the schemes then."""
    scheme, host = origin.split("://", 1)
    socket = {"http": "ws", "https": "wss"}[scheme]
    if host.startswith("["):
        return f"{scheme}:", f"{socket}:"
    return origin, f"{socket}://{host}"
