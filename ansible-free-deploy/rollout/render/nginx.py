"""nginx in front of the backend: it owns the CORS headers (cors.md, section 3.6, model A)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import indent

from infra.core.contract import Contract, Cors
from rollout.render import gates, https, moving, places
from rollout.render.content import compression, types
from rollout.render.cors import Allowed
from rollout.render.generation import File, Link
from rollout.render.templates import fill
from rollout.render.units import LARGEST_HEAD, LONGEST_URL, proxy_timeout

# Debian's own site claims port 80 for itself.
ABSENT = ("/etc/nginx/sites-enabled/default",)

CONNECTIONS = 8192  # of each worker
REQUESTS_PER_ADDRESS = 512
RETRY_AFTER_S = 30  # said while a host takes no writes

# nginx sends its own.
_HIDDEN = "        proxy_hide_header Strict-Transport-Security;\n"

MAIN_LINK = Link(places.NGINX_MAIN, "nginx/origin-kit-main.conf")


def files(contract: Contract, closed: bool = False) -> tuple[File, ...]:
    """The sites and the headers that they share. A `closed` one answers that it is busy, readable
    by pages."""
    return (
        File("nginx/origin-kit.conf", _backend(contract, closed), "nginx", reports=True),
        File("nginx/origin-kit-cors.conf", _shared(contract), "nginx"),
        main_file(),
    )


def links() -> tuple[Link, ...]:
    """Where Debian's nginx.conf looks for them."""
    return (
        Link("/etc/nginx/conf.d/origin-kit.conf", "nginx/origin-kit.conf"),
        Link("/etc/nginx/snippets/origin-kit-cors.conf", "nginx/origin-kit-cors.conf"),
        MAIN_LINK,
    )


def main_file() -> File:
    """What nginx is started with, on either role's hosts."""
    text = fill(
        "nginx.conf",
        connections=CONNECTIONS,
        descriptors=2 * CONNECTIONS,
    )
    return File(MAIN_LINK.target, text, "nginx")


@dataclass(frozen=True)
class _CorsHeader:
    """A header that an allowed origin gets and any other does not."""

    header: str
    variable: str
    value: str

    @property
    def map(self) -> str:
        """The variable from the one that has the allowed origin."""
        lines = [
            f"map $origin_kit_allowed ${self.variable} {{",
            f'    default "{self.value}";',
            '    "" "";',
            "}",
        ]
        return "\n".join(lines)

    @property
    def line(self) -> str:
        return f"add_header {self.header:<32} {'$' + self.variable:<23} always;"


# Its value is the origin's own.
_ALLOWED = _CorsHeader("Access-Control-Allow-Origin", "origin_kit_allowed", "")


def _always(cors: Cors) -> list[_CorsHeader]:
    """The headers of every answer, without those that have no value."""
    headers: list[_CorsHeader] = []
    if cors.allow_credentials:
        name = "Access-Control-Allow-Credentials"
        headers.append(_CorsHeader(name, "origin_kit_credentials", "true"))
    if cors.expose_headers:
        name, value = "Access-Control-Expose-Headers", ", ".join(cors.expose_headers)
        headers.append(_CorsHeader(name, "origin_kit_exposed", value))
    return headers


def _before(cors: Cors) -> list[_CorsHeader]:
    """The headers of the answer to a preflight alone."""
    methods, headers = ", ".join(cors.allow_methods), ", ".join(cors.allow_headers)
    return [
        _CorsHeader("Access-Control-Allow-Methods", "origin_kit_methods", methods),
        _CorsHeader("Access-Control-Allow-Headers", "origin_kit_headers", headers),
        _CorsHeader("Access-Control-Max-Age", "origin_kit_max_age", str(cors.max_age_s)),
    ]


def _shared(contract: Contract) -> str:
    headers = [_ALLOWED, *_always(contract.cors)]
    return fill(
        "origin-kit-cors.conf",
        headers=_lines(header.line for header in headers),
        strict=https.strict_header(contract),
        noindex=gates.noindex(contract),
    )


def _lines(lines: Iterable[str], before: str = "") -> str:
    """The lines of a text, each with some space before it."""
    return "\n".join(indent(line, before) for line in lines)


def _backend(contract: Contract, closed: bool) -> str:
    application, cors = contract.application, contract.cors
    allowed, always, before = Allowed.of(contract), _always(cors), _before(cors)
    shortcuts = _lines(_shortcuts(allowed, always), " " * 4)
    before_lines = _lines((header.line for header in before), " " * 8)
    emptied = [f'add_header {header.header} "";' for header in (_ALLOWED, *always)]
    if contract.https.hsts:
        emptied.append('add_header Strict-Transport-Security "";')
    if contract.preview:
        emptied.append('add_header X-Robots-Tag "";')
    return fill(
        "backend.conf",
        **of_both_sites(contract, "backend"),
        listen=https.listen(contract, plain=contract.answers_http),
        moving_maps=moving.api_maps(contract),
        moving=moving.api_lines(contract),
        gate_maps=gates.network_maps(contract, "backend"),
        gate=gates.of_api(contract),
        deny=https.deny(contract, limits(contract), shortcuts, before_lines),
        origins=_lines(origin_lines(allowed, cors.allow_credentials), " " * 4),
        shortcuts=shortcuts,
        maps=_lines(header.map for header in (*always, *before)),
        before=before_lines,
        emptied=_lines(emptied, " " * 8),
        socket=places.application_socket(application.name),
        max_body_mb=application.max_body_mb,
        longest_url=LONGEST_URL,
        largest_head=LARGEST_HEAD,
        application=_application(contract, closed).rstrip(),
        static_url=application.static_url,
        static_pattern=re.escape(application.static_url),
        media_url=application.media_url,
        media_pattern=re.escape(application.media_url),
        release=places.release(application.name),
        data=places.data(application.name),
    )


def _application(contract: Contract, closed: bool) -> str:
    """What answers for the application: Django, or, where it is `closed`, nginx itself."""
    if closed:
        return fill("closed.conf", retry_after_s=RETRY_AFTER_S)
    application = contract.application
    compressed = "" if application.gzip_answers else "        gzip off;\n"
    return compressed + fill(
        "proxy.conf",
        proxy_s=proxy_timeout(application),
        hidden=_HIDDEN if contract.https.hsts else "",
    )


def origin_lines(allowed: Allowed, credentials: bool) -> Iterator[str]:
    """Lines of the map from `Origin` to what is allowed.

    Keys are patterns, because nginx ignores the case of plain keys and refuses long ones; an exact
    origin's value is the literal, never what the client sent.
    """
    if allowed.everyone:
        # With credentials a browser takes no `*`.
        yield "default $http_origin;" if credentials else 'default "*";'
        return
    yield 'default "";'
    yield '"" "";'
    for origin in allowed.origins:
        yield f'"~^{re.escape(origin)}$" "{origin}";'
    for pattern in allowed.nginx_patterns:
        yield f'"~{pattern}" $http_origin;'


def _shortcuts(allowed: Allowed, always: Sequence[_CorsHeader]) -> Iterator[str]:
    """The maps' values for each exact origin by comparison: measured, the pattern costs three times
    as much."""
    if allowed.everyone or not allowed.origins:  # everyone's map has no pattern, and another answer
        return
    yield (
        "# As the maps have it, without a pattern; theirs is the rest, and what nginx answers"
        " before it gets here."
    )
    for origin in allowed.origins:
        lines = [f'if ($http_origin = "{origin}") {{']
        lines.append(f'    set ${_ALLOWED.variable} "{origin}";')
        for header in always:
            lines.append(f'    set ${header.variable} "{header.value}";')
        yield "\n".join([*lines, "}"])


def of_both_sites(contract: Contract, role: str) -> dict[str, str]:
    """What the backend's site and the page's have in common."""
    return {
        "types": types(),
        "compression": compression(),
        "addresses": fill("addresses.conf").rstrip(),  # whom the limits count
        "strict_map": https.strict_map(contract),
        "tls": https.tls(contract, role),
        "challenge": https.challenge(),
        "limits": limits(contract),
        "status": status_server(),
    }


def limits(contract: Contract) -> str:
    """The lines of a server that no client can use up, and which says whose word counts for a
    client's address: that of a proxy in front."""
    lines = fill("limits.conf", requests_per_address=REQUESTS_PER_ADDRESS).rstrip()
    if not contract.behind:
        return lines
    networks = [f"set_real_ip_from {network};" for network in contract.behind]
    behind = fill("behind.conf", networks=_lines(networks, " " * 4)).rstrip()
    return f"{lines}\n{behind}"


def status_server() -> str:
    """The server that reports what nginx has loaded."""
    return fill("status.conf", status_socket=places.STATUS_SOCKET).rstrip()
