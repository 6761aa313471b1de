"""The origins that the doctor asks for: the contract's, and unlisted ones that resemble them.
Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from infra.core.contract import Contract, Cors
from infra.core.origins import OriginError, OriginPattern, look_alikes, parse_origin
from rollout.doctor.questions import NULL, UNLISTED, Row

_PLACEHOLDER = re.compile(r"\{[^}]*\}")
_MOST_LOOK_ALIKES = 8
_MOST_OF_A_PATTERN = 4
_LONGEST = 100


def rows(contract: Contract, gone: Mapping[str, str] | None = None) -> tuple[Row, ...]:
    """The contract's origins, an example of each pattern, unlisted origins that resemble the first
    origin, and pages of previews that are `gone` (names by origins)."""
    cors = contract.cors
    previews = {origin: name for name, origin in contract.attached.items()}
    found = []
    for origin in cors.allowed_origins:
        why = "allowed by the contract"
        if origin in previews:
            why = f"the attached preview {previews[origin]}"
        found.append(Row(origin, True, why))
    for origin in cors.app_origins:
        found.append(Row(origin, True, "an app's origin"))
    for text, sample in _samples(cors).items():
        found.append(Row(sample, True, f"of the pattern {text}"))
    everyone = cors.allows_every_origin
    for origin in _look_alikes(cors):
        if not everyone or _can_call(origin, contract):
            found.append(Row(origin, everyone, "a look-alike"))
    found.append(Row(UNLISTED, everyone, "an unlisted origin"))
    found.append(Row(NULL, everyone, "a sandboxed page"))
    for origin, name in (gone or {}).items():
        found.append(Row(origin, everyone, f"{name}, a preview that is gone"))
    return tuple(found)


def _can_call(origin: str, contract: Contract) -> bool:
    """Whether headers decide: a page by https may not call an http backend, whatever it says."""
    mixed = origin.startswith("https:") and contract.backend.origin.startswith("http:")
    return not mixed


def _samples(cors: Cors) -> dict[str, str]:
    """An origin of each pattern, by the pattern's text."""
    samples = {}
    for text, pattern in zip(cors.pattern_texts, cors.patterns, strict=True):
        sample = _sample(text, pattern)
        if sample:
            samples[text] = sample
    return samples


def _sample(text: str, pattern: OriginPattern) -> str:
    """An origin that the pattern matches, found by trying; empty if none was found."""
    tries = [text.replace("*", "77"), text.replace("*", "7077")]
    placeholder = _PLACEHOLDER.search(text)
    if placeholder:
        tries.insert(0, text.replace(placeholder[0], "doctor"))
    for origin in tries:
        if pattern.matches(origin):
            return origin
    return ""


def _look_alikes(cors: Cors) -> list[str]:
    """Some that a browser could send: of the first origin another host around the name, another
    scheme, another port; of each pattern what an unescaped dot or a missing end would allow."""
    found = _of_the_first_origin(cors)
    for sample in _samples(cors).values():
        careless = [origin for origin in _careless(sample) if _is_unlisted(origin, cors)]
        found += careless[:_MOST_OF_A_PATTERN]
    return list(dict.fromkeys(found))


def _of_the_first_origin(cors: Cors) -> list[str]:
    """One origin of each kind: by its scheme, its port, and where its host has the name."""
    first = cors.origins[0]
    one_of_each: dict[tuple[str, int | None, str], str] = {}
    for text in look_alikes(first):
        if not _is_unlisted(text, cors):
            continue
        parts = urlsplit(text)
        place = _place(first.host, parts.hostname or "")
        kind = (parts.scheme, parts.port, place)
        one_of_each.setdefault(kind, text)
    return sorted(one_of_each.values())[:_MOST_LOOK_ALIKES]


def _careless(sample: str) -> list[str]:
    """What a pattern without its end would allow, and one with an unescaped dot, from the last
    dot to the first."""
    found = [f"{sample}.evil.example"]
    for at in range(len(sample) - 1, -1, -1):
        if sample[at] == ".":
            found.append(f"{sample[:at]}x{sample[at + 1 :]}")
    return found


def _is_unlisted(origin: str, cors: Cors) -> bool:
    """Whether the contract does not name this origin, though a browser could send it."""
    if origin == UNLISTED or len(origin) >= _LONGEST:
        return False
    if cors.lists(origin):
        return False
    try:
        return str(parse_origin(origin, production=False)) == origin
    except OriginError:
        return False


def _place(host: str, other: str) -> str:
    """Where another host has this one's name: the `same`, `around` it, or `within` (nowhere)."""
    if host == other:
        return "same"
    return "around" if host in other else "within"
