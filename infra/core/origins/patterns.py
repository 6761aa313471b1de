"""Origin patterns: many origins that differ in one place. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.core.origins import platforms, regexes
from infra.core.origins.addresses import OCTET
from infra.core.origins.errors import OriginError, Refusal, shown
from infra.core.origins.look_alikes import look_alikes
from infra.core.origins.origin import Origin
from infra.core.origins.parse import parse, prepare
from infra.core.origins.ports import DEFAULT_PORTS
from infra.core.origins.suffixes import is_public

_PLACEHOLDER = re.compile(r"\{[a-z][a-z0-9_]{0,30}\}")
_SAMPLE = "q0zx"  # stands in for a placeholder while the rest is parsed as an origin
_ANY_PORT_FORM = re.compile(r"(.*):\*/?", re.DOTALL)
_ANY_OCTET_FORM = re.compile(
    r"(https?://[0-9]+\.[0-9]+\.[0-9]+)\.\*((?::[^/*]*)?)/?", re.IGNORECASE
)
_REGEX = re.compile(r"[\\^$()|+?]|\.\*|\[(?![0-9a-f:.]+\])", re.IGNORECASE)
_ANY_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_EXAMPLES = (
    "https://{branch}.preview.example.com, or in development http://192.168.1.*:3000,"
    " http://localhost:*"
)


@dataclass(frozen=True)
class OriginPattern:
    """Many origins that differ in one place: a label, a last octet or a port. Made by
    `parse_pattern`.

    `text` is the pattern as the contract holds it. `body` is its regular expression without
    anchors, the same for Python and PCRE: no `"`, no capture, nothing that depends on flags, and at
    most 62 steps back.
    """

    text: str
    body: str

    @property
    def python_pattern(self) -> str:
        r"""For `re.match`, as django-cors-headers applies it; `\Z`, since `$` also stands before a
        final newline."""
        return rf"\A{self.body}\Z"

    @property
    def nginx_pattern(self) -> str:
        """For a quoted `~` key of an nginx map; header values hold no newline there."""
        return f"^{self.body}$"

    def matches(self, origin: str) -> bool:
        """Whether a browser's `Origin:` value fits this pattern."""
        return re.match(self.python_pattern, origin) is not None


def parse_pattern(text: str, *, production: bool) -> OriginPattern:
    """A pattern from its text: `https://{branch}.preview.example.com`,
    `https://pr-{n}.preview.example.com`, and in development also `http://192.168.1.*:3000`,
    `http://localhost:*`, `http://127.0.0.1:*` and regular expressions.

    Raises OriginError, also for what would allow origins of third parties: a placeholder right
    below a public suffix, public addresses, http in production.
    """
    try:
        return _parse(prepare(text), production)
    except Refusal as refusal:
        raise OriginError(f"{shown(text)} {refusal}") from None


def _parse(text: str, production: bool) -> OriginPattern:
    if text.startswith("^"):
        return _regular_expression(text, production)
    placeholders = len(_PLACEHOLDER.findall(text)) + text.count("*")
    if placeholders > 1:
        raise Refusal(f"has more than one placeholder; a pattern has one, like {_EXAMPLES}")
    any_octet = _ANY_OCTET_FORM.fullmatch(text)
    if any_octet:
        return _octet_pattern(any_octet[1], any_octet[2], production)
    any_port = _ANY_PORT_FORM.fullmatch(text)
    if any_port:
        return _port_pattern(any_port[1], production)
    if _REGEX.search(_PLACEHOLDER.sub("", text)):
        raise Refusal(
            f"is a regular expression or a template, not an origin pattern; write {_EXAMPLES}"
        )
    if "*" in text:
        raise Refusal(
            "has a '*' where only a name fits; write one whole label as a placeholder, like"
            f" {_EXAMPLES}"
        )
    return _label_pattern(text, production)


# ---------------------------------------------------------------------------- an octet, or the port


def _octet_pattern(front: str, port: str, production: bool) -> OriginPattern:
    if production:
        raise Refusal("is a pattern over addresses, for development only; list each origin")
    first = parse(f"{front}.1{port}", production)
    if first.address is None or first.address.is_global:
        raise Refusal(
            "spans public addresses, other people's among them; use a private network, or list each"
            " origin"
        )
    before = f"{first.scheme}://{first.host.removesuffix('1')}"
    after = first.port_text
    body = re.escape(before) + OCTET + re.escape(after)
    return OriginPattern(f"{before}*{after}", body)


def _port_pattern(front: str, production: bool) -> OriginPattern:
    if production:
        raise Refusal(
            "is a pattern over ports, for development only; list each origin with its port"
        )
    origin = parse(front, production)
    has_port = re.search(r":[0-9]+\Z", front)
    if origin.host not in ("localhost", "127.0.0.1") or has_port:
        raise Refusal(
            "has '*' as port of a host other than localhost or 127.0.0.1; list each port as an"
            " origin"
        )
    default = DEFAULT_PORTS[origin.scheme]  # a browser leaves it out
    any_other_port = rf"(?::(?!{default}(?![0-9]))(?:{_ANY_PORT}))?"
    return OriginPattern(f"{origin}:*", re.escape(str(origin)) + any_other_port)


# ------------------------------------------------------------------------------------------ a label


def _label_pattern(text: str, production: bool) -> OriginPattern:
    placeholder = _PLACEHOLDER.search(text)
    if placeholder is None:
        raise Refusal(
            f"has no placeholder (lower case, in braces); write {_EXAMPLES}, or list it as an exact"
            " origin"
        )
    if _SAMPLE in text.lower():
        raise Refusal(f"holds {_SAMPLE!r}, which this kit keeps for itself in patterns; rename it")
    name = placeholder[0]
    try:
        sample = parse(text.replace(name, _SAMPLE), production)
    except Refusal as refusal:
        raise Refusal(str(refusal).replace(_SAMPLE, name)) from None
    if production and sample.scheme != "https":
        raise Refusal(
            "is an http pattern, which anyone on the way can serve; use https in production"
        )
    return _around_label(sample, name)


def _around_label(sample: Origin, name: str) -> OriginPattern:
    labels = sample.host.split(".")
    place = _place_of_sample(labels)
    if place is None or labels[place].startswith("xn--"):
        raise Refusal(
            "has its placeholder in an international label; write that label in ASCII letters"
        )
    end = labels[place].partition(_SAMPLE)[2]
    _check_base(name, end, ".".join(labels[place + 1 :]))
    before, after = str(sample).split(_SAMPLE)
    room_in_label = 63 - len(labels[place])
    room_in_name = 253 - len(sample.host)
    room = min(room_in_label, room_in_name) + len(_SAMPLE)
    label = rf"[a-z0-9](?:[a-z0-9-]{{0,{room - 2}}}[a-z0-9])?"
    body = re.escape(before) + label + re.escape(after)
    return OriginPattern(f"{before}{name}{after}", body)


def _place_of_sample(labels: list[str]) -> int | None:
    for place, label in enumerate(labels):
        if _SAMPLE in label:
            return place
    return None


def _check_base(name: str, end: str, base: str) -> None:
    """`end` follows the placeholder in its label, `base` follows the label."""
    if not base:
        raise Refusal(f"has {name} in its last label, so it could be any host; write {_EXAMPLES}")
    if is_public(base) and not platforms.is_owned(end, base):
        raise Refusal(
            f"has {name} right below {base}, a public suffix under which anyone gets a name; "
            f"{platforms.cure(name, base)}"
        )


# ----------------------------------------------------------------------------- a regular expression


def _regular_expression(text: str, production: bool) -> OriginPattern:
    """A regular expression; wherever a placeholder is enough, that is better."""
    if production:
        raise Refusal(f"is a regular expression, for development only; write {_EXAMPLES}")
    try:
        pattern = OriginPattern(text, regexes.body(text))
    except regexes.PatternError as problem:
        raise Refusal(f"is a regular expression that {problem}") from None
    # First what can be said of each sample alone: it has the clearer messages.
    origins = [_plain_origin(sample, production) for sample in regexes.samples(text)]
    for origin in origins:
        for value in look_alikes(origin):
            if pattern.matches(value) and not _same_owner(origin, value):
                raise Refusal(
                    f"is a regular expression that allows {value[:80]!a}, an unlisted origin; write"
                    f" {_EXAMPLES}"
                )
    return pattern


def _plain_origin(sample: str, production: bool) -> Origin:
    try:
        origin = parse(sample, production)
    except Refusal as refusal:
        raise Refusal(
            f"is a regular expression that allows {sample!a}, which no browser sends: {refusal}"
        ) from None
    if str(origin) != sample:
        raise Refusal(
            f"is a regular expression that allows {sample!a}, which a browser writes {origin}"
        )
    return origin


def _same_owner(origin: Origin, value: str) -> bool:
    """Whether the owner of `origin` also owns `value`: the same host, or a sibling under a name of
    theirs."""
    try:
        other = parse(value, production=False)
    except Refusal:
        return False
    if str(other) != value:
        return False
    if other.host == origin.host:
        return True
    if origin.address and other.address and not origin.address.is_global:
        return origin.host.rpartition(".")[0] == other.host.rpartition(".")[0]
    if origin.is_ip:
        return False
    base = origin.host.partition(".")[2]
    siblings = other.host.partition(".")[2] == base
    return siblings and "." in base and not is_public(base)
