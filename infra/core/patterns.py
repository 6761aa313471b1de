"""Raw regular expressions as shapes: for development only, and only those that can be told to let
no stranger in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants as codes  # type: ignore[attr-defined]  # the parser of `re` itself, which has no public name
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_LONGEST = 200
_MOST_SAMPLES = 64
_NEGATED = "has a set of what is not allowed; write what is"


class PatternError(ValueError):
    """What is wrong with the pattern, to be read after `a regular expression that`."""


def body(text: str) -> str:
    """What stands between `^` and `$`, if it means the same to Python and PCRE, whole values only,
    in linear time.

    Raises PatternError.
    """
    if len(text) > _LONGEST or not text.isascii() or '"' in text or not text.isprintable():
        raise PatternError(
            f"has more than {_LONGEST} characters, or other than plain ones, or quotes"
        )
    try:
        parsed = list(parser.parse(text))
    except re.error as problem:
        raise PatternError(f"can't be read ({problem})") from None
    edges = [(codes.AT, codes.AT_BEGINNING), (codes.AT, codes.AT_END)]
    if len(parsed) < 3 or [parsed[0], parsed[-1]] != edges:
        raise PatternError(
            "lets in whatever begins or ends like it; write ^ in front and $ at the end"
        )
    _check(parsed[1:-1], repeated=False)
    return f"(?:{text[1:-1]})"


def samples(text: str) -> list[str]:
    """Values that the pattern matches, each alternative among them."""
    found: list[str] = []
    for one in _spell(list(parser.parse(text))):
        found.append(one)
        if len(found) == _MOST_SAMPLES:
            break
    return found


def _check(items: list[Any], repeated: bool) -> None:
    for code, value in items:
        if code is codes.NOT_LITERAL:
            raise PatternError(_NEGATED)
        if code is codes.ANY:
            raise PatternError(
                r"has a bare dot, which is any character; write \. for a dot, [a-z0-9-] for a"
                r" label's"
            )
        if code is codes.IN:
            _check_set(value)
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            low, high, inner = value
            if repeated and high > 1:
                raise PatternError(
                    "repeats a repetition, which can take for ever; say the inner one once"
                )
            _check(list(inner), repeated or high > 1 or low > 1)
        elif code is codes.SUBPATTERN:
            if value[0] is not None:
                raise PatternError("has a group that is kept; write (?:…)")
            if value[1] or value[2]:
                raise PatternError("switches flags; write it without")
            _check(list(value[3]), repeated)
        elif code is codes.BRANCH:
            for branch in value[1]:
                _check(list(branch), repeated)
        elif code is not codes.LITERAL:
            raise PatternError(
                "has more than letters, sets, groups and repetitions; write it plainer, or as a"
                " shape"
            )


def _check_set(members: list[Any]) -> None:
    for code, _ in members:
        if code is codes.CATEGORY:
            raise PatternError(
                r"has \d or \w, which is not the same everywhere; write [0-9] or [a-z0-9-]"
            )
        if code is codes.NEGATE:
            raise PatternError(_NEGATED)


def _spell(items: list[Any]) -> Iterator[str]:
    """Texts for a sequence: every alternative of a branch, the fewest and one more of a
    repetition."""
    if not items:
        yield ""
        return
    for front in _spell_one(*items[0]):
        for rest in _spell(items[1:]):
            yield front + rest


def _spell_one(code: Any, value: Any) -> Iterator[str]:
    if code is codes.LITERAL:
        yield chr(value)
    elif code is codes.IN:
        first, what = value[0]
        yield chr(what[1] if first is codes.RANGE else what)
    elif code is codes.BRANCH:
        for branch in value[1]:
            yield from _spell(list(branch))
    elif code is codes.SUBPATTERN:
        yield from _spell(list(value[3]))
    elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        low, high, inner = value
        for count in sorted({low, min(low + 1, high)}):
            yield from _spell(list(inner) * count)
    else:
        yield ""
