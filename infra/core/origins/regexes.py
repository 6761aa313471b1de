"""Regular expressions as origin patterns: only those that can be checked to allow no unlisted
origin. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from re import _constants as codes  # type: ignore[attr-defined]  # the parser of `re` itself, which has no public name
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_LONGEST = 200
_MOST_SAMPLES = 64
_NEGATED = "has a set of what is not allowed; write what is"
_EDGES = [(codes.AT, codes.AT_BEGINNING), (codes.AT, codes.AT_END)]
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT)


class PatternError(ValueError):
    """What is wrong with the pattern, to be read after `a regular expression that`."""


def body(text: str) -> str:
    """What stands between `^` and `$`, if it means the same to Python and PCRE, matches whole
    values only, and takes linear time.

    Raises PatternError.
    """
    plain = text.isascii() and text.isprintable() and '"' not in text
    if not plain or len(text) > _LONGEST:
        raise PatternError(
            f"has more than {_LONGEST} characters, or other than plain ones, or quotes"
        )
    try:
        parsed = list(parser.parse(text))
    except re.error as problem:
        raise PatternError(f"can't be read ({problem})") from None
    if len(parsed) < 3 or [parsed[0], parsed[-1]] != _EDGES:
        raise PatternError(
            "allows whatever begins or ends like it; write ^ in front and $ at the end"
        )
    _check(parsed[1:-1], repeated=False)
    return f"(?:{text[1:-1]})"


def samples(text: str) -> list[str]:
    """Values that the pattern matches, each alternative among them."""
    return list(islice(_spell(list(parser.parse(text))), _MOST_SAMPLES))


def _check(items: list[Any], repeated: bool) -> None:
    for code, value in items:
        _check_item(code, value, repeated)


def _check_item(code: Any, value: Any, repeated: bool) -> None:
    if code is codes.LITERAL:
        return
    if code is codes.NOT_LITERAL:
        raise PatternError(_NEGATED)
    if code is codes.ANY:
        raise PatternError(
            r"has a bare dot, which is any character; write \. for a dot, [a-z0-9-] for a label's"
        )
    if code is codes.IN:
        _check_set(value)
    elif code in _REPEATS:
        low, high, inner = value
        _check_repeat(low, high, inner, repeated)
    elif code is codes.SUBPATTERN:
        _check_group(value, repeated)
    elif code is codes.BRANCH:
        for branch in value[1]:
            _check(list(branch), repeated)
    else:
        raise PatternError(
            "has more than letters, sets, groups and repetitions; write it plainer, or with a"
            " placeholder"
        )


def _check_repeat(low: int, high: int, inner: Any, repeated: bool) -> None:
    if repeated and high > 1:
        raise PatternError(
            "has a nested quantifier, which can backtrack for a very long time; repeat only one of"
            " the two"
        )
    _check(list(inner), repeated or high > 1 or low > 1)


def _check_group(value: Any, repeated: bool) -> None:
    number, flags_added, flags_removed, inner = value
    if number is not None:
        raise PatternError("has a group that is kept; write (?:…)")
    if flags_added or flags_removed:
        raise PatternError("switches flags; write it without")
    _check(list(inner), repeated)


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
        kind, first = value[0]
        if kind is codes.RANGE:
            first = first[1]
        yield chr(first)
    elif code is codes.BRANCH:
        for branch in value[1]:
            yield from _spell(list(branch))
    elif code is codes.SUBPATTERN:
        yield from _spell(list(value[3]))
    elif code in _REPEATS:
        low, high, inner = value
        for count in sorted({low, min(low + 1, high)}):
            yield from _spell(list(inner) * count)
    else:
        yield ""
