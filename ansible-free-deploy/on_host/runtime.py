"""What all that runs on a host shares: its orders, talking back, other programs, waiting."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Iterable  # noqa: UP035 - Python 3.9 on hosts

from on_host.disk import full, note_full
from on_host.orders import ORDERS

if TYPE_CHECKING:
    from on_host.events import Event

WAIT_S = 40
BEAT_S = 5.0  # both sides send a sign of life this often
SILENCE_S: float = ORDERS.get("silence_s", 30.0)  # who has sent none for this long is gone
_EXPENSIVE_S = 1.0
phases: dict[str, float] = {}  # step → seconds that it took
_under_way: list[tuple[str, float]] = []


class Failed(Exception):
    """A step failed: what is wrong and the next step, and the failing program's message."""

    def __init__(self, text: str, detail: str = "") -> None:
        if "No space left on device" in detail and (found := full()):
            note_full()
            text = f"{text}; the disk is full ({found})"
        super().__init__(text)
        self.detail = detail


class ChangedMeanwhile(Failed):
    """The change was made for a generation that no longer serves here: another one came first."""


_SHORTEST_HIDDEN = 4  # a shorter one is in every text, and to leave it out of each would reveal it
_hidden: list[str] = []


def hide_also(values: Iterable[str]) -> None:
    """Let no message hold these values, which did not come with the orders."""
    _hidden.extend(values)


def hide(text: str) -> str:
    """`text` without the values of secrets, which a failing program may quote."""
    for value in (*ORDERS.get("secrets", {}).values(), *_hidden):
        parts = {value, *value.splitlines()}
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= _SHORTEST_HIDDEN:
                text = text.replace(part, "(secret)")
    return text


_emitting = threading.Lock()


def emit(event: Event) -> bool:
    """One JSON line to the operator, with no secret in what people read; False where the operator
    is gone, which does not stop the work."""
    line: dict[str, object] = dict(event)
    for key in ("text", "error", "detail"):
        value = line.get(key)
        if isinstance(value, str):
            line[key] = hide(value)
    with _emitting, contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        return True
    return False


def note(name: str, text: str) -> None:
    """Report something on the way; the step under way goes on."""
    emit({"step": name, "text": text})


def send_heartbeats() -> None:
    """Send the operator a sign of life every few seconds, from a thread, until this process
    ends."""

    def beat() -> None:
        while True:
            time.sleep(BEAT_S)
            emit({"beat": True})

    threading.Thread(target=beat, daemon=True).start()


def step(name: str, text: str) -> None:
    """Announce a step. `ORDERS["die_at"]` is the crash tests' way to pull the plug exactly here."""
    if ORDERS.get("die_at") == name:
        os.kill(os.getpid(), signal.SIGKILL)
    end_step()
    _under_way.append((name, time.monotonic()))
    note(name, text)


def end_step() -> None:
    """Note how long the step under way took."""
    while _under_way:
        name, since = _under_way.pop()
        phases[name] = round(phases.get(name, 0.0) + time.monotonic() - since, 3)


def run(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """The finished process; all that it says is kept as text. Raises Failed for a program that is
    not here."""
    said = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
    }
    try:
        done = subprocess.run(
            command,
            text=True,
            errors="replace",
            check=False,
            **{**said, **more},
        )
    except FileNotFoundError as problem:
        if problem.filename != command[0]:
            raise
        raise Failed(f"the program {command[0]} is not installed on this host") from problem
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        text = f"it was killed by {name}" + (
            "; out of memory? see `journalctl -k`" if name == "SIGKILL" else ""
        )
        done.stdout = f"{done.stdout or ''}\n{text}".lstrip()
    return done


def wait_for(
    question: Callable[[], bool],
    seconds: float = WAIT_S,
    hopeless: Callable[[], bool] = lambda: False,
) -> bool:
    """Whether the answer becomes yes before the time is up, or before it is `hopeless`, which is
    expensive to find out.

    The longer it takes, the more seldom is it asked: what is waited for may need the processor.
    """
    started = time.monotonic()
    look = started + _EXPENSIVE_S
    while not question():
        now = time.monotonic()
        if now > started + seconds:
            return False
        if now > look:
            if hopeless():
                return question()
            look = now + _EXPENSIVE_S
        time.sleep(pause(started))
    return True


def pause(since: float) -> float:
    """How long to wait before the next look at something that has not happened since then
    (time.monotonic())."""
    return min(0.1, max(0.02, (time.monotonic() - since) / 20))


def last_lines(text: str, count: int = 12) -> str:
    """The end of a program's words; what is left out shows."""
    lines = text.strip().splitlines()
    return "\n".join(lines if len(lines) <= count else ["…", *lines[-count:]])
