"""Copy the application's data from a host that is replaced to the host that replaces it.

The data goes to the operator as events, `{"data": base64}`. Root reads and writes nothing below
/var/lib/<app>: programs of `as_user` do (`archive.py` describes the archive), and root forwards
their streams without looking inside.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import shutil
import sys
from typing import TYPE_CHECKING, Callable, Iterator, Mapping  # noqa: UP035 - Python 3.9 on hosts

from on_host import audit, claims, journal, moves, places, replacement, seed_mark
from on_host.confined import Ended
from on_host.disk import trouble
from on_host.lock import take_lock
from on_host.orders import ORDERS, REPLACEMENT_ORDERS, Json
from on_host.runtime import SILENCE_S, Failed, emit, last_lines, run, send_heartbeats, step
from on_host.user import in_data, make_user

if TYPE_CHECKING:
    from on_host.answers import CloseAnswer, CopyAnswer, DoneAnswer, RestoreAnswer

LIMIT_S = 24 * 3600  # for one copy; the operator's side stops it when no data moves
CHUNK = 1 << 18  # bytes


# ------------------------------------------------------------------------------------- the old host


def close() -> CloseAnswer:
    """Refuse all other changes of this host from now on.

    Its replacement then deploys the configuration that takes no writes.
    """
    if journal.exists():
        raise Failed(
            "an interrupted change is unfinished on this host: run `fab deploy`, then this again"
        )
    mark = replacement.close()
    audit.write(f"closed: {mark['name']} is being replaced", mark["id"], "replacement")
    return {"closing": mark["closing"]}


def copy() -> CopyAnswer:
    """Stop the application, then send its data.

    At most `most` bytes are sent, for which the operator's disk has room.
    """
    mark = replacement.read()
    if mark.get("state") != replacement.CLOSED:
        raise Failed("this host still takes writes, so its data can't be copied; run this again")
    step("stop", f"stops {places.app()}")
    for unit in claims.units_of(places.app()):
        run("systemctl", "stop", unit)
    moves.nobody_works_as(places.app())
    step("copy", "copies the data")
    sender = Sender()
    done = in_data(
        "copy_data",
        "read",
        into=sender,
        most=sys.maxsize,
        limit_s=LIMIT_S,
    )
    must(done, "the data can't be copied")
    return {
        "closing": mark["closing"],
        "size": sender.size,
        "digest": sender.digest.hexdigest(),
        "told": summary(done.stdout),
        "seed": seed_mark.read(),
    }


class Sender:
    """Sends what is written to it to the operator. Raises Failed where the operator is gone."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)
        orders = REPLACEMENT_ORDERS
        if self.size > orders["most"]:
            raise Failed(
                f"the data is larger than the {orders['most'] >> 20} MiB that are free in"
                f" {orders['place']} on your side; make room there, then run this again"
            )
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            if not emit({"data": base64.b64encode(chunk).decode()}):
                raise Failed("the operator is gone")


def summary(output: str) -> Json:
    """The last line of copy_data's output, for a person.

    The application's user wrote it, so no decision depends on it.
    """
    lines = output.strip().splitlines()
    if not lines:
        return {}
    try:
        parsed = json.loads(lines[-1])
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def reopen() -> DoneAnswer:
    """Forget that this host was closed, and remove the configuration that it had then.

    The ordinary configuration must be current again.
    """
    current = os.path.realpath(str(places.CONFIGURATION))
    # The id of a generation ends with a mark of the host's secrets.
    for closed in places.GENERATIONS.glob(f"{REPLACEMENT_ORDERS['generation']}*"):
        if str(closed) == current:
            raise Failed(
                "this host still has the configuration that takes no writes; run this again"
            )
        shutil.rmtree(str(closed))
    replacement.forget()
    audit.write("reopened", str(ORDERS["replacement"]), "replacement")
    return {}


# ------------------------------------------------------------------------------------- the new host


def restore() -> RestoreAnswer:
    """Make the application's user and restore the data: all of it, or nothing.

    The restored data is compared with the manifest.
    """
    closing = REPLACEMENT_ORDERS["closing"]
    mark = replacement.read()
    state = mark.get("state")
    if state == replacement.RESTORED and mark["closing"] == closing:
        return {"restored": False}
    refuse_other_data(state)
    replacement.write(replacement.RESTORING, closing)
    claims.write_mark(places.app())
    for unit in claims.units_of(places.app()):
        run("systemctl", "stop", unit)
    step("user", "makes the application's user")
    make_user()
    moves.nobody_works_as(places.app())
    must(in_data("put_data", "empty"), "the data of an earlier try can't be removed")
    step("restore", "restores the data and compares it")
    restored = put_back()
    seed_mark.write(REPLACEMENT_ORDERS["seed"])
    os.sync()
    replacement.write(replacement.RESTORED, closing)
    audit.write("restored", str(ORDERS["replacement"]), "replacement")
    return {"restored": True, "told": restored}


def refuse_other_data(state: object) -> None:
    """Raise Failed where this host has data or files that no `fab replace` has put there."""
    from_replace = state in (replacement.RESTORING, replacement.RESTORED)
    if os.path.lexists(str(places.data())) and not from_replace:
        raise Failed(
            f"{places.data()} exists already on this host, and no `fab replace` has put it there;"
            " nothing was changed. Move it away, then run this again"
        )
    conflicts = claims.conflicts(places.app())
    if conflicts:
        raise Failed(
            f"the name {places.app()} is taken on this host by what this kit did not make:"
            f" {'; '.join(conflicts)}; remove it, then run this again"
        )


def put_back() -> Json:
    """Restore the data that the operator sends; the summary of it."""
    digest = hashlib.sha256()
    source = received(REPLACEMENT_ORDERS["size"], digest)
    done = in_data("put_data", "write", source=source, limit_s=LIMIT_S)
    must(done, "the data was not restored")
    if digest.hexdigest() != REPLACEMENT_ORDERS["digest"]:
        raise Failed("the data arrives incomplete; was the connection cut? run this again")
    return summary(done.stdout)


def must(done: Ended, what: str) -> None:
    """Raise Failed where a program did not succeed."""
    if done.returncode:
        why = last_lines(done.stdout, 1)
        raise Failed(f"{what}: {why}", last_lines(done.stdout))


def received(size: int, digest: hashlib._Hash) -> Iterator[bytes]:
    """The bytes that the operator sends, all of them added to `digest`.

    They end early where nothing comes for a while; then the digest is another.
    """
    left = size
    while left:
        # The first bytes came with the orders and are in the buffer, which `select` does not see.
        if left != size and not is_readable():
            return
        chunk = sys.stdin.buffer.read1(min(left, CHUNK))  # type: ignore[union-attr]
        if not chunk:
            return
        left -= len(chunk)
        digest.update(chunk)
        yield chunk


def is_readable() -> bool:
    """Whether the operator sends something before the time is up."""
    readable, _, _ = select.select([sys.stdin], [], [], SILENCE_S)
    return bool(readable)


def settle() -> DoneAnswer:
    """The new host serves: forget that it replaced another one."""
    replacement.forget()
    return {}


WORK: dict[str, Callable[[], Mapping[str, object]]] = {
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
        emit({"result": result})
        return 0
    except Failed as problem:
        emit({"error": str(problem), "detail": problem.detail})
    except OSError as problem:
        emit({"error": trouble(problem, places.data()), "detail": ""})
    return 1
