"""Hosts of origins that are names: labels, international names, scripts. Pure."""

from __future__ import annotations

import re
import unicodedata

from infra.core.origins.addresses import bracketed_host, ends_in_number, ipv4_host
from infra.core.origins.errors import WRITE, Refusal, named, shown

_UNSET_LABELS = ("none", "null", "undefined")
_LONGEST_NAME = 253
_LONGEST_LABEL = 63


def parse_host(text: str) -> str:
    """The host as browsers serialise it. `text` is an authority without its port. Raises
    Refusal."""
    if text.startswith("["):
        return bracketed_host(text[1:-1])
    _check_host_text(text)
    host = text.lower() if text.isascii() else _a_labels(text)
    if ends_in_number(host):
        return ipv4_host(host)
    _check_name(host)
    return host


def _check_host_text(text: str) -> None:
    if not text:
        raise Refusal(f"has no host before its port; {WRITE}")
    if "%" in text:
        raise Refusal(
            "has a percent sign in its host; write the characters themselves, not their codes"
        )
    if "_" in text:
        raise Refusal(
            "has an underscore in its host; names of hosts have letters, digits and hyphens:"
            " rename it"
        )
    wrong = re.search(r"[^A-Za-z0-9.-]", "".join(filter(str.isascii, text)))
    if wrong:
        raise Refusal(
            f"has {wrong[0]!a} in its host; names of hosts have letters, digits, hyphens and dots"
        )
    if text.endswith("."):
        raise Refusal(
            "has a trailing dot after its host, a different origin to a browser; drop the dot"
        )
    labels = text.lower().split(".")
    if "" in labels:
        raise Refusal(
            "has an empty label in its host (two dots in a row, or one at the start); drop the dot"
        )
    if any(label in _UNSET_LABELS for label in labels):
        raise Refusal(f"has {text!a} as host, which is what an unset variable prints; {WRITE}")


def _check_name(host: str) -> None:
    for label in host.split("."):
        _check_label(label)
    if len(host) > _LONGEST_NAME:
        raise Refusal(f"has a host of {len(host)} characters; names have at most 253")


def _check_label(label: str) -> None:
    place = f"the label {shown(label)} in its host"
    if len(label) > _LONGEST_LABEL:
        raise Refusal(f"has {place}, of {len(label)} characters; labels have at most 63")
    if label.startswith("-") or label.endswith("-"):
        raise Refusal(f"has {place}, with a hyphen at its start or end; drop it")
    # Other labels with hyphens in third and fourth place are names like any (URL standard,
    # CheckHyphens=false): previews of a branch `qa` are qa--shop.netlify.app.
    if label.startswith("xn--"):
        _check_a_label(label, place)


# ------------------------------------------------------------------------------ international names


def _check_a_label(label: str, place: str) -> None:
    import idna

    try:
        valid = idna.alabel(idna.ulabel(label)).decode() == label
    except ValueError:
        valid = False
    if not valid:
        raise Refusal(
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
        reason = ascii(str(problem))[1:-1]
        raise Refusal(f"has a host that is no valid international name ({reason})") from None
    for label in text.split("."):
        _check_scripts(label, name)
    return name


def _check_bidi(name: str) -> None:
    """RFC 5893: one right-to-left label makes its rules hold for every label; `idna` checks each
    label alone."""
    import idna

    decoded = idna.decode(name)
    directions = {unicodedata.bidirectional(character) for character in decoded}
    if directions.isdisjoint({"R", "AL", "AN"}):
        return
    for label in decoded.split("."):
        idna.check_bidi(label, check_ltr=True)


# Scripts that are written together; any other mixture inside a label is how look-alike names are
# made (UTS 39).
_WRITTEN_TOGETHER = (
    {"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"},
    {"CJK", "HANGUL"},
    {"CJK", "BOPOMOFO"},
)


def _check_scripts(label: str, name: str) -> None:
    letters: dict[str, str] = {}  # by script, the last letter of it
    for character in label:
        if unicodedata.category(character).startswith("L"):
            letters[_script(character)] = character
    letters.pop("MODIFIER", None)
    if len(letters) < 2:
        return
    if any(letters.keys() <= together for together in _WRITTEN_TOGETHER):
        return
    mixed = ", ".join(named(character) for character in letters.values())
    raise Refusal(
        f"mixes scripts within one label ({mixed}); use one script, or write {name} if it is meant"
    )


def _script(character: str) -> str:
    return unicodedata.name(character, "UNNAMED").split()[0]
