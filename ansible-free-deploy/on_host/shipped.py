"""What was shipped to this host, as root has recorded it: which release, of which commit, and what
each ship changed.

The audit says what happened, in its own order: no clock is asked. A release's folder is root's, and
nothing in it is run here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from on_host import audit, places
from on_host.orders import Json

UNKNOWN = "commit unknown"
MOST_SHIPS = 200  # that are told of
SHIPPED, ROLLED_BACK, KEPT = (
    "shipped",
    "rolled back",
    "kept ",
)  # what the audit calls a change of the release


def lines_of(kind: str, lines: list[Json]) -> list[Json]:
    """Those of `configuration` or `release`, the last first."""
    return [line for line in reversed(lines) if line.get("kind", "configuration") == kind]


# ----------------------------------------------------------------------------------------- releases


def record(name: str) -> Json:
    """What was noted of a release when it was unpacked."""
    try:
        found = json.loads((places.releases() / name / "release.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def revision(name: str) -> str:
    """The commit of the application that a release is of. Older kits noted one without its changes,
    and none of a page."""
    noted = record(name)
    commit = noted.get("commit")
    return str(noted.get("revision") or (f"{commit[:12]}, changes unknown" if commit else UNKNOWN))


def served() -> list[str]:
    """The releases that are here and have served, so that they can serve again."""
    return sorted(
        path.parent.name
        for path in places.releases().glob("*/turn")
        if path.parent.suffix != ".partial"
    )


def migrations(name: str | None) -> list[str]:
    """The migrations that a release holds, of the project and of what it is installed with, as
    Django names them."""
    found = set()
    for top in (places.releases() / str(name) / "app", places.releases() / str(name) / "venv"):
        for here, _, files in os.walk(os.path.realpath(str(top))):
            if Path(here).name == "migrations":
                app = Path(here).parent.name
                found |= {
                    f"{app}.{file[:-3]}"
                    for file in files
                    if file.endswith(".py") and file != "__init__.py"
                }
    return sorted(found)


# -------------------------------------------------------------------------------------------- ships


def ships(lines: list[Json]) -> list[Json]:
    """The lines of ships and of rollbacks of the code, the last first, each with the commit if that
    can be known."""
    return [
        {**line, "revision": line.get("revision") or revision(str(line.get("release")))}
        for line in lines_of("release", lines)
    ]


def changed(line: Json) -> bool:
    """Whether the release changed by what a line tells of; one that a killed run had left may have
    been kept."""
    return line["result"] in (SHIPPED, ROLLED_BACK) or line["result"].startswith(KEPT)


def last_change(found: list[Json], current: str | None) -> Json | None:
    """The line of `ships` that has made the current release current, with the one that it replaced
    as `previous`; None where that is not known. A fresh copy in the place of a changed one replaced
    nothing."""
    changes = [line for line in found if changed(line) and line.get("previous") != line["release"]]
    for place, line in enumerate(changes):
        if line["release"] == current:
            older = (
                other["release"] for other in changes[place + 1 :] if other["release"] != current
            )
            return {
                **line,
                "previous": line["previous"] if "previous" in line else next(older, None),
            }
    return None


def no_longer_held(before: str | None, name: str) -> list[str]:
    """The migrations that release `before` holds and `name` does not; they stay applied."""
    return (
        sorted(set(migrations(before)) - set(migrations(name)))
        if before not in (None, name)
        else []
    )


def look(current: str | None) -> Json:
    """What a rollback of the code has to know."""
    found = ships(audit.lines())
    here = sorted({*served(), *([current] if current else [])})
    return {
        "current": current,
        "last": last_change(found, current),
        "ships": found[:MOST_SHIPS],
        "kept": {
            name: {"revision": revision(name), "migrations": migrations(name)} for name in here
        },
    }
