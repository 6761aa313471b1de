"""What can go wrong with a project goes wrong here, while the release before serves and no data has
changed."""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from pathlib import Path

from on_host import places, untrusted
from on_host.orders import ORDERS, Json
from on_host.release import manifest
from on_host.release.django import Django, printed
from on_host.release.folders import remove
from on_host.release.state import unharmed
from on_host.runtime import Failed, emit, step
from on_host.user import IS_ROOT

SHOWN_USES = 3
SHOWN_WARNINGS = 5


def try_backend(release: Path) -> None:
    """What can go wrong with the project goes wrong here, while the old release serves and no data
    has changed."""
    stage_settings()
    django = Django(release)
    step("check", "checks the project")
    checked = django.manage("check")
    django.must(checked, "manage.py check")
    for text in warnings_of(django.shown(checked.stdout)):
        emit(step="note", text=f"manage.py check warns: {text}")
    loaded = django.program("load_project", ORDERS["wsgi"], ORDERS["settings"])
    django.must(loaded, "importing `wsgi` {}".format(ORDERS["wsgi"]))
    refuse_settings_of_development(printed(loaded, "debug"))
    step("collectstatic", "collects static files")
    collect_static(django)
    manifest.write(release)
    tell_of_error_pages(django)


def warnings_of(said: str) -> list[str]:
    """What Django's checks warn of, with their ids: a file that a build should have made is most
    often told so."""
    found = re.findall(r"^\S+: (\([\w.]+\.W\d+\) .*)", said, re.MULTILINE)
    more = [f"{len(found) - SHOWN_WARNINGS} more"] if len(found) > SHOWN_WARNINGS else []
    return [*found[:SHOWN_WARNINGS], *more]


def tell_of_error_pages(django: Django) -> None:
    """A note for each page of the project for errors that fails itself; it is no reason not to
    serve the rest."""
    failing = printed(django.program("error_pages"), "failing")
    for name, why in sorted(failing.items()):
        text = f"{name} of the project fails itself ({why}): visitors get a bare 500 in its place"
        emit(step="note", text=text + static_file_to_build(why))


def static_file_to_build(why: str) -> str:
    """What to do where a template names a static file that collectstatic has not found."""
    if "OfflineGenerationError" in why:
        return (
            ", and so does each page that compresses; a ship does not run `manage.py compress` yet:"
            " have COMPRESS_ENABLED come out False, by its variable in `env` if the settings"
            " read one"
        )
    if "Missing staticfiles manifest entry" not in why:
        return ""
    return (
        ", and so does each page that names such a file; collectstatic has not found it: build it"
        " before a ship, into an app's static folder or one of STATICFILES_DIRS, not into"
        " STATIC_ROOT"
    )


def refuse_settings_of_development(debug: Json) -> None:
    """Raise Failed where DEBUG was true while the project's settings were read, and they use it:
    see `load_project`."""
    uses = debug.get("uses")
    if not uses:
        return
    where = "; ".join(uses[:SHOWN_USES]) + (
        f" and {len(uses) - SHOWN_USES} more" if len(uses) > SHOWN_USES else ""
    )
    raise Failed(
        f"DEBUG is true while the settings are read, and they use it ({where}), so settings for"
        " development would serve although DEBUG ends as False. Have it come out false on the"
        f" host: {debug['set'] or 'it is set'}; a variable that it reads goes into `env` of the"
        f" stack's config. {unharmed().capitalize()}"
    )


def stage_settings() -> None:
    """The generation's files that Django reads, in memory, for the application's user and nobody
    else."""
    places.staged().mkdir(parents=True, mode=0o750)
    for name, text in ORDERS["files"].items():
        path = places.staged() / name
        if not path.resolve().is_relative_to(places.staged().resolve()):
            raise Failed(
                f"the file {name!r} is outside of the generation; it was not made by this kit"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if IS_ROOT:
        os.chown(str(places.staged()), 0, pwd.getpwnam(places.user()).pw_gid)
    places.staged().chmod(0o750)


def collect_static(django: Django) -> None:
    """The application collects where only it can see; root writes what it hands over to a fresh
    folder of its own.

    Nothing that the application may write to is ever walked, and it has no process left when the
    first file is written.
    """
    static, fresh, old = (
        django.release / name for name in ("static", "static.partial", "static.old")
    )
    remove(fresh)
    remove(old)
    try:
        with tempfile.TemporaryFile(dir=str(places.releases())) as handed_over:
            django.must(django.collect(handed_over), "manage.py collectstatic")
            handed_over.seek(0)
            fresh.mkdir(mode=0o755)
            untrusted.receive(handed_over, fresh)
    except BaseException:
        remove(fresh)
        raise
    if os.path.lexists(str(static)):
        static.rename(old)
    fresh.rename(static)
    remove(old)
