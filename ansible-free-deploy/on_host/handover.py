"""Hand the work to a unit of its own, so that it ends by itself whatever becomes of the operator;
follow it meanwhile.

A job is a folder in memory that only root can enter: orders, what the work says, and what the
operator answers.

    orders.json    read and removed by the unit at once: secrets stand in no unit's properties and
                   in no process list
    events         JSON lines as `runtime.emit` writes them
    answers        a pipe: one answer a line, from the operator
    follower       locked by whoever passes these on; unlocked means that the operator is gone
    worker         locked by the unit's process; unlocked means that it has ended

To ask a lock costs nothing, to ask systemd costs as much as a program: many hosts on few processors
would ask more than they work.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from on_host import places
from on_host.files import private_folder
from on_host.lock import held_by, owner
from on_host.orders import ORDERS
from on_host.runtime import SILENCE_S, Failed, emit, note, pause, run

if TYPE_CHECKING:
    from on_host.events import ErrorEvent, Event, ResultEvent

    # How a job ends, for who follows it: its last event, or killed; "silent" where the operator has
    # sent no sign of life, None where nobody follows any more.
    Ended = ResultEvent | ErrorEvent | Literal["killed", "silent"] | None

JOBS = places.RUN / "jobs"
PROGRAM = Path(__file__).resolve().parent.parent  # the folder that this package is in
_ALIVE_S = 0.5
_operator = 0  # the standard input


# ------------------------------------------------------------------------------ the operator's side


def hand_over() -> int:
    """Start the job's unit and follow it to its end; the status for the operator.

    Raises Failed where the unit was killed, and where the operator sent no sign of life.
    """
    sweep()
    private_folder(JOBS.parent)
    job = JOBS / str(ORDERS["deploy"])
    job.mkdir(parents=True, mode=0o700)
    with (job / "follower").open("w") as follower:
        fcntl.flock(follower, fcntl.LOCK_EX)
        (job / "orders.json").write_text(json.dumps(ORDERS))
        (job / "events").touch()
        os.mkfifo(str(job / "answers"), 0o600)
        start_unit(job)
        ended = follow(job, emit)
    if ended is None:
        return 1  # the operator is gone: nobody reads this
    if ended == "silent":
        # A computer that wakes has this connection still, and reads what is said here.
        raise Failed(
            f"{silence()}; the work on the host continues and ends by itself: run {{again}} to see"
            " the result"
        )
    if ended == "killed":
        why = how_it_ended(job)
        text = (
            f"the work on the host was killed{why}; run {{again}}: it finishes or undoes what was"
            " begun"
        )
        raise Failed(text, _read(job / "errors"))
    shutil.rmtree(str(job))
    return 0 if "result" in ended else 1


def start_unit(job: Path) -> None:
    """Start the work in a unit of its own; below another root, where tests run, in a process of its
    own."""
    command = ["/usr/bin/python3", "-I", str(PROGRAM), "job", str(job)]
    if Path("/") != places.ROOT:
        with (job / "events").open("a") as output, (job / "errors").open("a") as errors:
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                cwd="/",
            )
        return
    output_to = [
        f"--property=Standard{stream}=append:{job}/{name}"
        for stream, name in (("Output", "events"), ("Error", "errors"))
    ]
    words = [
        "systemd-run",
        "--quiet",
        "--collect",
        "--service-type=exec",
        "--unit",
        unit_of(job),
        *output_to,
    ]
    done = run(*words, *command)
    if done.returncode:
        shutil.rmtree(str(job))
        raise Failed("systemd can't start the work's unit; nothing was changed", done.stdout)


def how_it_ended(job: Path) -> str:
    """What systemd says of a unit that ended without a word, for a message; it remembers little of
    one that is gone."""
    said = run("journalctl", "-u", unit_of(job), "-n", "5", "--no-pager", "-o", "cat").stdout
    return " (out of memory)" if "oom-kill" in said else ""


def silence() -> str:
    """What an operator reads who has sent no sign of life."""
    return (
        f"the host heard nothing from this computer for {SILENCE_S:g} s (was it asleep, or the"
        " network down?)"
    )


def follow(job: Path, report: Callable[[Event], object], end: float = float("inf")) -> Ended:
    """Hand each of the job's events to `report`; how the job ended.

    "silent" where the operator has sent no sign of life; None where the operator has left, or the
    time (`end`, as time.monotonic() counts) is over.
    """
    # Open for reading too: what is written before the unit listens is kept, and no writer blocks.
    answers = os.open(str(job / "answers"), os.O_RDWR)
    last_event = heard = time.monotonic()
    try:
        for event in events(job):
            if event is not None:
                last_event = time.monotonic()
                report(event)
                if "result" in event or "error" in event:
                    return event
            elif time.monotonic() > heard + SILENCE_S:
                return "silent"
            elif time.monotonic() > end:
                return None
            elif select.select([_operator], [], [], pause(last_event))[0]:
                words = os.read(_operator, 4096)
                if not words:
                    return None
                heard = time.monotonic()
                if words.strip():  # an empty line is a sign of life
                    os.write(answers, words)
    finally:
        os.close(answers)
    return "killed"


def events(job: Path) -> Iterator[Event | None]:
    """The job's events as they come, None whenever there is none yet; ends with the job's unit."""
    rest = b""
    is_alive = True
    asked = time.monotonic()
    with (job / "events").open("rb") as source:
        while True:
            chunk = source.read()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event: Event = json.loads(line)
                yield event
            if chunk:
                continue
            if not is_alive:
                return
            if (job / "worker").exists() or time.monotonic() > asked + _ALIVE_S:
                is_alive = lives(job)
                asked = time.monotonic()
            yield None


def unit_of(job: Path) -> str:
    return f"origin-kit-{job.name}.service"


def lives(job: Path) -> bool:
    """Whether the job's unit is there; systemd knows of one whose process has not come to take its
    lock yet."""
    if (job / "worker").exists():
        return not unlocked(job / "worker")
    return run("systemctl", "is-active", "-q", unit_of(job)).returncode == 0


def running() -> Path | None:
    """The job that runs here, if one does."""
    return next((job for job in sorted(JOBS.glob("*")) if lives(job)), None)


def sweep() -> None:
    """Remove what ended jobs have left that nobody followed to the end; one that is being made has
    a follower."""
    for job in JOBS.glob("*"):
        if unlocked(job / "follower") and not lives(job):
            shutil.rmtree(str(job))


def wait_along(job: Path) -> None:
    """Follow somebody else's job until it ends, or until `wait_s` is over."""
    whose = owner()
    note("wait", f"waits for {whose}")

    def report(event: Event) -> None:
        if "text" in event:
            note("follow", f"there: {event['text']}")

    try:
        ended = follow(job, report, time.monotonic() + ORDERS.get("wait_s", 0))
    except FileNotFoundError:  # whoever started it has cleared it away
        return
    if ended == "silent":
        raise Failed(f"{silence()}; nothing was changed; run {{again}}")
    if ended is None:
        raise Failed(held_by(whose))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


# ---------------------------------------------------------------------------------- the unit's side

_answers: list[int] = []  # the open pipe, from the first question on
_heard: list[str] = []


def operator_is_gone() -> bool:
    """Whether nobody passes questions on to an operator any more."""
    return unlocked(Path(ORDERS["job"]) / "follower")


def ask(question: str) -> str | None:
    """The operator's answer to a question, however long it takes; None once the operator is
    gone."""
    if not _answers:
        _answers.append(os.open(str(Path(ORDERS["job"]) / "answers"), os.O_RDWR))
    emit({"gate": question})
    while not _heard:
        if select.select(_answers, [], [], _ALIVE_S)[0]:
            _heard.extend(os.read(_answers[0], 4096).decode().split())
        elif operator_is_gone():
            return None
    return _heard.pop(0)


# --------------------------------------------------------------------------------------- both sides


def unlocked(path: Path) -> bool:
    """Whether nobody holds the lock on this file any more; nobody does where it is gone."""
    try:
        handle = path.open()
    except FileNotFoundError:
        return True
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
