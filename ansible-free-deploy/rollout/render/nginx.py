"""nginx in front of the backend: it owns the CORS headers (cors.md, section 3.6, model A)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import indent

from infra.core.contract import Contract, Cors
from rollout.render import places
from rollout.render.cors import Allowed
from rollout.render.generation import File, Link
from rollout.render.templates import fill
from rollout.render.units import LISTENERS, proxy_timeout

# Debian's own site claims port 80 for itself.
ABSENT = ("/etc/nginx/sites-enabled/default",)

CONNECTIONS = 8192  # of each worker
REQUESTS_PER_ADDRESS = 512
RETRY_AFTER_S = 30  # said while a host takes no writes

MAIN_LINK = Link(places.NGINX_MAIN, "nginx/origin-kit-main.conf")


def files(contract: Contract, closed: bool = False) -> tuple[File, ...]:
    """The sites and the headers that they share. A `closed` one answers that it is busy, readable
    by pages."""
    return (
        File("nginx/origin-kit.conf", _backend(contract, closed), "nginx", reports=True),
        File("nginx/origin-kit-cors.conf", _shared(contract.cors), "nginx"),
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
    text = fill("nginx.conf", connections=CONNECTIONS, descriptors=2 * CONNECTIONS)
    return File(MAIN_LINK.target, text, "nginx")


@dataclass(frozen=True)
class _Told:
    """A header that an allowed origin gets and any other does not."""

    header: str
    variable: str
    value: str

    @property
    def map(self) -> str:
        """The variable from the one that has the allowed origin."""
        return (
            f'map $origin_kit_allowed ${self.variable} {{\n    default "{self.value}";\n    ""'
            ' "";\n}'
        )

    @property
    def line(self) -> str:
        return f"add_header {self.header:<32} {'$' + self.variable:<23} always;"


_ALLOWED = _Told(
    "Access-Control-Allow-Origin", "origin_kit_allowed", ""
)  # its value is the origin's own


def _always(cors: Cors) -> list[_Told]:
    """With every answer, where there is something to say."""
    told = [
        _Told(
            "Access-Control-Allow-Credentials",
            "origin_kit_credentials",
            "true" if cors.allow_credentials else "",
        ),
        _Told(
            "Access-Control-Expose-Headers", "origin_kit_exposed", ", ".join(cors.expose_headers)
        ),
    ]
    return [one for one in told if one.value]


def _before(cors: Cors) -> list[_Told]:
    """With the answer to a preflight alone."""
    return [
        _Told("Access-Control-Allow-Methods", "origin_kit_methods", ", ".join(cors.allow_methods)),
        _Told("Access-Control-Allow-Headers", "origin_kit_headers", ", ".join(cors.allow_headers)),
        _Told("Access-Control-Max-Age", "origin_kit_max_age", str(cors.max_age_s)),
    ]


def _shared(cors: Cors) -> str:
    return fill(
        "origin-kit-cors.conf", headers="\n".join(one.line for one in (_ALLOWED, *_always(cors)))
    )


def _backend(contract: Contract, closed: bool) -> str:
    application, cors = contract.application, contract.cors
    allowed, always, before = Allowed.of(contract), _always(cors), _before(cors)
    passed = fill("proxy.conf", proxy_s=proxy_timeout(application))
    return fill(
        "backend.conf",
        origins="\n".join(f"    {line}" for line in origin_lines(allowed, cors.allow_credentials)),
        shortcuts="\n".join(indent(block, " " * 4) for block in _shortcuts(allowed, always)),
        maps="\n".join(one.map for one in (*always, *before)),
        before="\n".join(f"        {one.line}" for one in before),
        emptied="\n".join(f'        add_header {one.header} "";' for one in (_ALLOWED, *always)),
        socket=places.application_socket(application.name),
        listen=listen_lines(),
        max_body_mb=application.max_body_mb,
        application=(
            fill("closed.conf", retry_after_s=RETRY_AFTER_S) if closed else passed
        ).rstrip(),
        addresses=addresses(),
        limits=limits(),
        static_url=application.static_url,
        static_pattern=re.escape(application.static_url),
        media_url=application.media_url,
        media_pattern=re.escape(application.media_url),
        release=places.release(application.name),
        data=places.data(application.name),
        status=status_server(),
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
    yield from (f'"~^{re.escape(origin)}$" "{origin}";' for origin in allowed.origins)
    yield from (f'"~{pattern}" $http_origin;' for pattern in allowed.nginx_patterns)


def _shortcuts(allowed: Allowed, always: Sequence[_Told]) -> Iterator[str]:
    """The maps' values for each exact origin by comparison: measured, the pattern costs three times
    as much."""
    if allowed.everyone or not allowed.origins:  # everyone's map has no pattern, and another answer
        return
    yield (
        "# As the maps have it, without a pattern; theirs is the rest, and what nginx answers"
        " before it gets here."
    )
    for origin in allowed.origins:
        values = {_ALLOWED.variable: origin} | {one.variable: one.value for one in always}
        lines = "".join(f'    set ${name} "{value}";\n' for name, value in values.items())
        yield f'if ($http_origin = "{origin}") {{\n{lines}}}'


def listen_lines() -> str:
    """`listen` for each socket that nginx.socket holds; the backlog is its, for nginx sets its own
    otherwise."""
    return "\n".join(f"    listen {address} default_server backlog=4096;" for address in LISTENERS)


def addresses() -> str:
    """The http level's part of `limits`: whom they count."""
    return fill("addresses.conf").rstrip()


def limits() -> str:
    """The lines of a server that no client can use up."""
    return fill("limits.conf", requests_per_address=REQUESTS_PER_ADDRESS).rstrip()


def status_server() -> str:
    """The server that tells what nginx has loaded."""
    return fill("status.conf", status_socket=places.STATUS_SOCKET).rstrip()
