"""What the operator sees: one present-tense line a step, a bar for what takes long, a table at the end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

_lock = threading.Lock()

Advance = Callable[[float, str], None]
QUIET_S = 1.5


def line(text: str, stream: TextIO | None = None) -> None:
    """One line, whole, whoever else is printing."""
    with _lock:
        print(text, file=stream or sys.stdout, flush=True)


def step(who: str, text: str) -> None:
    """`who` is a host or a part of the work, `text` says in the present tense what it does."""
    line(f"  {who:<12} {text}")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    everything = [list(headings), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in everything) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in everything
    )


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """A bar with elapsed time, fed with fractions of 1 and a word on what goes on; plain lines without a terminal.

    A fraction below 0 means that nobody knows how far it is. What is over within a second or two stays silent.
    """
    started = time.monotonic()
    with _bar(title) if sys.stdout.isatty() else _lines(title) as advance:
        yield advance
    if time.monotonic() - started > QUIET_S:
        step(title, f"done in {time.monotonic() - started:.1f} s")


@contextmanager
def _bar(title: str) -> Iterator[Advance]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # 60 ms that most runs never need

    columns = (
        TextColumn("  {task.description:<12}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(title, total=None, doing="")

        def advance(fraction: float, doing: str) -> None:
            bar.update(task, total=1.0 if fraction >= 0 else None, completed=max(fraction, 0.0), doing=doing[:48])

        yield advance


@contextmanager
def _lines(title: str) -> Iterator[Advance]:
    started, said = time.monotonic(), -1.0

    def advance(fraction: float, doing: str) -> None:
        nonlocal said
        if time.monotonic() - started > QUIET_S and (fraction - said >= 0.25 or said < 0):
            said = max(fraction, 0.0)
            step(title, f"{said:4.0%} {doing}" if fraction >= 0 else doing)

    yield advance
