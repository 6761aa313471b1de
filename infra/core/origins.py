"""Origins: parse, normalise, refuse; shapes to patterns. Pure, no pulumi import.

`str(Origin)` is byte for byte what a browser sends in `Origin:` (Fetch standard, "Origin header";
URL standard, "host serializing"). A few harmless spellings are forgiven (upper case, a default
port, one trailing slash, blanks around); everything else that a browser would not send, or that a
person did not mean, is an OriginError with one line: the value, the part of it that is wrong, and
how to write it. A password is never shown.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from infra.core import exits, patterns

Address = IPv4Address | IPv6Address

DEFAULT_PORTS = {"http": 80, "https": 443}
# Fetch standard, "bad port", as of 2026-07-02: browsers load nothing from these.
BAD_PORTS = frozenset(
    {
        1,
        7,
        9,
        11,
        13,
        15,
        17,
        19,
        20,
        21,
        22,
        23,
        25,
        37,
        42,
        43,
        53,
        69,
        77,
        79,
        87,
        95,
        101,
        102,
        103,
        104,
        109,
        110,
        111,
        113,
        115,
        117,
        119,
        123,
        135,
        137,
        139,
        143,
        161,
        179,
        389,
        427,
        465,
        512,
        513,
        514,
        515,
        526,
        530,
        531,
        532,
        540,
        548,
        554,
        556,
        563,
        587,
        601,
        636,
        989,
        990,
        993,
        995,
        1719,
        1720,
        1723,
        2049,
        3659,
        4045,
        4190,
        5060,
        5061,
        6000,
        6566,
        6665,
        6666,
        6667,
        6668,
        6669,
        6679,
        6697,
        10080,
    }
)
_MOST_CHARACTERS = 1000
_EXAMPLE = "https://app.example.com"
_WRITE = f"write scheme, host and port only, like {_EXAMPLE}"


class OriginError(ValueError):
    """Not an origin, or not one for this environment. The text is one line: value, wrong part, how
    to write it."""

    exit_status = exits.USAGE


class _Refusal(ValueError):
    """Why, without the value; the public functions put the value in front."""


@functools.total_ordering
@dataclass(frozen=True)
class Origin:
    """Scheme, host and port as browsers serialise them; made by `parse_origin`.

    `host` is an A-label name, a dotted IPv4 address or a bracketed, compressed IPv6 address; `port`
    is None where it is the scheme's default.
    """

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + ("" if self.port is None else f":{self.port}")

    def __lt__(self, other: Origin) -> bool:
        return self._key < other._key

    @property
    def _key(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port or 0  # None does not compare with numbers

    @property
    def address(self) -> Address | None:
        """The host as an IP address; None for a name."""
        if self.host.startswith("["):
            return IPv6Address(self.host[1:-1])
        return IPv4Address(self.host) if ends_in_number(self.host) else None

    @property
    def is_ip(self) -> bool:
        """The host is an address; cookies never travel between two of those."""
        return self.address is not None

    @property
    def is_loopback(self) -> bool:
        """The host is this very machine, by name or by address."""
        if self.address is not None:
            return self.address.is_loopback
        return self.host == "localhost" or self.host.endswith(".localhost")


def parse_origin(text: str, *, production: bool) -> Origin:
    """The origin that a browser would send for `text`; `production` also refuses what the internet
    cannot reach.

    Raises OriginError.
    """
    try:
        return _parse(_prepare(text), production)
    except _Refusal as refusal:
        raise OriginError(f"{_shown(text)} {refusal}") from None


def loopback_twin(origin: Origin) -> Origin | None:
    """The other origin of the pair `localhost` and `127.0.0.1` with the same scheme and port, if it
    is one of them."""
    twins = {"localhost": "127.0.0.1", "127.0.0.1": "localhost"}
    return Origin(origin.scheme, twins[origin.host], origin.port) if origin.host in twins else None


def origin_notes(origins: Iterable[Origin]) -> list[str]:
    """One line for each of `localhost` and `127.0.0.1` that is listed without the other: half of
    what was meant."""
    listed = list(dict.fromkeys(origins))
    pairs = [(origin, loopback_twin(origin)) for origin in listed]
    return [
        f"`localhost` and `127.0.0.1` are two origins: add {twin} if the page of {origin} is opened"
        " under that name too"
        for origin, twin in pairs
        if twin is not None and twin not in listed
    ]


def _parse(text: str, production: bool) -> Origin:
    _check_whole(text)
    scheme, rest = _split_scheme(text, production)
    authority = _split_rest(scheme, rest, production)
    host_text, port_text = _split_port(authority, scheme, production)
    host = _host(host_text)
    port = None if port_text is None else _port(port_text)
    origin = Origin(scheme, host, None if port == DEFAULT_PORTS[scheme] else port)
    if production:
        _check_production(origin)
    return origin


# ---- the value as a whole

# What a person most likely did, first match first. Text, not compiled: importing this module stays
# cheap.
_WHOLE = (
    (
        (
            r"Calling (__str__|\[?toString)|\bOutput(\[|<|\b.*\bobject"
            r" at\b)|04da6b54-80e4-46f7-96ec-b56ff0331ba9"
        ),
        (
            "holds the text of an unresolved Pulumi output; use its value (inside .apply), or write"
            " the origin itself"
        ),
    ),
    (
        r"\[secret\]",
        "holds Pulumi's mask over a secret; an origin is public: export it as a plain output",
    ),
    (
        r"\Anull\Z",
        (
            "is what pages without an origin send, anyone's included, so it is never allowed;"
            f" serve the page over http(s) and write its origin, like {_EXAMPLE}"
        ),
    ),
    (
        r"\A\*\Z",
        f"is every origin; list each one, like {_EXAMPLE}, or set allow_all_origins in development",
    ),
    (
        r"\A(none|undefined|nil|nan|true|false)\Z",
        f"is what an unset variable prints; write one like {_EXAMPLE}",
    ),
    (r"[\r\n]", "holds a line break, so perhaps several values; write one origin an item"),
    (r"[\"'`‘’‚‛“”„‟«»‹›]", f"holds a quotation mark; write the bare origin, like {_EXAMPLE}"),
    (
        r"[${}<>]|%(?![0-9a-f]{2})\w+%|%\(|%[sdv]\b",
        (
            "holds a template or an unset variable that nothing filled in; write the origin"
            f" itself, like {_EXAMPLE}"
        ),
    ),
    (r"[,;|]|://.*://|\A\[.*://", "holds several values; write one origin an item"),
    (r"[ \t]", "holds a blank; an origin has none, and several origins are one an item"),
    (r"\\", f"holds a backslash, which browsers read as a slash; {_WRITE}"),
    (
        r"\*",
        "holds a wildcard, which only shapes may; an origin is exact, one for each host and port",
    ),
)
_USER = re.compile(r"@|%40|[＠﹫]", re.IGNORECASE)
_AFTER_USER = re.compile(
    r"(?:(?P<scheme>https?)://)?[^/\\?#]*@(?P<host>[a-z0-9.:\[\]-]{1,80})/?", re.IGNORECASE
)
# Default-ignorable letters and marks: drawn as nothing, though no format character (Unicode,
# DerivedCoreProperties).
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_INVISIBLE_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp")


def _prepare(text: object) -> str:
    """`text` without blanks around, a final newline; refuses what is no text, and anything with a
    user in it."""
    if not isinstance(text, str):
        raise _Refusal(f"is {_kind(text)}, not text; write an origin in quotes, like '{_EXAMPLE}'")
    if len(text) > _MOST_CHARACTERS:
        raise _Refusal(f"has {len(text)} characters, more than any origin; {_WRITE}")
    if _USER.search(text):
        raise _Refusal(
            "has a user or password before the '@', which origins never hold;"
            f" {_without_user(text)}"
        )
    return text.removesuffix("\n").removesuffix("\r").strip(" \t")


def _kind(value: object) -> str:
    return "empty" if value is None else f"of type {type(value).__name__}"


def _without_user(text: str) -> str:
    match = _AFTER_USER.fullmatch(text.strip(" \t\r\n"))
    if match is None:
        return _WRITE
    return _suggest(match["scheme"] or "https", match["host"], production=False)


def _check_whole(text: str) -> None:
    if not text:
        raise _Refusal(
            f"is empty; was the variable that it came from unset? Write an origin like {_EXAMPLE}"
        )
    for pattern, why in _WHOLE:
        if re.search(pattern, text, re.IGNORECASE):
            raise _Refusal(why)
    for character in text:
        _check_character(character)


def _check_character(character: str) -> None:
    if unicodedata.category(character) in _INVISIBLE_CATEGORIES or _IGNORABLE.match(character):
        raise _Refusal(
            f"holds an invisible or control character, {_named(character)}; type it anew without"
        )
    if character == "\N{IDEOGRAPHIC FULL STOP}":
        raise _Refusal(f"holds {_named(character)}; write a plain dot")
    plain = unicodedata.normalize("NFKC", character)
    if plain != character:
        better = f"write {plain!a}" if plain.isascii() else "type it anew with plain letters"
        raise _Refusal(f"holds the compatibility character {_named(character)}; {better}")


def _named(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def _shown(text: object) -> str:
    """The value as an error may show it: escaped, shortened, without user, password or query."""
    if not isinstance(text, str):
        return (
            ascii(text)[:60]
            if text is None or isinstance(text, (bool, int, float))
            else "the value"
        )
    if _USER.search(text):
        match = _AFTER_USER.fullmatch(text.strip(" \t\r\n"))
        scheme = (match and match["scheme"]) or ""
        text = f"{scheme}{'://' if scheme else ''}***@{match['host'] if match else '...'}"
    head = re.split(r"(?<=[?#])", text, maxsplit=1)
    text = head[0] + ("..." if len(head) > 1 and head[1] else "")
    most = 80 if text.isascii() else 30  # escapes are longer than what they stand for
    return ascii(text if len(text) <= most else text[: most - 3] + "...")


def _suggest(scheme: str, authority: str, production: bool) -> str:
    """`write <origin>` where scheme and authority make one, else how origins look."""
    if not authority:
        return _WRITE
    try:
        return f"write {_parse(f'{scheme}://{authority}', production)}"
    except _Refusal:
        return _WRITE


# ---- scheme, rest, port

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BROKEN_SCHEME = re.compile(r"(https?)(?::/?|;//|//)(?=[^/:;])(.*)", re.IGNORECASE | re.DOTALL)
_OTHER_SCHEME = re.compile(r"([a-z][a-z0-9+-]*):(?!\d|:)", re.IGNORECASE)
_REST = re.compile(r"([^/?#]*)(/[^?#]*)?(\?[^#]*)?(#.*)?", re.DOTALL)


def _split_scheme(text: str, production: bool) -> tuple[str, str]:
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise _Refusal(_without_scheme(text, production))
    scheme, rest = match[1].lower(), match[2]
    if scheme not in DEFAULT_PORTS:
        raise _Refusal(_other_scheme(scheme, _authority(rest), production))
    return scheme, rest


def _authority(rest: str) -> str:
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _without_scheme(text: str, production: bool) -> str:
    if broken := _BROKEN_SCHEME.fullmatch(text):
        return (
            "has no '://' after its scheme;"
            f" {_suggest(broken[1], _authority(broken[2]), production)}"
        )
    if (other := _OTHER_SCHEME.match(text)) and other[1].lower() != "localhost" and not _ipv6(text):
        return _other_scheme(other[1].lower(), "", production)
    authority = _authority(text.removeprefix("://").removeprefix("//"))
    authority = f"[{authority}]" if _ipv6(authority) else authority
    both = [_suggest(scheme, authority, production) for scheme in ("http", "https")]
    if _WRITE in both:
        return f"has no scheme; {_WRITE}"
    return (
        f"has no scheme; {both[0]} or {both[1].removeprefix('write ')}, whichever the page is"
        " opened with"
    )


def _other_scheme(scheme: str, authority: str, production: bool) -> str:
    meant = "http" if scheme == "ws" else "https"
    because = (
        "pages opened from files have no origin"
        if scheme == "file"
        else "pages come by http or https"
    )
    return (
        f"has the scheme {scheme[:30]!a}, but {because}; {_suggest(meant, authority, production)}"
    )


def _split_rest(scheme: str, rest: str, production: bool) -> str:
    match = _REST.fullmatch(rest)
    assert match is not None  # every part is optional and takes what the others leave
    authority, path, query, fragment = match.groups()
    if not authority:
        after = _suggest(scheme, _authority(rest.lstrip("/")), production)
        raise _Refusal(f"has no host after '://' (was a variable or an output empty?); {after}")
    parts = [f"a path ({_shown(path)})"] if path and path != "/" else []
    parts += ["a query"] if query is not None else []
    parts += ["a fragment"] if fragment is not None else []
    if parts:
        raise _Refusal(
            f"has {' and '.join(parts)}, which no origin has;"
            f" {_suggest(scheme, authority, production)}"
        )
    return authority


def _split_port(authority: str, scheme: str, production: bool) -> tuple[str, str | None]:
    if bracketed := re.fullmatch(r"(\[[^\[\]]*\])(?::(.*))?", authority):
        return bracketed[1], bracketed[2]
    if "[" in authority or "]" in authority:
        raise _Refusal(
            "has a stray bracket in its host; only an IPv6 address has them, like"
            " http://[2001:db8::1]:8080"
        )
    if authority.count(":") > 1:
        if _ipv6(authority):
            fix = _suggest(scheme, f"[{authority}]", production)
            raise _Refusal(f"has an IPv6 address as host without brackets; {fix}")
        raise _Refusal(f"has more than one ':' after its scheme, so no clear port; {_WRITE}")
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _port(text: str) -> int:
    if not text:
        raise _Refusal("has an empty port; drop the ':' or write a number after it")
    if not re.fullmatch(r"[0-9]+", text):
        raise _Refusal(
            f"has the port {_shown(text)}, not a number; write one from 1 to 65535 in plain digits"
        )
    if text.startswith("0") and text.strip("0"):
        raise _Refusal(f"has a zero-padded port; browsers write {text.lstrip('0')[:20]}")
    if len(text) > 5 or not 1 <= int(text) <= 65535:
        raise _Refusal(f"has the port {text[:20]}; write one from 1 to 65535")
    if int(text) in BAD_PORTS:
        raise _Refusal(
            f"has the port {text}, which browsers block (Fetch standard, 'bad port'); use one like"
            " 8080"
        )
    return int(text)


# ---- host

_UNSET_LABELS = ("none", "null", "undefined")
_LABEL = re.compile(r"[a-z0-9-]+")


def _host(text: str) -> str:
    """The host as browsers serialise it. `text` is an authority without its port."""
    if text.startswith("["):
        return _bracketed_host(text[1:-1])
    _check_host_text(text)
    host = text.lower() if text.isascii() else _a_labels(text)
    if ends_in_number(host):
        return _ipv4(host)
    _check_name(host)
    return host


def _check_host_text(text: str) -> None:
    if not text:
        raise _Refusal(f"has no host before its port; {_WRITE}")
    if "%" in text:
        raise _Refusal(
            "has a percent sign in its host; write the characters themselves, not their codes"
        )
    if "_" in text:
        raise _Refusal(
            "has an underscore in its host; names of hosts have letters, digits and hyphens:"
            " rename it"
        )
    if wrong := re.search(r"[^A-Za-z0-9.\-\x80-\U0010ffff]", text):
        raise _Refusal(
            f"has {wrong[0]!a} in its host; names of hosts have letters, digits, hyphens and dots"
        )
    if text.endswith("."):
        raise _Refusal(
            "has a trailing dot after its host, a different origin to a browser; drop the dot"
        )
    if "" in text.split("."):
        raise _Refusal(
            "has an empty label in its host (two dots in a row, or one at the start); drop the dot"
        )
    if any(label in _UNSET_LABELS for label in text.lower().split(".")):
        raise _Refusal(f"has {text!a} as host, which is what an unset variable prints; {_WRITE}")


def _check_name(host: str) -> None:
    for label in host.split("."):
        _check_label(label)
    if len(host) > 253:
        raise _Refusal(f"has a host of {len(host)} characters; names have at most 253")


def _check_label(label: str) -> None:
    place = f"the label {_shown(label)} in its host"
    if len(label) > 63:
        raise _Refusal(f"has {place}, of {len(label)} characters; labels have at most 63")
    if label.startswith("-") or label.endswith("-"):
        raise _Refusal(f"has {place}, with a hyphen at its start or end; drop it")
    if label.startswith("xn--"):
        _check_a_label(label, place)
    elif label[2:4] == "--":
        raise _Refusal(
            f"has {place}, with two hyphens in third place, reserved for xn-- names; rename it"
        )


def _check_a_label(label: str, place: str) -> None:
    import idna

    try:
        valid = idna.alabel(idna.ulabel(label)).decode() == label
    except ValueError:
        valid = False
    if not valid:
        raise _Refusal(
            f"has {place}, which is no valid xn-- label (IDNA 2008); write the name in its own"
            " letters"
        )


def _a_labels(text: str) -> str:
    """The ASCII form of an international name, as browsers make it (UTS 46, non-transitional)."""
    import idna

    try:
        name = idna.encode(text, uts46=True).decode()
        _check_bidi(name)
    except ValueError as problem:
        raise _Refusal(
            f"has a host that is no valid international name ({ascii(str(problem))[1:-1]})"
        ) from None
    for label in text.split("."):
        _check_scripts(label, name)
    return name


def _check_bidi(name: str) -> None:
    """RFC 5893: one right-to-left label binds them all; `idna` itself looks at single labels."""
    import idna

    labels = idna.decode(name).split(".")
    if any(
        unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in "".join(labels)
    ):
        for label in labels:
            idna.check_bidi(label, check_ltr=True)


# Scripts that are written together; any other mixture inside a label is how look-alike names are
# made (UTS 39).
_WRITTEN_TOGETHER = (
    {"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"},
    {"CJK", "HANGUL"},
    {"CJK", "BOPOMOFO"},
)


def _check_scripts(label: str, name: str) -> None:
    letters = {_script(c): c for c in label if unicodedata.category(c).startswith("L")}
    letters.pop("MODIFIER", None)
    if len(letters) > 1 and not any(letters.keys() <= together for together in _WRITTEN_TOGETHER):
        mixed = ", ".join(_named(character) for character in letters.values())
        raise _Refusal(
            f"mixes scripts within one label ({mixed}); use one script, or write {name} if it is"
            " meant"
        )


def _script(character: str) -> str:
    return unicodedata.name(character, "UNNAMED").split()[0]


# ---- addresses

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_IPV4_IN_IPV6 = (ip_network("::ffff:0:0/96"), ip_network("::/96"))

# Special-purpose address registries of IANA: first match names the range.
_RANGES = tuple(
    (ip_network(network), what)
    for what, networks in (
        ("a loopback address", ("127.0.0.0/8", "::1/128")),
        (
            "a private address; did you export private_ip instead of public_ip?",
            ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
        ),
        ("a link-local address", ("169.254.0.0/16", "fe80::/10")),
        ("a shared address (carrier-grade NAT)", ("100.64.0.0/10",)),
        (
            "a documentation address (an example from a manual?)",
            ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
        ),
        ("a benchmarking address", ("198.18.0.0/15", "2001:2::/48")),
        (
            "an IPv4 address inside IPv6 (6to4, Teredo or NAT64); write the IPv4 address itself",
            ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "192.88.99.0/24"),
        ),
        ("a reserved address", ("192.0.0.0/24", "240.0.0.0/4", "2001::/23")),
    )
    for network in networks
)
_GLOBAL_UNICAST = ip_network("2000::/3")


def _ipv6(text: str) -> IPv6Address | None:
    try:
        return IPv6Address(text)
    except ValueError:
        return None


def _bracketed_host(text: str) -> str:
    if "%" in text:
        raise _Refusal(
            "has an IPv6 zone id ('%...'), which no browser sends; write the address without it"
        )
    address = _ipv6(text)
    if address is None:
        raise _Refusal(
            "has no valid IPv6 address in its brackets; write one like http://[2001:db8::1]:8080"
        )
    if any(address in network for network in _IPV4_IN_IPV6) and int(address) > 1:
        raise _Refusal(
            "has an IPv4 address inside an IPv6 one; write"
            f" {IPv4Address(int(address) & 0xFFFFFFFF)}"
        )
    _check_unicast(address)
    return f"[{address.compressed}]"


def ends_in_number(host: str) -> bool:
    """URL standard, "ends in a number checker": such a host is an IPv4 address or nothing."""
    return re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]) is not None


def _ipv4(host: str) -> str:
    if not _IPV4.fullmatch(host):
        read = browser_ipv4(host)
        says = (
            f"is an odd spelling of {read} to a browser"
            if read
            else "ends in a number but is no IPv4 address"
        )
        raise _Refusal(
            f"has a host that {says}; write four decimal numbers without leading zeros, like"
            " 192.0.2.10"
        )
    _check_unicast(IPv4Address(host))
    return host


def browser_ipv4(host: str) -> IPv4Address | None:
    """URL standard, "IPv4 parser": octal, hexadecimal and short spellings."""
    try:
        *front, last = [_ipv4_number(part) for part in host.split(".")]
    except ValueError:
        return None
    room = 4 - len(front)
    if room < 1 or any(number > 255 for number in front) or last >= 256**room:
        return None
    return IPv4Address(sum(number << (24 - 8 * place) for place, number in enumerate(front)) + last)


def _ipv4_number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if len(text) > 1 and text.startswith("0") else 10)


def _check_unicast(address: Address) -> None:
    if address.is_unspecified or address in ip_network("0.0.0.0/8"):
        raise _Refusal(
            f"has {address} as host, where servers listen; write the address that the page is"
            " opened by"
        )
    if address.is_multicast or address == IPv4Address("255.255.255.255"):
        raise _Refusal(
            f"has {address} as host, a multicast or broadcast address; write the address of one"
            " machine"
        )


# ---- production

_NOT_ON_THE_INTERNET = {
    "local": "found by mDNS on one network only",
    "internal": "a cloud's or a company's inner name",
    "localhost": "the visitor's own machine",
    "localdomain": "the visitor's own machine",
    "test": "reserved for tests (RFC 6761)",
    "example": "reserved for documentation (RFC 6761)",
    "invalid": "reserved as never valid (RFC 6761)",
    "onion": "reachable over Tor only (RFC 7686)",
    "alt": "outside the DNS (RFC 9476)",
    "home.arpa": "a home network's (RFC 8375)",
} | dict.fromkeys(
    ("lan", "home", "corp", "intranet", "private"), "a local network's, not in the DNS"
)
_PRODUCTION_HELP = "in production write what visitors open"


def _check_production(origin: Origin) -> None:
    address = origin.address
    if address is not None:
        _check_global(address)
        return
    if "." not in origin.host:
        raise _Refusal(
            f"has the single label {origin.host!a} as host, unknown to the internet;"
            f" {_PRODUCTION_HELP}"
        )
    for name, why in _NOT_ON_THE_INTERNET.items():
        if f".{origin.host}".endswith(f".{name}"):
            raise _Refusal(f"has a host under .{name}, {why}; {_PRODUCTION_HELP}")


def _check_global(address: Address) -> None:
    what = next((what for network, what in _RANGES if address in network), None)
    # Python's own table grows with its version, hence the rows above; it stays as the net below
    # them.
    unallocated = address.version == 6 and address not in _GLOBAL_UNICAST
    if what is None and (unallocated or not address.is_global):
        what = "an address that is not globally reachable"
    if what is not None:
        raise _Refusal(f"has {address} as host, {what}; {_PRODUCTION_HELP}")


# ---- shapes

_PLACEHOLDER = re.compile(r"\{[a-z][a-z0-9_]{0,30}\}")
_SAMPLE = "q0zx"  # stands in for a placeholder while the rest is parsed as an origin
_ANY_PORT_SHAPE = re.compile(r"(.*):\*/?", re.DOTALL)
_ANY_OCTET_SHAPE = re.compile(
    r"(https?://[0-9]+\.[0-9]+\.[0-9]+)\.\*((?::[^/*]*)?)/?", re.IGNORECASE
)
_RAW_REGEX = re.compile(r"[\\^$()|+?]|\.\*|\[(?![0-9a-f:.]+\])", re.IGNORECASE)
_ANY_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_SHAPES = (
    "https://{branch}.preview.example.com, or in development http://192.168.1.*:3000,"
    " http://localhost:*"
)


@dataclass(frozen=True)
class Shape:
    """Many origins that differ in one place: a label, a last octet or a port. Made by
    `parse_shape`.

    `text` is the shape as the contract holds it, `body` its pattern without anchors, the same for
    Python and PCRE: no `"`, no capture, nothing that depends on flags, and at most 62 steps back.
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
        """Whether a browser's `Origin:` value is of this shape."""
        return re.match(self.python_pattern, origin) is not None


def parse_shape(text: str, *, production: bool) -> Shape:
    """A shape from its text: `https://{branch}.preview.example.com`,
    `https://pr-{n}.preview.example.com`, and in development also `http://192.168.1.*:3000`,
    `http://localhost:*` and `http://127.0.0.1:*`.

    Raises OriginError, also for what would let strangers in: a placeholder right below a public
    suffix, public addresses, http in production, and raw patterns.
    """
    try:
        return _shape(_prepare(text), production)
    except _Refusal as refusal:
        raise OriginError(f"{_shown(text)} {refusal}") from None


def _shape(text: str, production: bool) -> Shape:
    if text.startswith("^"):
        return _raw_shape(text, production)
    if len(_PLACEHOLDER.findall(text)) + text.count("*") > 1:
        raise _Refusal(f"has more than one placeholder; a shape has one, like {_SHAPES}")
    if octet := _ANY_OCTET_SHAPE.fullmatch(text):
        return _octet_shape(octet[1], octet[2], production)
    if port := _ANY_PORT_SHAPE.fullmatch(text):
        return _port_shape(port[1], production)
    if _RAW_REGEX.search(_PLACEHOLDER.sub("", text)):
        raise _Refusal(f"is a regular expression or a template, not a shape; write {_SHAPES}")
    if "*" in text:
        raise _Refusal(
            "has a '*' where only a name fits; write one whole label as a placeholder, like"
            f" {_SHAPES}"
        )
    return _label_shape(text, production)


def _octet_shape(front: str, port: str, production: bool) -> Shape:
    if production:
        raise _Refusal("is a shape over addresses, for development only; list each origin")
    first = _parse(f"{front}.1{port}", production)
    if first.address is None or first.address.is_global:
        raise _Refusal(
            "spans public addresses, other people's among them; use a private network, or list each"
            " origin"
        )
    before, after = f"{first.scheme}://{first.host.removesuffix('1')}", _port_text(first)
    return Shape(f"{before}*{after}", re.escape(before) + _OCTET + re.escape(after))


def _port_shape(front: str, production: bool) -> Shape:
    if production:
        raise _Refusal(
            "is a shape over ports, for development only; list each origin with its port"
        )
    origin = _parse(front, production)
    if origin.host not in ("localhost", "127.0.0.1") or re.search(r":[0-9]+\Z", front):
        raise _Refusal(
            "has '*' as port of a host other than localhost or 127.0.0.1; list each port as an"
            " origin"
        )
    default = DEFAULT_PORTS[origin.scheme]  # a browser leaves it out
    return Shape(
        f"{origin}:*", rf"{re.escape(str(origin))}(?::(?!{default}(?![0-9]))(?:{_ANY_PORT}))?"
    )


def _label_shape(text: str, production: bool) -> Shape:
    placeholder = _PLACEHOLDER.search(text)
    if placeholder is None:
        raise _Refusal(
            f"has no placeholder (lower case, in braces); write {_SHAPES}, or list it as an exact"
            " origin"
        )
    if _SAMPLE in text.lower():
        raise _Refusal(f"holds {_SAMPLE!r}, which this kit keeps for itself in shapes; rename it")
    name = placeholder[0]
    try:
        sample = _parse(text.replace(name, _SAMPLE), production)
    except _Refusal as refusal:
        raise _Refusal(str(refusal).replace(_SAMPLE, name)) from None
    if production and sample.scheme != "https":
        raise _Refusal(
            "is an http shape, which anyone on the way can serve; use https in production"
        )
    return _label_pattern(sample, name)


def _label_pattern(sample: Origin, name: str) -> Shape:
    labels = sample.host.split(".")
    place = next((index for index, label in enumerate(labels) if _SAMPLE in label), None)
    if place is None or labels[place].startswith("xn--"):
        raise _Refusal(
            "has its placeholder in an international label; write that label in ASCII letters"
        )
    base = ".".join(labels[place + 1 :])
    _check_base(name, base)
    before, after = str(sample).split(_SAMPLE)
    room = min(63 - len(labels[place]), 253 - len(sample.host)) + len(_SAMPLE)
    body = re.escape(before) + rf"[a-z0-9](?:[a-z0-9-]{{0,{room - 2}}}[a-z0-9])?" + re.escape(after)
    return Shape(f"{before}{name}{after}", body)


def _check_base(name: str, base: str) -> None:
    if not base:
        raise _Refusal(f"has {name} in its last label, so it could be any host; write {_SHAPES}")
    if _is_public(base):
        raise _Refusal(
            f"has {name} right below {base}, a public suffix under which anyone gets a name; "
            f"put a label of your own between, like https://{name}.shop.{base}"
        )


def _raw_shape(text: str, production: bool) -> Shape:
    """A regular expression, which a shape beats wherever one fits."""
    if production:
        raise _Refusal(f"is a regular expression, for development only; write {_SHAPES}")
    try:
        shape = Shape(text, patterns.body(text))
    except patterns.PatternError as problem:
        raise _Refusal(f"is a regular expression that {problem}") from None
    for origin in [_plain(sample, production) for sample in patterns.samples(text)]:
        for value in look_alikes(origin):
            if shape.matches(value) and not _akin(origin, value):
                raise _Refusal(
                    f"is a regular expression that lets in {value[:80]!a}, a stranger; write"
                    f" {_SHAPES}"
                )
    return shape


def _plain(sample: str, production: bool) -> Origin:
    try:
        origin = _parse(sample, production)
    except _Refusal as refusal:
        raise _Refusal(
            f"is a regular expression that lets in {sample!a}, which no browser sends: {refusal}"
        ) from None
    if str(origin) != sample:
        raise _Refusal(
            f"is a regular expression that lets in {sample!a}, which a browser writes {origin}"
        )
    return origin


def _akin(origin: Origin, value: str) -> bool:
    """Whether who serves `origin` serves `value` too: the same host, or a sibling under a name that
    is theirs."""
    try:
        other = _parse(value, False)
    except _Refusal:
        return False
    if str(other) != value:
        return False
    if other.host == origin.host:
        return True
    if origin.address and other.address and not origin.address.is_global:
        return origin.host.rpartition(".")[0] == other.host.rpartition(".")[0]
    base = origin.host.partition(".")[2]
    return (
        "." in base
        and not origin.is_ip
        and other.host.partition(".")[2] == base
        and not _is_public(base)
    )


def _is_public(base: str) -> bool:
    suffixes = public_suffixes()
    # The second question finds rules like `*.compute.example`, where each label below is somebody
    # else's.
    return bool(suffixes.is_public(base) or suffixes.is_public(f"{_SAMPLE}.{base}"))


def _port_text(origin: Origin) -> str:
    return "" if origin.port is None else f":{origin.port}"


@functools.cache
def public_suffixes():  # type: ignore[no-untyped-def]  # its type would have to be imported: 70 ms
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


# ---- look-alikes

_SPECIAL = "!$&'()*+,;=^_`{|}~\"<>%\\\x01\x08\x0b\x1f\x7f\xa0\xad"


def look_alikes(origin: Origin) -> list[str]:
    """Values that resemble `origin` and must not pass for it; the origin itself is never among
    them.

    Each fits into one header line as it is: Latin-1, no CR, LF or NUL, no blanks at its ends. Some
    are origins of other pages (another port, the parent domain): leave those out that are allowed
    on their own.
    """
    every = [
        *_other_hosts(origin),
        *_other_ports(origin),
        *_other_schemes(origin),
        *_no_origins(origin),
    ]
    return [value for value in dict.fromkeys(every) if value != str(origin)]


def _other_hosts(origin: Origin) -> list[str]:
    host = origin.host
    names = [
        f"evil{host}",
        f"evil-{host}",
        f"evil.{host}",
        f"www.{host}",
        f"{host}.evil.example",
        f"{host}evil",
    ]
    names += [
        f"{host}-evil.example",
        f"{host}0",
        host[:-1],
        host[1:],
        host.partition(".")[2] or "evil.example",
    ]
    names += [f"{host}.", f"{host}..", f".{host}", host.upper(), host.title(), host.swapcase()]
    names += [
        f"{host[:at]}{by}{host[at + 1 :]}"
        for at in _places(host, ".:-")
        for by in ("x", "", "/", "%2e")
    ]
    names += [f"{host}{special}.evil.example" for special in _SPECIAL] + [
        f"{special}{host}" for special in _SPECIAL
    ]
    names += [
        f"{'a' * 64}.{host}",
        f"{host}.{'a' * 64}",
        f"{'a.' * 120}{host}",
        f"{host}{'a' * 4000}",
    ]
    names += [
        f"user@{host}",
        f"user:pass@{host}",
        f"{host}@evil.example",
        f"{host}:80@evil.example",
    ]
    names += [
        f"evil.example/{host}",
        f"evil.example#{host}",
        f"evil.example?{host}",
        f"evil.example\\@{host}",
    ]
    return [f"{origin.scheme}://{name}{_port_text(origin)}" for name in names]


def _places(text: str, characters: str) -> list[int]:
    return [at for at, character in enumerate(text) if character in characters]


def _other_ports(origin: Origin) -> list[str]:
    front, number = f"{origin.scheme}://{origin.host}", origin.port or DEFAULT_PORTS[origin.scheme]
    ports = [
        f":{number}",
        "",
        ":",
        f":{number}0",
        f":0{number}",
        f":{number % 65535 + 1}",
        ":0",
        ":1",
        ":65536",
        ":*",
    ]
    return [front + port for port in ports]


def _other_schemes(origin: Origin) -> list[str]:
    rest = str(origin).removeprefix(origin.scheme)
    schemes = [
        "http",
        "https",
        "HTTP",
        "Https",
        "ws",
        "wss",
        "ftp",
        "file",
        "httpx",
        "xhttp",
        "chrome-extension",
    ]
    return [scheme + rest for scheme in schemes] + [
        rest,
        rest.removeprefix(":"),
        rest.removeprefix("://"),
    ]


def _no_origins(origin: Origin) -> list[str]:
    text = str(origin)
    after = [
        "/",
        "//",
        "/evil",
        "?",
        "?x",
        "#",
        ";",
        ",",
        ".evil.example",
        "evil",
        "\x01",
        "\x7f",
        "\t.x",
        "\xe9",
    ]
    several = [
        f"{text} https://evil.example",
        f"https://evil.example {text}",
        f"https://evil.example,{text}",
    ]
    whole = [
        "null",
        "NULL",
        "*",
        "undefined",
        "https://",
        "https://evil.example",
        text.upper(),
        text * 2,
        "a" * 4000,
    ]
    return (
        [text + end for end in after] + several + whole + [f"({text})", f'"{text}"', f"\x01{text}"]
    )
