"""The servers that a built page calls, by the text of its scripts and HTML. Only reads."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from infra.core.origins import Origin, parse_origin
from rollout.adopt.values import Setting
from rollout.release.folders import walk

_ENDINGS = (".js", ".mjs", ".cjs", ".html")
_BYTES = 4_000_000  # of one file
_BEFORE = 120  # characters before an address that say what it is for

# A text that begins with an address. A template's hole ends it, and so does the end of the text.
_ADDRESS = re.compile(r"[\"'`](?P<url>(?:https?|wss?)://[^\s\"'`<>\\(){}$,;]+)", re.IGNORECASE)

# What sends a request to its first argument; XMLHttpRequest's `open` has the method before that.
_SENDS = (
    r"(?:\bfetch|\baxios(?:\.\w+)?|\bsendBeacon|\bEventSource|\bWebSocket|\bio"
    r"|\.(?:get|post|put|patch|delete|request|open))\s*\(\s*"
    r"(?:[\"'`](?:GET|HEAD|POST|PUT|PATCH|DELETE)[\"'`]\s*,\s*)?"
)
_SENT = re.compile(_SENDS + r"\Z", re.IGNORECASE)
_SENT_NAME = re.compile(rf"{_SENDS}(?:`\$\{{\s*)?(?P<name>[A-Za-z_$][\w$]*)", re.IGNORECASE)

# Names that the address of a backend has, and those that any service's has.
_IS = r"\b[\"']?\s*[:=]\s*\Z"
_OF_BACKEND = re.compile(
    r"\b(?:base_?ur[li]|\w*(?:api|backend)_?(?:ur[li]|base|host|root|origin|server)\w*)" + _IS,
    re.IGNORECASE,
)
_OF_SERVICE = re.compile(
    r"\b(?:dsn|endpoint|\w*(?:socket|graphql|server)_?ur[li]\w*)" + _IS, re.IGNORECASE
)
_VARIABLE = re.compile(r"(?P<name>[A-Za-z_$][\w$]*)\s*=\s*\Z")
# Not `"https://…" + code`, which is the address of a page about an error.
_WHOLE = re.compile(r"[\"'`]\s*(?:[,;\n}]|\Z)")

_SCRIPT = re.compile(r"<script\b[^>]*?\bsrc\s*=\s*[\"']?(?P<url>(?:https?:)?//[^\s\"'>]+)", re.I)
_POLICY = re.compile(
    r"<meta\b(?=[^>]*?http-equiv\s*=\s*[\"']?Content-Security-Policy\b)"
    r"[^>]*?\bcontent\s*=\s*(?P<quote>[\"'])(?P<policy>.*?)(?P=quote)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Calls:
    """What a page calls, each server with the place where it is first named (file:line:column).

    `built_in` are addresses of a backend that a build has put into it; `services` are other
    servers, as a Content-Security-Policy names them; `scripts` are servers whose scripts it loads;
    `policies` are its own policies.
    """

    built_in: tuple[Setting, ...] = ()
    services: tuple[Setting, ...] = ()
    scripts: tuple[Setting, ...] = ()
    policies: tuple[Setting, ...] = ()


def calls_of(page: Path) -> Calls:
    """Read every script and HTML file of a page.

    In a page that reads config.json only what a request is sent to is built in: another address
    may be for the time before there is a config.json, e.g. in a development server.
    """
    texts = []
    for name in sorted(walk(page)):
        if name.endswith(_ENDINGS) and (page / name).is_file():
            texts.append(_Text(page, name))
    reads_config = any("config.json" in text.text for text in texts)
    found = _Found(reads_config)
    for text in texts:
        found.read(text)
    return found.calls


class _Text:
    """A file of the page, and places in it."""

    def __init__(self, page: Path, name: str) -> None:
        self.name = name
        with (page / name).open("rb") as file:
            self.text = file.read(_BYTES).decode(errors="replace")

    def place(self, position: int) -> str:
        line = self.text.count("\n", 0, position) + 1
        column = position - self.text.rfind("\n", 0, position)
        return f"{self.name}:{line}:{column}"

    def before(self, position: int) -> str:
        return self.text[max(0, position - _BEFORE) : position]

    @cached_property
    def called_names(self) -> set[str]:
        """Variables that are the first argument of what sends a request."""
        return {match["name"] for match in _SENT_NAME.finditer(self.text)}


class _Found:
    """Collects servers by kind; the first place of each counts."""

    def __init__(self, reads_config: bool) -> None:
        self.reads_config = reads_config
        self._places: dict[str, dict[str, Setting]] = {}

    @property
    def calls(self) -> Calls:
        built_in = self._places.get("built_in", {})
        kinds = {"built_in": tuple(built_in.values())}
        for kind, places in self._places.items():
            if kind == "built_in":
                continue
            others = [place for name, place in places.items() if name not in built_in]
            kinds[kind] = tuple(others)
        return Calls(**kinds)

    def read(self, text: _Text) -> None:
        for match in _ADDRESS.finditer(text.text):
            kind = self._kind(text, match)
            if kind:
                place = text.place(match.start("url"))
                self._add(kind, _source(match["url"]), place)
        if not text.name.endswith(".html"):
            return
        for match in _SCRIPT.finditer(text.text):
            place = text.place(match.start("url"))
            self._add("scripts", _source(match["url"]), place)
        for match in _POLICY.finditer(text.text):
            place = text.place(match.start())
            self._add("policies", html.unescape(match["policy"]), place)

    def _add(self, kind: str, server: str, place: str) -> None:
        if server:
            self._places.setdefault(kind, {}).setdefault(server, Setting(server, place))

    def _kind(self, text: _Text, match: re.Match[str]) -> str:
        """What an address is there for; empty where nothing says that it is called."""
        before = text.before(match.start())
        is_sent = _SENT.search(before) is not None
        if is_of_a_machine(match["url"]):
            return "built_in" if is_sent or not self.reads_config else ""
        if _OF_BACKEND.search(before):
            return "services" if self.reads_config else "built_in"
        if is_sent or _OF_SERVICE.search(before) or _is_called_by_name(text, match, before):
            return "services"
        return ""


def _is_called_by_name(
    text: _Text,
    match: re.Match[str],
    before: str,
) -> bool:
    """`const api = "https://…"` where `fetch(api + …)` is in the same file, as minifiers write
    it."""
    variable = _VARIABLE.search(before)
    if variable is None or not _WHOLE.match(text.text, match.end()):
        return False
    return variable["name"] in text.called_names


def _source(url: str) -> str:
    """The server of a URL as a policy names it; empty for one that can't be named."""
    origin = _origin(url)
    if origin is None or not (origin.is_ip or origin.is_loopback or "." in origin.host):
        return ""
    scheme = urlsplit(url).scheme or "https"
    return f"{scheme}://{origin.authority}"


def is_of_a_machine(url: str) -> bool:
    """An address of one machine: an IP, or localhost. A bare `http://localhost` is what libraries
    put in front of a path to parse it."""
    origin = _origin(url)
    if origin is None or not (origin.is_ip or origin.is_loopback):
        return False
    is_bare = origin.port is None and urlsplit(url).path in ("", "/")
    return not (origin.is_loopback and is_bare)


def _origin(url: str) -> Origin | None:
    """The origin of a URL, with http or https for the schemes of a WebSocket."""
    try:
        parts = urlsplit(url)
        scheme = {"ws": "http", "http": "http"}.get(parts.scheme, "https")
        authority = parts.netloc.rpartition("@")[2]
        return parse_origin(f"{scheme}://{authority}", production=False)
    except ValueError:
        return None
