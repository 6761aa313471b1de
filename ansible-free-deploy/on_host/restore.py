"""Restore a backup on this host: all of it, or nothing. The running database is untouched until
restored data has been compared with its manifest and the application has migrated it.

`restore-stage` takes the archive, which the operator has decrypted, as it arrives: nothing of it
lies on the disk but the restored files. `restore-switch` runs in a unit of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
from typing import TYPE_CHECKING, Callable, Mapping  # noqa: UP035 - Python 3.9 on hosts

from on_host import audit, handover, journal, places, replacement, restoring
from on_host.backup import IN_USE
from on_host.configuration.state import current_id, stored
from on_host.confined import LONG_LIMIT_S
from on_host.data_copy import LIMIT_S, must, received, summary
from on_host.disk import trouble
from on_host.envfile import environment
from on_host.lock import held, take_lock
from on_host.moves import nobody_works_as
from on_host.orders import ORDERS, RESTORE_ORDERS, Json
from on_host.probe import probe
from on_host.recovery import recover
from on_host.release.database import KEPT_BACKUPS
from on_host.release.django import gist
from on_host.runtime import Failed, emit, end_step, hide_also, last_lines, send_heartbeats, step
from on_host.services import has_service
from on_host.user import apart, in_data
from on_host.work import ended, report, under_the_lock

if TYPE_CHECKING:
    from on_host.answers import RestoredAnswer, StagedAnswer

STAGING = places.RUN / "restore.lock"
UNCHANGED = "nothing was changed here"
_ANOTHER = "another `fab restore` is under way here"


# ----------------------------------------------------------------------------------- the first part


def stage() -> StagedAnswer:
    """Restore what the operator sends into the scratch folder and compare it."""
    alone = held(STAGING, fcntl.LOCK_EX, f"{_ANOTHER}; run this after it")
    with alone, held(IN_USE, fcntl.LOCK_SH, _ANOTHER):
        with take_lock():
            _refuse()
            restoring.settle()
        restoring.refuse_mount_point()
        restoring.forget()
        step("stage", "restores the data next to the one that serves, and compares it")
        restoring.make_scratch()
        try:
            counted = _put_back()
        except (Failed, OSError):
            restoring.remove_scratch()
            raise
        restoring.write(RESTORE_ORDERS["restore"], restoring.STAGED)
    return {"counted": counted}


def _refuse() -> None:
    replacement.refuse()
    if journal.exists():
        raise Failed(
            "an interrupted change is unfinished on this host: run `fab deploy`, then this again"
        )
    if places.current_folder() is None or not has_service():
        raise Failed(
            f"{places.app()} does not serve on this host yet: run `fab up`, then this again"
        )


def _put_back() -> Json:
    digest = hashlib.sha256()
    source = received(RESTORE_ORDERS["size"], digest)
    done = restoring.put("write", restoring.scratch(), source=source, limit_s=LIMIT_S)
    must(done, f"the data was not restored, and {UNCHANGED}")
    if digest.hexdigest() != RESTORE_ORDERS["digest"]:
        raise Failed(
            f"the data arrives incomplete, and {UNCHANGED}; was the connection cut? run this again"
        )
    if RESTORE_ORDERS["keeps_key"]:
        kept = restoring.put("keep", restoring.scratch(), str(places.data()))
        must(kept, f"this stack's secret key can't be kept, and {UNCHANGED}")
    return summary(done.stdout)


# ---------------------------------------------------------------------------------- the second part


def switch() -> RestoredAnswer:
    """Let the application serve what was staged. Where it does not answer, what was there before
    serves again."""
    recover()
    mark = restoring.read()
    if (mark.get("state"), mark.get("id")) != (restoring.STAGED, RESTORE_ORDERS["restore"]):
        raise Failed(f"another `fab restore` came first, and {UNCHANGED}; run this again")
    refusal = f"a backup is being made here, and {UNCHANGED}; run this again after it"
    with held(IN_USE, fcntl.LOCK_EX, refusal):
        try:
            _migrate()
        except Failed:
            restoring.remove_scratch()
            restoring.forget()
            raise
        _exchange()
    return {"changed": True, "copy": _copies()}


def _migrate() -> None:
    """Migrate the restored data, by the release that serves, before anybody reads it."""
    step("migrate", "tries the release with it: migrates the restored database")
    code = places.current_folder()
    hide_also(environment((places.CONFIGURATION / "secrets.env").read_text()).values())
    done = apart("restore", places.data(), over=restoring.scratch()).run(
        f"{code}/venv/bin/python",
        "manage.py",
        "migrate",
        "--noinput",
        "--no-color",
        "--settings=origin_kit_settings",
        cwd=f"{code}/app",
        files=(places.CONFIGURATION / "secrets.env", places.CONFIGURATION / "environment"),
        limit_s=LONG_LIMIT_S,
    )
    if done.returncode:
        raise Failed(
            f"manage.py migrate fails on the restored data: {gist(done.stdout)}; {UNCHANGED}. Ship"
            " the release that the backup was made of, then run this again",
            last_lines(done.stdout),
        )


def _exchange() -> None:
    step("stop", f"stops {places.app()}")
    restoring.write(RESTORE_ORDERS["restore"], restoring.SWITCHING)
    try:
        restoring.stop()
        nobody_works_as(places.app())
        copied = in_data("data", "back-up", "restore", str(KEPT_BACKUPS), limit_s=LONG_LIMIT_S)
        must(copied, "the databases of before can't be kept")
        step("switch", "exchanges the data")
        restoring.exchange()
        step("start", f"starts {places.app()} and asks it")
        restoring.start()
        probe(stored(str(current_id()))["probes"])
    except (Failed, OSError) as problem:
        _go_back(problem)
        raise
    step("finish", "removes the data from before")
    restoring.finish()


def _go_back(problem: Exception) -> None:
    """Serve what was there before. Raises Failed with what became of it."""
    step("undo", "goes back to the data from before")
    restoring.stop()
    if restoring.has_exchanged():
        restoring.exchange()
    now = "the data from before serves again"
    try:
        restoring.start()
    except Failed:
        now = "the data from before does not come up either: see `fab logs`"
    restoring.remove_scratch()
    restoring.forget()
    detail = getattr(problem, "detail", "")
    raise Failed(f"{problem}; {now}", detail) from problem


def _copies() -> str:
    """The folder with what the databases were before."""
    return f"{places.data()}/backups"


# ------------------------------------------------------------------------------------------- verbs


def main() -> int:
    """Do a part of a restore, or hand the second one over to a unit."""
    parts: dict[str, Callable[[], int]] = {"restore-stage": _staged, "restore-switch": _switched}
    return ended(parts[ORDERS["verb"]], _explain)


def _staged() -> int:
    send_heartbeats()
    answer: Mapping[str, object] = stage()
    emit({"result": answer})
    return 0


def _switched() -> int:
    if "job" not in ORDERS:
        send_heartbeats()
        return handover.hand_over()
    what = RESTORE_ORDERS["restore"]
    try:
        answer = under_the_lock(switch)
    except (Failed, OSError) as problem:
        audit.write(f"failed: {problem}", what, "restore")
        raise
    end_step()
    audit.write("restored", what, "restore")
    report(answer)
    return 0


def _explain(problem: OSError) -> str:
    return f"{trouble(problem, restoring.scratch())}; the host serves what it served"
