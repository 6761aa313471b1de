"""The matrix as text of at most 80 columns: a line for each origin with its cells, or, where that
is too wide, the cells below the origins that have the same ones. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from infra.core.terminal import harmless
from rollout.doctor import cells as doctor_cells
from rollout.doctor.observations import Cell, distinct
from rollout.doctor.words import WIDTH

ALLOWED = "allowed by the contract"
UNLISTED = "not in the contract"
_INDENT = "  "
_GAP = "  "
_LONGEST_TITLE = 40
_MOST_TITLE_LINES = 3


@dataclass(frozen=True)
class _Line:
    """An origin with its cells' words."""

    origin: str
    allowed: bool
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Columns:
    """The columns of cells: their headings, in lines, and how wide each is."""

    headings: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        return sum(self.widths) + len(_GAP) * len(self.widths)


def matrix(asked: Sequence[Cell]) -> list[str]:
    """The cells of one view."""
    if not asked:
        return []
    titles = distinct(cell.question.endpoint.title for cell in asked)
    lines = _lines(asked)
    columns = _columns(titles, lines)
    longest = max(len(line.origin) for line in lines)
    origin_width = len(_INDENT) + longest
    fits = origin_width + columns.width <= WIDTH
    if not fits:
        origin_width = len(_INDENT)
    text = _headings(columns, origin_width)
    for allowed, heading in ((True, ALLOWED), (False, UNLISTED)):
        group = [line for line in lines if line.allowed == allowed]
        if group:
            text.append(f"{heading}:")
        if fits:
            text += [_on_one_line(line, columns, origin_width) for line in group]
        else:
            text += _below(group, columns)
    return text


def _lines(asked: Sequence[Cell]) -> list[_Line]:
    """A line for each origin, with the words of its cells."""
    words: dict[tuple[str, bool], list[str]] = {}
    for cell in asked:
        row = cell.question.row
        of_origin = words.setdefault((row.origin, row.allowed), [])
        of_origin.append(doctor_cells.word(cell))
    lines = []
    for (origin, is_allowed), found in words.items():
        lines.append(_Line(harmless(origin), is_allowed, tuple(found)))
    return lines


def _columns(titles: Sequence[str], lines: Sequence[_Line]) -> _Columns:
    """Each as wide as its widest word; a heading is broken into lines of that width. That of a
    single column stays whole."""
    headings = []
    widths = []
    for number, title in enumerate(titles):
        shown = _short(harmless(title))
        words = shown.split() if len(titles) > 1 else [shown]
        for line in lines:
            words += line.words[number : number + 1]
        width = max(len(word) for word in words)
        heading = textwrap.wrap(shown, width)
        headings.append(tuple(heading[:_MOST_TITLE_LINES]))
        widths.append(width)
    return _Columns(tuple(headings), tuple(widths))


def _short(title: str) -> str:
    if len(title) <= _LONGEST_TITLE:
        return title
    return f"{title[: _LONGEST_TITLE - 1]}…"


def _headings(columns: _Columns, origin_width: int) -> list[str]:
    """The columns' headings, which end on one line."""
    height = max(len(heading) for heading in columns.headings)
    text = []
    for number in range(height):
        parts = []
        for heading, width in zip(columns.headings, columns.widths, strict=True):
            empty = [""] * (height - len(heading))
            padded = [*empty, *heading]
            parts.append(padded[number].ljust(width))
        text.append(_joined(" " * origin_width, parts))
    return text


def _on_one_line(
    line: _Line,
    columns: _Columns,
    origin_width: int,
) -> str:
    """An origin and its cells on one line."""
    return _joined(f"{_INDENT}{line.origin}".ljust(origin_width), _padded(line.words, columns))


def _below(group: Sequence[_Line], columns: _Columns) -> list[str]:
    """Origins, each on a line of its own, and below those with the same cells the cells."""
    text = []
    for words, lines in groupby(group, key=lambda line: line.words):
        for line in lines:
            text += textwrap.wrap(
                line.origin,
                WIDTH,
                initial_indent=_INDENT,
                subsequent_indent=_INDENT * 2,
            )
        text.append(_joined(_INDENT, _padded(words, columns)))
    return text


def _padded(words: Sequence[str], columns: _Columns) -> list[str]:
    return [word.ljust(width) for word, width in zip(words, columns.widths, strict=False)]


def _joined(start: str, parts: Sequence[str]) -> str:
    return _GAP.join([start, *parts]).rstrip()
