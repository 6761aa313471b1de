"""What the operator sees: one present-tense line a step, a bar for what takes long, a table at the
end.

Much of it was written by a host or by a project (exceptions, logs, diffs): everything goes through
`harmless`, so that it can't act on the terminal. JSON has such characters escaped already and stays
exact.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from infra.core.terminal import harmless as harmless

_lock = threading.Lock()
_silent = False

Advance = Callable[[float, str], None]
QUIET_S = 1.5


def line(text: str, stream: TextIO | None = None) -> None:
    """One line, whole, whoever else is printing."""
    to = stream or sys.stdout
    with _lock:
        try:
            print(harmless(text), file=to, flush=True)
        except BrokenPipeError:
            _send_nowhere(to)


def _send_nowhere(stream: TextIO) -> None:
    """Whoever read it (`| head`) has enough: a verb still goes on to its end, and its exit status
    is its own."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def step(who: str, text: str) -> None:
    """`who` is a host or a part of the work, `text` says in the present tense what it does."""
    if not _silent:
        line(f"  {who:<12} {text}")


@contextmanager
def silenced(wanted: bool = True) -> Iterator[None]:
    """No steps meanwhile: stdout is for a program."""
    global _silent
    _silent = wanted
    try:
        yield
    finally:
        _silent = False


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    everything = [
        [harmless(cell).replace("\n", "\\n") for cell in row] for row in (headings, *rows)
    ]
    widths = [max(len(row[column]) for row in everything) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    )


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """A bar with elapsed time, fed with fractions of 1 and a word on what goes on; plain lines
    without a terminal.

    A fraction below 0 means that nobody knows how far it is. What is over within a second or two
    stays silent.
    """
    started = time.monotonic()
    with _bars.one(title) if sys.stdout.isatty() else _lines(title) as advance:
        yield advance
    if time.monotonic() - started > QUIET_S:
        step(title, f"done in {time.monotonic() - started:.1f} s")


@contextmanager
def busy(title: str) -> Iterator[Callable[[str], None]]:
    """A line a step, and on a terminal the elapsed time of the one that runs, for work whose size
    nobody knows."""
    if not sys.stdout.isatty():
        yield functools.partial(step, title)
        return
    with ExitStack() as stack:
        advance: Advance | None = None

        def begin(text: str) -> None:
            nonlocal advance
            step(title, text)
            advance = advance or stack.enter_context(_bars.one(title))
            advance(-1.0, text)

        yield begin


class _Bars:
    """The bars of everything that runs at once; a terminal has room for one display."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._display: Any = None

    @contextmanager
    def one(self, title: str) -> Iterator[Advance]:
        with self._lock:
            self._users += 1
            self._display = self._display or self._start()
            display = self._display
        task = display.add_task(title, total=None, doing="")

        def advance(fraction: float, doing: str) -> None:
            shown = harmless(doing).replace("\n", " ")[:48]
            if fraction < 0:
                display.reset(task, total=None, doing=shown)
            else:
                display.update(task, total=1.0, completed=fraction, doing=shown)

        try:
            yield advance
        finally:
            display.remove_task(task)
            with self._lock:
                self._users -= 1
                if not self._users:
                    display.stop()
                    self._display = None

    @staticmethod
    def _start() -> Any:
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )  # 60 ms that most runs never need

        columns = (
            TextColumn("  {task.description:<12}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}", markup=False),
        )
        display = Progress(*columns, transient=True)
        display.start()
        return display


_bars = _Bars()


@contextmanager
def _lines(title: str) -> Iterator[Advance]:
    started, said = time.monotonic(), -1.0

    def advance(fraction: float, doing: str) -> None:
        nonlocal said
        if time.monotonic() - started > QUIET_S and (fraction - said >= 0.25 or said < 0):
            said = max(fraction, 0.0)
            step(title, f"{said:4.0%} {doing}" if fraction >= 0 else doing)

    yield advance
