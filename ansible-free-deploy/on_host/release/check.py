"""Validate the project before the switch, while the previous release serves.

No data has changed when a check here fails.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from on_host import places, untrusted
from on_host.orders import SHIP_ORDERS, Json
from on_host.release import manifest
from on_host.release.django import Django, printed
from on_host.release.folders import remove
from on_host.release.state import unharmed
from on_host.release.venv import for_the_application_alone
from on_host.runtime import Failed, note, step

SHOWN_USES = 3
SHOWN_WARNINGS = 5


def try_backend(release: Path) -> None:
    """Check, import and collect the project. Raises Failed at the first step that fails."""
    stage_settings()
    django = Django(release)
    step("check", "checks the project")
    checked = django.manage("check")
    django.must(checked, "manage.py check")
    for text in warnings_of(django.shown(checked.stdout)):
        note("note", f"manage.py check warns: {text}")
    loaded = django.program("load_project", SHIP_ORDERS["wsgi"], SHIP_ORDERS["settings"])
    django.must(loaded, f"importing `wsgi` {SHIP_ORDERS['wsgi']}")
    refuse_settings_of_development(printed(loaded, "debug"))
    step("collectstatic", "collects static files")
    collect_static(django)
    manifest.write(release)
    note_failing_error_pages(django)


def warnings_of(output: str) -> list[str]:
    """The warnings of Django's checks, with their ids.

    A file that a build should have made is most often only a warning.
    """
    warnings = re.findall(r"^\S+: (\([\w.]+\.W\d+\) .*)", output, re.MULTILINE)
    shown = warnings[:SHOWN_WARNINGS]
    if len(warnings) > SHOWN_WARNINGS:
        shown.append(f"{len(warnings) - SHOWN_WARNINGS} more")
    return shown


def note_failing_error_pages(django: Django) -> None:
    """Emit a note for each error page of the project that fails itself.

    That is no reason not to serve the rest.
    """
    failing = printed(django.program("error_pages"), "failing")
    for name, why in sorted(failing.items()):
        text = f"{name} of the project fails itself ({why}): visitors get a bare 500 instead"
        note("note", text + static_file_to_build(why))


def static_file_to_build(why: str) -> str:
    """The next step where a template names a static file that collectstatic has not found."""
    if "OfflineGenerationError" in why:
        return (
            ", and so does each page that compresses; a ship does not run `manage.py compress` yet:"
            " let COMPRESS_ENABLED be False, by its variable in `env` if the settings read one"
        )
    if "Missing staticfiles manifest entry" in why:
        return (
            ", and so does each page that names such a file; collectstatic has not found it: build"
            " it before a ship, into an app's static folder or one of STATICFILES_DIRS, not into"
            " STATIC_ROOT"
        )
    return ""


def refuse_settings_of_development(debug: Json) -> None:
    """Raise Failed where the project's settings use DEBUG and it was true: see `load_project`."""
    uses = debug.get("uses")
    if not uses:
        return
    where = "; ".join(uses[:SHOWN_USES])
    if len(uses) > SHOWN_USES:
        where += f" and {len(uses) - SHOWN_USES} more"
    raise Failed(
        f"DEBUG is true while the settings are read, and they use it ({where}), so settings for"
        " development would serve although DEBUG is False at the end. Let it be false on the host:"
        f" {debug['set'] or 'it is set'}; a variable that it reads goes into `env` of the stack's"
        f" config. {unharmed().capitalize()}"
    )


def stage_settings() -> None:
    """Write the generation's files that Django reads, for the application's user only.

    They are in memory, not on the disk.
    """
    places.staged().mkdir(parents=True, mode=0o750)
    for name, text in SHIP_ORDERS["files"].items():
        path = places.staged() / name
        if not path.resolve().is_relative_to(places.staged().resolve()):
            raise Failed(
                f"the file {name!r} is outside of the generation, so it was not made by this kit"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for_the_application_alone(places.staged())


def collect_static(django: Django) -> None:
    """Let the application collect its static files, and write them to a folder of root's.

    The application collects into a private folder and sends the files. Root never walks a folder
    that the application may write to, and the application has no process left when the first file
    is written.
    """
    static = django.release / "static"
    fresh = django.release / "static.partial"
    old = django.release / "static.old"
    remove(fresh)
    remove(old)
    try:
        with tempfile.TemporaryFile(dir=str(places.releases())) as received:
            django.must(django.collect(received), "manage.py collectstatic")
            received.seek(0)
            fresh.mkdir(mode=0o755)
            untrusted.receive(received, fresh)
    except BaseException:
        remove(fresh)
        raise
    if os.path.lexists(str(static)):
        static.rename(old)
    fresh.rename(static)
    remove(old)
