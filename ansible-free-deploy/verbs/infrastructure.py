"""What exists: create it, remove it, replace a machine, move to other origins."""

from __future__ import annotations

import time

from invoke.context import Context

from rollout import report
from rollout.options import (
    ALLOW_DELETE,
    ALLOW_REPLACE,
    ALLOW_STOP,
    REMOVE,
    RENAME,
    STACK,
    TAKE_OVER,
    WAIT,
)
from rollout.verb import CHANGES, named, verb


@verb(
    stopped=CHANGES,
    help={
        "stack": STACK,
        "engine": "pulumi or embedded (default: the CLI where it is installed)",
        "take-over": TAKE_OVER,
        "rename-from": RENAME,
        "remove-application": REMOVE,
        "allow-replace": ALLOW_REPLACE,
        "allow-delete": ALLOW_DELETE,
        "allow-stop": ALLOW_STOP,
    },
    iterable=["remove_application", "allow_replace", "allow_delete", "allow_stop"],
)
def up(
    _: Context,
    stack: str | None = None,
    engine: str | None = None,
    take_over: bool = False,
    rename_from: str | None = None,
    remove_application: list[str] | None = None,
    allow_replace: list[str] | None = None,
    allow_delete: list[str] | None = None,
    allow_stop: list[str] | None = None,
) -> None:
    """Create the environment, ship the code, deploy the configuration, and check it.

    Resources with data are replaced or deleted, and hosts are stopped for a while, only after a
    question, or where --allow-replace, --allow-delete or --allow-stop names them.
    """
    from rollout import changes, settings, ship
    from rollout import up as steps

    started = time.monotonic()
    wanted = settings.read(named(stack))
    moved = ship.moving(rename_from, remove_application or [])
    allowed = changes.Allowed(allow_replace or (), allow_delete or (), allow_stop or ())
    result = steps.create(wanted, engine, take_over, allowed, moved)
    ending = steps.show(wanted, result)
    report.line(f"\n{ending}, {time.monotonic() - started:.1f} s")


@verb(
    stopped=CHANGES,
    help={
        "stack": STACK,
        "engine": "pulumi or embedded",
        "take-over": TAKE_OVER,
        "yes": "don't ask",
    },
)
def down(
    _: Context,
    stack: str | None = None,
    engine: str | None = None,
    take_over: bool = False,
    yes: bool = False,
) -> None:
    """Remove the environment and everything in it, after a question.

    The question asks for the stack's name. A production stack is not removed.
    """
    from rollout import infrastructure, settings

    wanted = settings.read(named(stack))
    if infrastructure.down(wanted, engine, take_over, yes):
        report.line(f"{wanted.stack} is gone")
    else:
        report.line(f"there is nothing of {wanted.stack} to remove")


@verb(
    stopped=CHANGES,
    help={
        "name": "the host, as `fab status` lists it",
        "stack": STACK,
        "engine": "pulumi or embedded",
        "yes": "don't ask",
        "abort": "remove the new machine again; the old one serves as before",
        "keep-copy": "leave the copy of the data in the kit's home",
    },
)
def replace(
    _: Context,
    name: str,
    stack: str | None = None,
    engine: str | None = None,
    yes: bool = False,
    abort: bool = False,
    keep_copy: bool = False,
) -> None:
    """Replace a host's machine; its data, address and release move to the new one.

    The old machine is removed last. The next run continues one that was stopped. Until the new
    machine has the address, --abort removes it again.
    """
    from rollout import replace as replacing
    from rollout import settings

    wanted = settings.read(named(stack))
    text = replacing.replace(
        name,
        wanted,
        engine,
        yes=yes,
        abort=abort,
        keep_copy=keep_copy,
    )
    report.line(text)


@verb(
    stopped=CHANGES,
    help={
        "stack": STACK,
        "engine": "pulumi or embedded",
        "stay": "stop while both are answered: `fab move` again ends that",
        "finish": "don't wait for pages that are open at the former origin: they are refused",
        "undo": "go back to the configuration before the move that is under way",
        "quiet": "how long no such page may have called before the end (default: 30s)",
        "wait": WAIT,
        "allow-replace": ALLOW_REPLACE,
        "allow-delete": ALLOW_DELETE,
        "allow-stop": ALLOW_STOP,
    },
    iterable=["allow_replace", "allow_delete", "allow_stop"],
)
def move(
    _: Context,
    stack: str | None = None,
    engine: str | None = None,
    stay: bool = False,
    finish: bool = False,
    undo: bool = False,
    quiet: str | None = None,
    wait: str | None = None,
    allow_replace: list[str] | None = None,
    allow_delete: list[str] | None = None,
    allow_stop: list[str] | None = None,
) -> None:
    """Move to other origins, http to https or IP to name, while open pages go on.

    Both are answered until the new ones work from outside and no page of the former ones calls any
    more. The next run continues one that was stopped.
    """
    from rollout import changes, settings
    from rollout.move import course

    started = time.monotonic()
    wishes = course.wishes(
        stay=stay,
        finish=finish,
        undo=undo,
        quiet=quiet,
        wait=wait,
    )
    name = named(stack)
    if undo:
        report.line(course.undo(name, wishes))
    else:
        allowed = changes.Allowed(allow_replace or (), allow_delete or (), allow_stop or ())
        report.line(course.move(settings.read(name), engine, allowed, wishes))
    report.line(f"{time.monotonic() - started:.1f} s")


@verb(
    help={
        "stack": STACK,
        "pin": "write the newest into the stack's config",
    }
)
def images(
    _: Context,
    stack: str | None = None,
    pin: bool = False,
) -> None:
    """Show the Debian image that a cloud stack is pinned to and the newest one."""
    from rollout import images as source

    name = named(stack)
    values = source.config(name)
    newest = source.newest(values)
    if pin:
        zones = source.zones(values)
        source.pin(name, newest, zones)
        report.line(f"stacks/Pulumi.{name}.yaml: machine_image: {newest}{source.zones_note(zones)}")
    else:
        report.line(source.report(name, values, newest))
