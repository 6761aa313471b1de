"""From text to an `Origin`: scheme, rest, port; and what to write in place of a wrong one. Pure."""

from __future__ import annotations

import re

from infra.core.origins.addresses import read_ipv6
from infra.core.origins.apps import is_app_like, is_on_localhost
from infra.core.origins.errors import (
    AFTER_USER,
    EXAMPLE,
    USER,
    WRITE,
    OriginError,
    Refusal,
    shown,
)
from infra.core.origins.internet import check_reachable
from infra.core.origins.names import parse_host
from infra.core.origins.origin import Origin
from infra.core.origins.ports import DEFAULT_PORTS, parse_port
from infra.core.origins.spelling import check_spelling

_MOST_CHARACTERS = 1000

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BROKEN_SCHEME = re.compile(r"(https?)(?::/?|;//|//)(?=[^/:;])(.*)", re.IGNORECASE | re.DOTALL)
_OTHER_SCHEME = re.compile(r"([a-z][a-z0-9+-]*):(?!\d|:)", re.IGNORECASE)
_REST = re.compile(r"([^/?#]*)(/[^?#]*)?(\?[^#]*)?(#.*)?", re.DOTALL)


def parse_origin(text: str, *, production: bool) -> Origin:
    """The origin that a browser would send for `text`; `production` also denies what the internet
    cannot reach.

    Raises OriginError.
    """
    try:
        return parse(prepare(text), production)
    except Refusal as refusal:
        raise OriginError(f"{shown(text)} {refusal}") from None


def parse(text: str, production: bool) -> Origin:
    """As `parse_origin`, of a prepared text. Raises Refusal."""
    check_spelling(text)
    scheme, rest = _split_scheme(text, production)
    authority = _split_rest(scheme, rest, production)
    host_text, port_text = _split_port(authority, scheme, production)
    host = parse_host(host_text)
    port = None
    if port_text is not None:
        port = parse_port(port_text)
    if port == DEFAULT_PORTS[scheme]:
        port = None  # browsers leave it out
    origin = Origin(scheme, host, port)
    if production:
        _check_production(origin)
    return origin


def _check_production(origin: Origin) -> None:
    if is_on_localhost(str(origin)):
        raise Refusal(
            f"has the host {origin.host}, the visitor's own machine; if an app's WebView sends it,"
            f" add {origin} to app_origins"
        )
    check_reachable(origin)


def prepare(text: object) -> str:
    """`text` without blanks around it and a final newline.

    Raises Refusal for what is not text, and for anything with a user in it.
    """
    if not isinstance(text, str):
        raise Refusal(f"is {_kind(text)}, not text; write an origin in quotes, like '{EXAMPLE}'")
    if len(text) > _MOST_CHARACTERS:
        raise Refusal(f"has {len(text)} characters, more than any origin; {WRITE}")
    if USER.search(text):
        raise Refusal(
            "has a user or password before the '@', which origins never hold;"
            f" {_without_user(text)}"
        )
    return text.removesuffix("\n").removesuffix("\r").strip(" \t")


def _kind(value: object) -> str:
    return "empty" if value is None else f"of type {type(value).__name__}"


# --------------------------------------------------------------------------------------- suggestion


def _without_user(text: str) -> str:
    match = AFTER_USER.fullmatch(text.strip(" \t\r\n"))
    if match is None:
        return WRITE
    return _suggest(match["scheme"] or "https", match["host"], production=False)


def _suggest(scheme: str, authority: str, production: bool) -> str:
    """`write <origin>` where scheme and authority make one, else how origins look."""
    if not authority:
        return WRITE
    try:
        origin = parse(f"{scheme}://{authority}", production)
    except Refusal:
        return WRITE
    return f"write {origin}"


# ------------------------------------------------------------------------------- scheme, rest, port


def _split_scheme(text: str, production: bool) -> tuple[str, str]:
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise Refusal(_without_scheme(text, production))
    scheme, rest = match[1].lower(), match[2]
    if scheme not in DEFAULT_PORTS:
        raise Refusal(_other_scheme(scheme, _authority(rest), production))
    return scheme, rest


def _authority(rest: str) -> str:
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _without_scheme(text: str, production: bool) -> str:
    """Why a text without `scheme://` is not an origin."""
    broken = _BROKEN_SCHEME.fullmatch(text)
    if broken:
        cure = _suggest(broken[1], _authority(broken[2]), production)
        return f"has no '://' after its scheme; {cure}"
    other = _OTHER_SCHEME.match(text)
    if other and other[1].lower() != "localhost" and not read_ipv6(text):
        return _other_scheme(other[1].lower(), "", production)
    authority = _authority(text.removeprefix("://").removeprefix("//"))
    if read_ipv6(authority):
        authority = f"[{authority}]"
    plain = _suggest("http", authority, production)
    encrypted = _suggest("https", authority, production)
    if WRITE in (plain, encrypted):
        return f"has no scheme; {WRITE}"
    encrypted = encrypted.removeprefix("write ")
    return f"has no scheme; {plain} or {encrypted}, whichever the page is opened with"


def _other_scheme(scheme: str, authority: str, production: bool) -> str:
    """Why an origin of this scheme is none."""
    because = "pages come by http or https"
    if scheme == "file":
        because = "pages opened from files have no origin"
    elif is_app_like(scheme, authority):
        origin = f"{scheme}://{authority}"
        return f"is an app's origin, no website's; if it is your app's, add {origin} to app_origins"
    meant = "http" if scheme == "ws" else "https"
    cure = _suggest(meant, authority, production)
    return f"has the scheme {scheme[:30]!a}, but {because}; {cure}"


def _split_rest(scheme: str, rest: str, production: bool) -> str:
    """The authority of what follows `://`. Raises Refusal for anything after it."""
    match = _REST.fullmatch(rest)
    assert match is not None  # every part is optional and takes what the others leave
    authority, path, query, fragment = match.groups()
    if not authority:
        cure = _suggest(scheme, _authority(rest.lstrip("/")), production)
        raise Refusal(f"has no host after '://' (was a variable or an output empty?); {cure}")
    parts = []
    if path and path != "/":
        parts.append(f"a path ({shown(path)})")
    if query is not None:
        parts.append("a query")
    if fragment is not None:
        parts.append("a fragment")
    if parts:
        cure = _suggest(scheme, authority, production)
        raise Refusal(f"has {' and '.join(parts)}, which no origin has; {cure}")
    return authority


def _split_port(authority: str, scheme: str, production: bool) -> tuple[str, str | None]:
    bracketed = re.fullmatch(r"(\[[^\[\]]*\])(?::(.*))?", authority)
    if bracketed:
        return bracketed[1], bracketed[2]
    if "[" in authority or "]" in authority:
        raise Refusal(
            "has a stray bracket in its host; only an IPv6 address has them, like"
            " http://[2001:db8::1]:8080"
        )
    if authority.count(":") > 1:
        if read_ipv6(authority):
            cure = _suggest(scheme, f"[{authority}]", production)
            raise Refusal(f"has an IPv6 address as host without brackets; {cure}")
        raise Refusal(f"has more than one ':' after its scheme, so no clear port; {WRITE}")
    host, colon, port = authority.partition(":")
    return host, port if colon else None
