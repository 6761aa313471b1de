"""What a contract must hold before any of it becomes nginx, systemd or Python text.

The stack's config was checked once already; a contract can also come from a file that somebody edited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from infra import variables
from infra.contract import Contract
from infra.origins import OriginError, parse_origin, parse_shape
from rollout.render.cors import ALLOW_ALL

_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_WSGI = re.compile(rf"{_MODULE.pattern}:[A-Za-z_]\w*", re.ASCII)
_URL_PATH = re.compile(r"/([A-Za-z0-9._~-]+/)+")
# RFC 9110, section 5.6.2, without the dollar sign, which nginx expands.
_TOKEN = re.compile(r"[!#%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ADDRESS = re.compile(r"[0-9A-Za-z.:-]+")

# The application's name is also a user's, a unit's and a folder's.
TAKEN_NAMES = ("nginx", "ssh", "sshd", "systemd", "dbus", "cron", "root", "deploy", "www-data", "nobody", "origin-kit")


class RenderError(ValueError):
    """The contract or the secrets can't be rendered; one line each."""


def demand(contract: Contract, secrets: Mapping[str, str]) -> None:
    """Raise RenderError with everything that must not reach a file."""
    problems = [*_patterns(contract), *_origins(contract), *_limits(contract)]
    problems += _variables("application.env", contract.application.env)
    lines = [f"contract: {problem}; correct the stack's config, then run `fab up`" for problem in problems]
    lines += [f"{problem}; set it again" for problem in _variables("secrets", secrets)]
    if not lines and _together(contract.application.env, secrets) > variables.LONGEST_TOGETHER:
        lines = [f"application.env and secrets: more than {variables.LONGEST_TOGETHER >> 20} MiB together; use files"]
    if lines:
        raise RenderError("\n".join(lines))


def _patterns(contract: Contract) -> Iterator[str]:
    application, cors = contract.application, contract.cors
    rows = [
        ("application.name", _NAME, [application.name]),
        ("application.wsgi", _WSGI, [application.wsgi]),
        ("application.settings", _MODULE, [application.settings]),
        ("application.static_url", _URL_PATH, [application.static_url]),
        ("application.media_url", _URL_PATH, [application.media_url]),
        ("cors.allow_methods", _TOKEN, cors.allow_methods),
        ("cors.allow_headers", _TOKEN, cors.allow_headers),
        ("cors.expose_headers", _TOKEN, cors.expose_headers),
        ("hosts.address", _ADDRESS, [host.address for _, host in contract.hosts]),
    ]
    for place, pattern, values in rows:
        yield from (f"{place}: {value!r} will not do" for value in values if not pattern.fullmatch(value))


def _origins(contract: Contract) -> Iterator[str]:
    rows = [("frontend.origin", contract.frontend.origin), ("backend.origin", contract.backend.origin)]
    rows += [("cors.allowed_origins", origin) for origin in contract.cors.allowed_origins]
    for place, text in rows:
        try:
            if str(parse_origin(text, production=contract.production)) != text:
                yield f"{place}: {text!r} is not written as a browser sends it"
        except OriginError as problem:
            yield f"{place}: {problem}"
    if contract.cors.allowed_shapes == ALLOW_ALL:
        return
    for text in contract.cors.allowed_shapes:
        try:
            parse_shape(text, production=contract.production)
        except OriginError as problem:
            yield f"cors.allowed_shapes: {problem}"


def _limits(contract: Contract) -> Iterator[str]:
    if contract.application.name in TAKEN_NAMES:
        yield f"application.name: {contract.application.name!r} is a name that the system uses itself"
    if contract.application.static_url == contract.application.media_url:
        yield f"application.media_url: {contract.application.media_url!r} is static_url as well"
    if contract.production and contract.cors.allowed_shapes == ALLOW_ALL:
        yield "cors.allowed_shapes: '*' lets every website read the answers, which is for development only"
    if contract.tls != "off":
        yield f"tls: {contract.tls!r} is not there yet, only 'off'"


def _variables(place: str, values: Mapping[str, object]) -> Iterator[str]:
    """Values stay out of messages: they may be secrets."""
    for name, value in values.items():
        if not _VARIABLE.fullmatch(name):
            yield f"{place}: {name!r} is not a variable's name"
        elif problem := variables.problem(name, value):
            yield f"{place}: the value of {name} {problem}"


def _together(*parts: Mapping[str, str]) -> int:
    return sum(variables.size(name, value) for part in parts for name, value in part.items())
