"""What was shipped to this host, as root has recorded it: which release, of which commit, when.

The audit's lines are in the order of the changes, so no clock is needed. A release's folder is
root's, and nothing in it is run here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from on_host import audit, places

if TYPE_CHECKING:
    from on_host.answers import AuditLine, KeptRelease, ReleasesAnswer
    from on_host.on_disk import ReleaseRecord

UNKNOWN = "commit unknown"
MOST_SHIPS = 200  # that are reported
# What the audit calls a change of the release.
SHIPPED = "shipped"
ROLLED_BACK = "rolled back"
KEPT = "kept "  # and the release: an interrupted run was finished


def lines_of(kind: str, lines: list[AuditLine]) -> list[AuditLine]:
    """The lines of `configuration` or `release`, the last first."""
    found = []
    for line in reversed(lines):
        if line.get("kind", "configuration") == kind:
            found.append(line)
    return found


# ----------------------------------------------------------------------------------------- releases


def record(name: str) -> ReleaseRecord:
    """What was recorded of a release when it was unpacked."""
    try:
        text = (places.releases() / name / "release.json").read_text()
        recorded: ReleaseRecord = json.loads(text)
    except (OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}


def revision(name: str) -> str:
    """The application's commit that a release was made from.

    Older kits recorded a backend's commit without its uncommitted changes, and none of a frontend.
    """
    recorded = record(name)
    if recorded.get("revision"):
        return str(recorded["revision"])
    commit = recorded.get("commit")
    if commit:
        return f"{commit[:12]}, changes unknown"
    return UNKNOWN


def served() -> list[str]:
    """The releases that are here and have served, so that they can serve again."""
    folders = [path.parent for path in places.releases().glob("*/turn")]
    return sorted(folder.name for folder in folders if folder.suffix != ".partial")


def migrations(name: str | None) -> list[str]:
    """The migrations that a release and its environment hold, as Django names them."""
    release = places.releases() / str(name)
    found = set()
    for top in (release / "app", release / "venv"):
        for here, _, files in os.walk(os.path.realpath(str(top))):
            folder = Path(here)
            if folder.name != "migrations":
                continue
            app = folder.parent.name
            for file in files:
                if file.endswith(".py") and file != "__init__.py":
                    found.add(f"{app}.{file[:-3]}")
    return sorted(found)


def no_longer_held(before: str | None, name: str) -> list[str]:
    """The migrations that release `before` holds and `name` does not; they stay applied."""
    if before in (None, name):
        return []
    held = migrations(name)
    return [migration for migration in migrations(before) if migration not in held]


# -------------------------------------------------------------------------------------------- ships


def ships(lines: list[AuditLine]) -> list[AuditLine]:
    """The lines of ships and of rollbacks of the code, the last first, each with its commit."""
    found: list[AuditLine] = []
    for line in lines_of("release", lines):
        known = line.get("revision") or revision(str(line.get("release")))
        found.append({**line, "revision": known})
    return found


def changed(line: AuditLine) -> bool:
    """Whether the release changed by what a line records.

    A release that an interrupted run had left may have been kept: that counts too.
    """
    result = str(line["result"])
    return result in (SHIPPED, ROLLED_BACK) or result.startswith(KEPT)


def last_change(lines: list[AuditLine], current: str | None) -> AuditLine | None:
    """The line that has made the current release current; None where that is not known.

    `lines` are those that `ships` returns. The result has the replaced release as `previous`.
    A fresh copy that took the place of a modified one replaced nothing.
    """
    changes = []
    for line in lines:
        if changed(line) and line.get("previous") != line["release"]:
            changes.append(line)
    releases = [line["release"] for line in changes]
    if current not in releases:
        return None
    place = releases.index(current)
    line = changes[place]
    if "previous" in line:
        return line
    older = [release for release in releases[place + 1 :] if release != current]
    return {**line, "previous": older[0] if older else None}


def look(current: str | None) -> ReleasesAnswer:
    """What a rollback of the code has to know."""
    changes = ships(audit.lines())
    here = set(served())
    if current:
        here.add(current)
    kept: dict[str, KeptRelease] = {}
    for name in sorted(here):
        kept[name] = {"revision": revision(name), "migrations": migrations(name)}
    return {
        "current": current,
        "last": last_change(changes, current),
        "ships": changes[:MOST_SHIPS],
        "kept": kept,
    }
