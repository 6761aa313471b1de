"""What a person most likely typed in place of an origin. Pure."""

from __future__ import annotations

import re
import unicodedata

from infra.core.origins.errors import EXAMPLE, WRITE, Refusal, named

# The first match decides. Text, not compiled: importing this module stays fast.
_MISTAKES = (
    (
        (
            r"Calling (__str__|\[?toString)|\bOutput(\[|<|\b.*\bobject at\b)"
            r"|04da6b54-80e4-46f7-96ec-b56ff0331ba9"
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
            f" serve the page over http(s) and write its origin, like {EXAMPLE}"
        ),
    ),
    (
        r"\A\*\Z",
        f"is every origin; list each one, like {EXAMPLE}, or set allow_all_origins in development",
    ),
    (
        r"\A(none|undefined|nil|nan|true|false)\Z",
        f"is what an unset variable prints; write one like {EXAMPLE}",
    ),
    (r"[\r\n]", "holds a line break, so perhaps several values; write one origin an item"),
    (r"[\"'`‘’‚‛“”„‟«»‹›]", f"holds a quotation mark; write the bare origin, like {EXAMPLE}"),
    (
        r"[${}<>]|%(?![0-9a-f]{2})\w+%|%\(|%[sdv]\b",
        (
            "holds a template or an unset variable that nothing filled in; write the origin"
            f" itself, like {EXAMPLE}"
        ),
    ),
    (r"[,;|]|://.*://|\A\[.*://", "holds several values; write one origin an item"),
    (r"[ \t]", "holds a blank; an origin has none, and several origins are one an item"),
    (r"\\", f"holds a backslash, which browsers read as a slash; {WRITE}"),
    (
        r"\*",
        (
            "holds a wildcard, which only allowed_patterns may; an origin is exact, one for each"
            " host and port"
        ),
    ),
)
# Default-ignorable letters and marks: drawn as nothing, though no format character (Unicode,
# DerivedCoreProperties).
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_INVISIBLE_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp")


def check_spelling(text: str) -> None:
    """Raise Refusal for a text that is not one origin, by what it holds."""
    if not text:
        raise Refusal(
            f"is empty; was the variable that it came from unset? Write an origin like {EXAMPLE}"
        )
    for pattern, why in _MISTAKES:
        if re.search(pattern, text, re.IGNORECASE):
            raise Refusal(why)
    for character in text:
        _check_character(character)


def _check_character(character: str) -> None:
    invisible = unicodedata.category(character) in _INVISIBLE_CATEGORIES
    if invisible or _IGNORABLE.match(character):
        raise Refusal(
            f"holds an invisible or control character, {named(character)}; type it again without"
        )
    if character == "\N{IDEOGRAPHIC FULL STOP}":
        raise Refusal(f"holds {named(character)}; write a plain dot")
    plain = unicodedata.normalize("NFKC", character)
    if plain != character:
        cure = "type it again with plain letters"
        if plain.isascii():
            cure = f"write {plain!a}"
        raise Refusal(f"holds the compatibility character {named(character)}; {cure}")
