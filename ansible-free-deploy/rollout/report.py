"""What the operator sees: one present-tense line a step, a bar for what takes long, a table at the
end.

Much of it was written by a host or by a project (exceptions, logs, diffs): everything goes through
`harmless`, so that it can't control the terminal. JSON has such characters escaped already and
stays exact.
"""

from __future__ import annotations

import base64
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from infra.core.terminal import harmless as harmless

if TYPE_CHECKING:
    from on_host.events import DataEvent, StepEvent

_lock = threading.Lock()
_silent = False

Advance = Callable[[float, str], None]
QUIET_S = 1.5


def line(text: str, stream: TextIO | None = None) -> None:
    """Print one line. Lines of several threads never mix."""
    to = stream or sys.stdout
    with _lock:
        try:
            print(harmless(text), file=to, flush=True)
        except BrokenPipeError:
            _send_nowhere(to)


def _send_nowhere(stream: TextIO) -> None:
    """The reader (`| head`) is gone. The verb still runs to its end, with its usual exit status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def moment(when: datetime) -> str:
    """A time for people, to the minute and in UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def step(who: str, text: str) -> None:
    """Print what `who` (a host or a part of the work) does; `text` is in the present tense."""
    if not _silent:
        line(f"  {who:<12} {text}")


def following(
    who: str, take: Callable[[bytes], None] = lambda data: None
) -> Callable[[StepEvent | DataEvent], None]:
    """What shows the steps that a host reports, and gives `take` the data that it sends."""

    def on_event(event: StepEvent | DataEvent) -> None:
        if "data" in event:
            take(base64.b64decode(event["data"]))
        else:
            step(who, event["text"])

    return on_event


@contextmanager
def silenced(wanted: bool = True) -> Iterator[None]:
    """Print no steps inside this context, because a program reads stdout."""
    global _silent
    _silent = wanted
    try:
        yield
    finally:
        _silent = False


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    lines = [_one_line_each(row) for row in (headings, *rows)]
    widths = []
    for column in zip(*lines, strict=True):
        widths.append(max(len(cell) for cell in column))
    text = []
    for cells in lines:
        padded = [cell.ljust(width) for width, cell in zip(widths, cells, strict=True)]
        text.append("  ".join(padded).rstrip())
    return "\n".join(text)


def _one_line_each(cells: Sequence[str]) -> list[str]:
    """The cells of one row; line breaks in them show as `\\n`."""
    return [harmless(cell).replace("\n", "\\n") for cell in cells]


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """A bar with elapsed time; plain lines without a terminal.

    It takes fractions of 1 and a text on what happens. A fraction below 0 means that nobody knows
    how far it is. Work of less than QUIET_S prints nothing.
    """
    started = time.monotonic()
    display = _bars.bar(title) if sys.stdout.isatty() else _lines(title)
    with display as advance:
        yield advance
    elapsed_s = time.monotonic() - started
    if elapsed_s > QUIET_S:
        step(title, f"done in {elapsed_s:.1f} s")


@contextmanager
def busy(title: str) -> Iterator[Callable[[str], None]]:
    """A line for each step, for work of unknown size; on a terminal also the elapsed time of the
    step that runs."""
    if not sys.stdout.isatty():
        yield functools.partial(step, title)
        return
    with ExitStack() as stack:
        advance: Advance | None = None

        def begin(text: str) -> None:
            nonlocal advance
            step(title, text)
            if advance is None:
                advance = stack.enter_context(_bars.bar(title))
            advance(-1.0, text)

        yield begin


class _Bars:
    """The bars of everything that runs at once, in the one display of the terminal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._display: Any = None

    @contextmanager
    def bar(self, title: str) -> Iterator[Advance]:
        with self._lock:
            self._users += 1
            if self._display is None:
                self._display = self._start()
            display = self._display
        task = display.add_task(title, total=None, doing="")

        def advance(fraction: float, doing: str) -> None:
            shown = harmless(doing).replace("\n", " ")[:48]
            if fraction < 0:
                display.reset(task, total=None, doing=shown)
            else:
                display.update(
                    task,
                    total=1.0,
                    completed=fraction,
                    doing=shown,
                )

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
        # Most runs never need it, and the import takes 60 ms.
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

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
    """A line for each quarter of the work; one line where nobody knows how far it is."""
    started = time.monotonic()
    printed: float | None = None

    def advance(fraction: float, doing: str) -> None:
        nonlocal printed
        if time.monotonic() - started <= QUIET_S:
            return
        if printed is not None and fraction - printed < 0.25:
            return
        printed = max(fraction, 0.0)
        step(title, doing if fraction < 0 else f"{printed:4.0%} {doing}")

    yield advance
