"""Take the application's data off a host that is replaced, and put it on the one that replaces it.

What is copied off goes to the operator as events, `{"data": base64}`. Root reads and writes nothing
below /var/lib/<app>: `as_user/copy_data.py` does, which also says what the archive is, and root
hands its streams on without looking inside.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import shutil
import sys
from typing import Any, Callable, Iterator  # noqa: UP035 - Python 3.9 has no other

from on_host import audit, claims, journal, moves, places, replacement
from on_host.disk import trouble
from on_host.lock import take_lock
from on_host.orders import ORDERS, Json
from on_host.runtime import SILENCE_S, Failed, emit, last_lines, run, send_heartbeats, step
from on_host.user import in_data, make_user

LIMIT_S = (
    24 * 3600
)  # for one copy; what counts is that something moves, which the operator's side sees
CHUNK = 1 << 18


# ------------------------------------------------------------------------------------- the old host


def close() -> Json:
    """Nobody else changes this host from here on; its own replacement brings the configuration that
    takes no writes."""
    if journal.exists():
        raise Failed(
            "a change that was interrupted is open here: run `fab deploy`, then this again"
        )
    mark = replacement.close()
    audit.write(f"closed: {mark['name']} is being replaced", mark["id"], "replacement")
    return {"closing": mark["closing"]}


def copy() -> Json:
    """Stop the application, then send its data: at most ORDERS["most"] bytes, for which the
    operator has room."""
    mark = replacement.read()
    if mark.get("state") != replacement.CLOSED:
        raise Failed("this host takes writes, so its data can't be copied; run this again")
    step("stop", f"stops {places.app()}")
    for unit in claims.units_of(places.app()):
        run("systemctl", "stop", unit)
    moves.nobody_works_as(places.app())
    step("copy", "copies the data")
    sender = Sender()
    done = in_data("copy_data", "read", into=sender, most=sys.maxsize, limit_s=LIMIT_S)
    if done.returncode:
        raise Failed(
            f"the data can't be copied: {last_lines(done.stdout, 1)}", last_lines(done.stdout)
        )
    return {
        "closing": mark["closing"],
        "size": sender.size,
        "digest": sender.seen.hexdigest(),
        "told": summary(done.stdout),
    }


class Sender:
    """Sends what is written to it to the operator. One who is gone ends it."""

    def __init__(self) -> None:
        self.seen, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self.seen.update(data)
        self.size += len(data)
        if self.size > ORDERS["most"]:
            raise Failed(
                f"the data is larger than the {ORDERS['most'] >> 20} MiB that are free in"
                f" {ORDERS['place']} on your side; make room there, then run this again"
            )
        for start in range(0, len(data), CHUNK):
            if not emit(data=base64.b64encode(data[start : start + CHUNK]).decode()):
                raise Failed("the operator is gone")


def summary(said: str) -> Json:
    """What the application's user says of what it read: for a person, nothing rests on it."""
    try:
        found = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def reopen() -> Json:
    """The ordinary configuration is back: forget that this host was closed, and the configuration
    that it had then."""
    current = os.path.realpath(str(places.CONFIGURATION))
    for closed in places.GENERATIONS.glob(
        f"{ORDERS['generation']}*"
    ):  # its id ends with a mark of the host's secrets
        if str(closed) == current:
            raise Failed(
                "this host is still on the configuration that takes no writes; run this again"
            )
        shutil.rmtree(str(closed))
    replacement.forget()
    audit.write("reopened", str(ORDERS["replacement"]), "replacement")
    return {}


# ------------------------------------------------------------------------------------- the new host


def restore() -> Json:
    """Make the user and put the data in its place: all of it, compared with the manifest, or
    nothing."""
    closing, mark = str(ORDERS["closing"]), replacement.read()
    if mark.get("state") == replacement.RESTORED and mark["closing"] == closing:
        return {"restored": False}
    if os.path.lexists(str(places.data())) and mark.get("state") not in (
        replacement.RESTORING,
        replacement.RESTORED,
    ):
        raise Failed(
            f"{places.data()} is there already, and no `fab replace` has put it there; it was left"
            " as it is"
        )
    if found := claims.conflicts(places.app()):
        raise Failed(
            f"the name {places.app()} is taken here by what this kit did not make:"
            f" {'; '.join(found)}"
        )
    replacement.write(replacement.RESTORING, closing)
    claims.write_mark(places.app())
    for unit in claims.units_of(places.app()):
        run("systemctl", "stop", unit)
    step("user", "makes the application's user")
    make_user()
    moves.nobody_works_as(places.app())
    must(in_data("copy_data", "empty"), "what an earlier run has left can't be removed")
    step("restore", "restores the data and compares it")
    told = put_back()
    os.sync()
    replacement.write(replacement.RESTORED, closing)
    audit.write("restored", str(ORDERS["replacement"]), "replacement")
    return {"restored": True, "told": told}


def put_back() -> Json:
    seen = hashlib.sha256()
    source = counted(ORDERS["size"], seen)
    done = in_data("copy_data", "write", source=source, limit_s=LIMIT_S)
    must(done, "the data was not restored")
    if seen.hexdigest() != ORDERS["digest"]:
        raise Failed("the data arrives incomplete; was the connection cut? run this again")
    return summary(done.stdout)


def must(done: Any, what: str) -> None:
    if done.returncode:
        raise Failed(f"{what}: {last_lines(done.stdout, 1)}", last_lines(done.stdout))


def counted(size: int, seen: Any) -> Iterator[bytes]:
    """What the operator sends; it ends early where nothing more comes for a while, which the digest
    shows."""
    left = size
    while left:
        # What came along with the orders is in the buffer, and `select` sees only what is not.
        if left != size and not select.select([sys.stdin], [], [], SILENCE_S)[0]:
            return
        chunk = sys.stdin.buffer.read1(min(left, CHUNK))  # type: ignore[union-attr]
        if not chunk:
            return
        left -= len(chunk)
        seen.update(chunk)
        yield chunk


def settle() -> Json:
    """The new host serves: it is one as any other."""
    replacement.forget()
    return {}


WORK: dict[str, Callable[[], Json]] = {
    "close": close,
    "copy": copy,
    "reopen": reopen,
    "restore": restore,
    "settle": settle,
}


def main() -> int:
    send_heartbeats()
    try:
        with take_lock():
            result = WORK[ORDERS["verb"]]()
        emit(result=result)
        return 0
    except Failed as problem:
        emit(error=str(problem), detail=problem.detail)
    except OSError as problem:
        emit(error=trouble(problem, places.data()), detail="")
    return 1
