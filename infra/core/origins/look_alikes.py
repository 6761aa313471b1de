"""Values that resemble an origin and must not pass for it: what tests and probes send. Pure."""

from __future__ import annotations

from infra.core.origins.origin import Origin

_SPECIAL = "!$&'()*+,;=^_`{|}~\"<>%\\\x01\x08\x0b\x1f\x7f\xa0\xad"
_SCHEMES = (
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
)
_ENDS = (
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
)


def look_alikes(origin: Origin) -> list[str]:
    """Values that resemble `origin` and must not pass for it; the origin itself is never among
    them.

    Each fits into one header line as it is: Latin-1, no CR, LF or NUL, no blanks at its ends. Some
    are origins of other pages (another port, the parent domain): leave those out that are allowed
    by another entry.
    """
    values = _other_hosts(origin)
    values += _other_ports(origin)
    values += _other_schemes(origin)
    values += _no_origins(origin)
    different = dict.fromkeys(values)
    different.pop(str(origin), None)
    return list(different)


def _other_hosts(origin: Origin) -> list[str]:
    host = origin.host
    names = _longer_and_shorter(host) + _other_spellings(host)
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
    return [f"{origin.scheme}://{name}{origin.port_text}" for name in names]


def _longer_and_shorter(host: str) -> list[str]:
    parent = host.partition(".")[2]
    return [
        f"evil{host}",
        f"evil-{host}",
        f"evil.{host}",
        f"www.{host}",
        f"{host}.evil.example",
        f"{host}evil",
        f"{host}-evil.example",
        f"{host}0",
        host[:-1],
        host[1:],
        parent or "evil.example",
    ]


def _other_spellings(host: str) -> list[str]:
    names = [f"{host}.", f"{host}..", f".{host}", host.upper(), host.title(), host.swapcase()]
    for place, character in enumerate(host):
        if character not in ".:-":
            continue
        before, after = host[:place], host[place + 1 :]
        for other in ("x", "", "/", "%2e"):
            names.append(f"{before}{other}{after}")
    names += [f"{host}{special}.evil.example" for special in _SPECIAL]
    names += [f"{special}{host}" for special in _SPECIAL]
    return names


def _other_ports(origin: Origin) -> list[str]:
    front = f"{origin.scheme}://{origin.host}"
    number = origin.port_number
    next_number = number % 65535 + 1
    return [
        f"{front}:{number}",
        front,
        f"{front}:",
        f"{front}:{number}0",
        f"{front}:0{number}",
        f"{front}:{next_number}",
        f"{front}:0",
        f"{front}:1",
        f"{front}:65536",
        f"{front}:*",
    ]


def _other_schemes(origin: Origin) -> list[str]:
    rest = str(origin).removeprefix(origin.scheme)
    values = [scheme + rest for scheme in _SCHEMES]
    values += [rest, rest.removeprefix(":"), rest.removeprefix("://")]
    return values


def _no_origins(origin: Origin) -> list[str]:
    text = str(origin)
    values = [text + end for end in _ENDS]
    values += [
        f"{text} https://evil.example",
        f"https://evil.example {text}",
        f"https://evil.example,{text}",
    ]
    values += [
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
    values += [f"({text})", f'"{text}"', f"\x01{text}"]
    return values
