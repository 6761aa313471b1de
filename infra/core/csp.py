"""What a stack's config may say of the page's Content-Security-Policy. Pure.

Each function returns the text in the form that the header has, or raises ValueError with what was
expected. Nothing that they return ends the quotes that nginx has around it, or the policy.
Grammar: https://w3c.github.io/webappsec-csp/#framework-directives
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from infra.core.origins import Origin, OriginError, parse_origin
from infra.core.rules import quote

SELF, NONE, ANYONE = "'self'", "'none'", "*"
UPGRADE = "upgrade-insecure-requests"
UPGRADE_WITHOUT_TLS = (
    f"{UPGRADE} has browsers ask for https, which no host speaks while tls is off; take it out"
)

# nginx reads no text above 4096 bytes between two quotes: these and two names of the backend's fit.
LONGEST_SOURCES, LONGEST_ANCESTORS, LONGEST_CSP = 1200, 500, 1500

_WEB = ("http", "https")
_SOCKETS = {"ws": "http", "wss": "https"}  # the scheme whose rules its origin follows
_CALLED = (*_WEB, *_SOCKETS)
_LOCAL = ("blob", "data")  # of what fetch takes and no server sees
_SOURCE = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<below>\*\.)?(?P<rest>.*?)(?P<ports>:\*)?", re.IGNORECASE | re.DOTALL
)

# A header has visible ASCII characters alone; these four mean something to nginx or end a policy.
_NOT_IN_A_WORD = re.compile(r'[^!-~]|["\\$,]')
_BARE_KEYWORD = re.compile(
    r"self|none|unsafe-(?:inline|eval|hashes)|strict-dynamic|report-sample|wasm-unsafe-eval"
    r"|nonce-.+|sha(?:256|384|512)-.+",
    re.IGNORECASE,
)
_OWN_KEYS = {"connect-src": "connect_src", "frame-ancestors": "frame_ancestors"}
_SOURCE_LISTS = (
    "base-uri",
    "child-src",
    "default-src",
    "fenced-frame-src",
    "font-src",
    "form-action",
    "frame-src",
    "img-src",
    "manifest-src",
    "media-src",
    "object-src",
    "script-src",
    "script-src-attr",
    "script-src-elem",
    "style-src",
    "style-src-attr",
    "style-src-elem",
    "worker-src",
)
_DIRECTIVES = (
    *_SOURCE_LISTS,
    "report-to",
    "report-uri",
    "require-trusted-types-for",
    "sandbox",
    "trusted-types",
    UPGRADE,
)


# ----------------------------------------------------------------------------------- one source


def connect_source(value: Any) -> str:
    """A server, or a scheme, that the page may call next to its own host and the backend."""
    text = _text(value)
    if _keyword(text) == SELF:
        raise ValueError(f"{SELF} and the backend are always allowed; take it out")
    if text == ANYONE or _keyword(text) == NONE:
        raise ValueError(
            f"{quote(text)} says nothing about which servers; list them, or write https: for all"
        )
    return _scheme(text, (*_CALLED, *_LOCAL)) or _host(text, _CALLED)


def frame_source(value: Any) -> str:
    """Whose pages may show this one in a frame: `'self'`, `'none'`, `*`, a scheme or an origin."""
    text = _text(value)
    if text == ANYONE:
        return text
    return _keyword(text) or _scheme(text, _WEB) or _host(text, _WEB)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{quote(value)} is not text; write an origin in quotes")
    return value.strip()


def _keyword(text: str) -> str:
    """`'self'` or `'none'`, whose quotes YAML may have taken; else empty."""
    bare = text.strip("'").lower()
    return f"'{bare}'" if bare in ("self", "none") else ""


def _scheme(text: str, allowed: Iterable[str]) -> str:
    """`https:` and the like; else empty."""
    scheme = text.lower()
    return scheme if scheme in [f"{name}:" for name in allowed] else ""


def _host(text: str, allowed: tuple[str, ...]) -> str:
    """An origin as browsers write it; `*.` before its name and `:*` after it are patterns of a
    policy."""
    parts = _SOURCE.fullmatch(text)
    if parts is None or parts["scheme"].lower() not in allowed:
        raise ValueError(
            f"invalid value {quote(text)}: expected an origin like https://api.example.com or"
            f" {allowed[-1]}://*.example.com, or a scheme like {allowed[-1]}:"
        )
    scheme = parts["scheme"].lower()
    origin = _origin(scheme, parts["rest"])
    below, ports = parts["below"] or "", parts["ports"] or ""
    if origin.host.startswith("["):
        raise ValueError(
            f"{quote(text)}: a policy can't name an IPv6 address; write {scheme}: or a name"
        )
    if below and origin.is_ip:
        raise ValueError(f"{quote(text)}: nothing is below an address; write the address alone")
    if ports and origin.port:
        raise ValueError(f"{quote(text)} has two ports; keep one")
    return f"{scheme}://{below}{origin.authority}{ports}"


def _origin(scheme: str, rest: str) -> Origin:
    """The origin of this scheme; that of a WebSocket follows the rules of http. Raises
    ValueError."""
    try:
        return parse_origin(f"{_SOCKETS.get(scheme, scheme)}://{rest}", production=False)
    except OriginError as problem:
        reason = str(problem)
        if scheme in _SOCKETS:
            reason = re.sub(r"http(s?)://", r"ws\1://", reason)
        raise ValueError(reason) from None


# ------------------------------------------------------------------------------------ whole lists


def connect_sources(values: tuple[str, ...]) -> tuple[str, ...]:
    """Each source once, as many as nginx reads."""
    return _short(values, LONGEST_SOURCES)


def frame_sources(values: tuple[str, ...]) -> tuple[str, ...]:
    """Each source once; none and anyone stand alone."""
    found = _short(values, LONGEST_ANCESTORS)
    if not found:
        raise ValueError(f"empty; write [{NONE!r}] where no page may show this one in a frame")
    for alone in (NONE, ANYONE):
        if alone in found and len(found) > 1:
            raise ValueError(f"{alone} contradicts the others; keep it alone, or take it out")
    return found


def _short(values: tuple[str, ...], longest: int) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(values))
    if (size := len(" ".join(found))) > longest:
        raise ValueError(f"{size} characters together, nginx takes {longest}; list fewer")
    return found


# ---------------------------------------------------------------------------- further directives


def directives(value: Any) -> str:
    """The directives of a policy that no key of its own has, e.g. `default-src 'self'; img-src *`.

    A directive that browsers would pass over (unknown, or there twice) is refused.
    """
    text = _text(value)
    if len(text) > LONGEST_CSP:
        raise ValueError(f"{len(text)} characters, nginx takes {LONGEST_CSP}; shorten it")
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, *words = part.split() or [""]
        if not name:
            continue
        name = name.lower()
        _check_name(name)
        if name in found:
            raise ValueError(f"{name} is there twice, and browsers read the first; keep one")
        _check_words(name, words)
        found[name] = " ".join([name, *words])
    return "; ".join(found.values())


def names(text: str) -> set[str]:
    """The directives in what `directives` returned."""
    return {part.split()[0] for part in text.split(";") if part.strip()}


def _check_name(name: str) -> None:
    if name in _OWN_KEYS:
        raise ValueError(
            f"{name} has a key of its own, which keeps the backend and this page in it: write its"
            f" sources into {_OWN_KEYS[name]}"
        )
    if name not in _DIRECTIVES:
        close = difflib.get_close_matches(name, _DIRECTIVES, n=1)
        cure = f"did you mean {close[0]}?" if close else "write one like default-src or img-src"
        raise ValueError(f"{quote(name)} is no directive that browsers know; {cure}")


def _check_words(name: str, words: list[str]) -> None:
    for word in words:
        wrong = _NOT_IN_A_WORD.search(word)
        if wrong:
            raise ValueError(
                f"{name}: invalid value {quote(word)}: a policy can't hold {quote(wrong[0])};"
                " write its %XX code in a URL"
            )
        if name in _SOURCE_LISTS:
            _check_quotes(name, word)
    if name == "sandbox" and "allow-same-origin" not in words:
        raise ValueError(
            "sandbox takes the page's origin away, so the API denies it; add allow-same-origin, or"
            " take it out"
        )


def _check_quotes(name: str, word: str) -> None:
    if _BARE_KEYWORD.fullmatch(word):
        raise ValueError(f"{name}: {word} without quotes is a host's name; write '{word}'")
    if "'" in word and not re.fullmatch(r"'[^']+'", word):
        raise ValueError(f"{name}: {quote(word)} has one quote too many or too few; write 'self'")
