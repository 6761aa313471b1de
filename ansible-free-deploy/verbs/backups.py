"""Backups of database and media: make one, list them, restore one."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from rollout import report
from rollout.options import STACK
from rollout.verb import CHANGES, named, verb

FOLDER = "the folder of the backups (default: one of your own for this stack)"
IDENTITY = "the file with the private key that opens it, as `age-keygen` has written it"


@verb(
    stopped="no backup was kept, and nothing was changed",
    help={"to": FOLDER, "stack": STACK},
)
def backup(_: Context, to: str = "", stack: str | None = None) -> None:
    """Make a backup of database and media while the application serves.

    It is encrypted to the public key of the stack's config, and a restore of it is tried here.
    """
    from rollout import outputs, settings
    from rollout.backup import making, places, words

    wanted = settings.read(named(stack))
    key = making.key_of(wanted)
    found = outputs.load_to_change(wanted.stack)
    made = making.make(found.contract, key, places.folder(to, wanted))
    report.line(words.made(made))


@verb(
    help={"place": FOLDER, "stack": STACK, "json": "name, time and bytes as JSON"},
)
def backups(
    _: Context,
    place: str = "",
    stack: str | None = None,
    json: bool = False,
) -> None:
    """List the stack's backups in a folder."""
    from rollout import settings
    from rollout.backup import names, places, words

    wanted = settings.read(named(stack, json))
    folder = places.folder(place, wanted)
    found = names.own(folder, wanted.application, wanted.stack)
    report.line(words.as_json(found) if json else words.listed(found, folder, wanted.stack))


@verb(
    stopped=CHANGES,
    help={
        "source": "the file, or a folder: then this stack's newest in it",
        "stack": STACK,
        "identity": IDENTITY,
        "check": "only try it in a scratch folder here: no host is asked",
        "from-other-stack": "restore a backup of another stack; the secret key of this one stays",
        "yes": "don't ask",
    },
)
def restore(
    _: Context,
    source: str,
    stack: str | None = None,
    identity: str | None = None,
    check: bool = False,
    from_other_stack: bool = False,
    yes: bool = False,
) -> None:
    """Replace database and media by those of a backup: all of it, or nothing.

    What serves is untouched until the backup has been restored next to it, compared, and migrated.
    """
    from rollout import outputs, settings
    from rollout.backup import restoring, words

    wanted = settings.read(named(stack))
    key = restoring.require_identity(identity)
    path = restoring.chosen(Path(source), wanted.application, wanted.stack)
    report.step("backup", f"reads {path.name}")
    facts = restoring.read(path, key)
    restoring.refuse_foreign(facts, wanted, from_other_stack)
    if check:
        report.line(words.checked(path, restoring.check(path, key)))
        return
    found = outputs.load_to_change(wanted.stack)
    if not yes:
        restoring.ask(facts, wanted.stack, path)
    report.line(words.restored(path, restoring.restore(found.contract, path, key, facts)))
