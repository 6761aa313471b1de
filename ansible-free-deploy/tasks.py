"""The verbs. Each is a recipe; what it calls lives in `rollout`."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from infra.core import errors, exits
from rollout import commandline, outputs, report, stacks

STACK = (
    "environment (default: $STACK, else $PULUMI_STACK, else the stack selected in Pulumi, else"
    " local)"
)
WAIT = "how long to wait for another ship or deploy, e.g. 90s or 5m (default: a minute)"
BATCH = "how many hosts are switched at a time (default: 1)"
JSON = "every host's answer as JSON on stdout, nothing else"
RENAME = "the application's name before: its user and data get the new one, its units go"
REMOVE = "an application of this kit to remove from the hosts, with its data (repeatable)"
ALLOW_REPLACE = "a host that may be replaced, and its data lost (repeatable)"
ALLOW_DELETE = "a host that may be deleted with its data (repeatable)"
ALLOW_STOP = "a host that may be stopped and started again (repeatable)"
TAKE_OVER = "make another checkout's or user's local stack yours"
CODE_OF = "only the hosts of this role: frontend or backend"
OUTPUTS = "read the contract from this file, which says itself of which stack it is"


CHANGES = "run the same command again: it finishes or undoes what was under way"
LOOKS = "nothing was changed"


def verb(stopped: str = LOOKS, **more: Any) -> Callable[[Callable[..., None]], Any]:
    """A task whose foreseeable failures are one message and a status, never a traceback. `stopped`
    is what is true after ^C, unless what was stopped knows better."""

    def wrap(function: Callable[..., None]) -> Any:
        @functools.wraps(function)
        def guarded(*arguments: Any, **options: Any) -> None:
            try:
                function(*arguments, **options)
            except ValueError as problem:
                text = report.harmless(errors.describe(problem))
                raise Exit(text, errors.status_of(problem)) from problem
            except PermissionError as problem:
                text = (
                    f"{problem.filename}: permission denied; run this as the owner of the file, or"
                    " with sudo"
                )
                raise Exit(report.harmless(text), exits.UNREACHABLE) from problem
            except KeyboardInterrupt as problem:
                raise Exit(f"stopped; {str(problem) or stopped}", exits.STOPPED) from None

        return task(klass=commandline.Verb, **more)(guarded)

    return wrap


def named(stack: str | None, json: bool = False) -> str:
    """The stack's name, after a first line that says which it is and what has chosen it; with
    `json` on stderr."""
    choice = stacks.choose(stack)
    report.line(str(choice), sys.stderr if json else None)
    return choice.name


def read(
    stack: str | None,
    file: str | None,
    json: bool = False,
    *,
    strict: bool = True,
    change: bool = False,
    apply: bool = False,
) -> outputs.Outputs:
    """What `outputs.load` gives, after that line and with what else a person has to know. To
    `change` hosts it takes that the stack is ours, to `apply` the config the infrastructure that
    this needs."""
    stream = sys.stderr if json else None
    if file:
        found = outputs.load(stack, file)
        report.line(f"stack {found.contract.environment} ({file})", stream)
        return found
    name = named(stack, json)
    found = (
        outputs.load_to_change(name, strict=strict) if change else outputs.load(name, strict=strict)
    )
    if apply:
        outputs.ready(found)
    for note in filter(None, [outputs.whose(name), *found.notes]):
        report.line(note, stream)
    return found


def show_notes(notes: list[str]) -> None:
    """Lines under a verb's result, where there are any."""
    if notes:
        report.line("\n" + "\n".join(notes))


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
    from on_host import protocol
    from rollout import (
        changes,
        check,
        deploy,
        infrastructure,
        python,
        ready,
        services,
        settings,
        ship,
        whose,
    )

    started = time.monotonic()
    wanted = settings.read(named(stack))
    moved = ship.moving(rename_from, remove_application or [])
    python.refuse_other(wanted)
    whose.refuse_other(wanted, moved)
    allowed = changes.Allowed(allow_replace or (), allow_delete or (), allow_stop or ())
    infrastructure.up(wanted, engine, take_over, allowed)
    found = outputs.load(wanted.stack)
    contract = found.contract
    ready.wait(contract)
    shipped = ship.ship_to_all_hosts(wanted, found, moved)
    outcomes = deploy.run_on_all_hosts(found, protocol.DEPLOY)
    report.line("\n" + deploy.summary(contract, outcomes))
    report.line(check.where_to_look(contract, check.from_here(contract)))
    if unsaved := check.unsaved(wanted):
        report.line(f"\n{unsaved}")
    notes = services.notes(wanted)
    show_notes(notes)
    quiet = not any(shipped) and not any(o.result["changed"] for o in outcomes)
    what = "nothing to do: all is as it should be" if quiet else "done"
    rest = ", but for what is noted above" if notes else ""
    report.line(f"\n{what}{rest}, {time.monotonic() - started:.1f} s")


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
    removed = infrastructure.down(wanted, engine, take_over, yes)
    report.line(
        f"{wanted.stack} is gone" if removed else f"there is nothing of {wanted.stack} to remove"
    )


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
    report.line(replacing.replace(name, wanted, engine, yes=yes, abort=abort, keep_copy=keep_copy))


@verb(name="outputs", help={"stack": STACK, "outputs": OUTPUTS})
def outputs_(_: Context, stack: str | None = None, outputs: str | None = None) -> None:
    """Print the contract as JSON on stdout, nothing else."""
    report.line(json.dumps(read(stack, outputs, json=True).contract.to_json(), indent=2))


@verb(
    stopped=CHANGES,
    help={"stack": STACK, "outputs": OUTPUTS, "rename-from": RENAME, "remove-application": REMOVE},
    iterable=["remove_application"],
)
def ship(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    rename_from: str | None = None,
    remove_application: list[str] | None = None,
) -> None:
    """Put a release of the application on every host and restart what serves it."""
    from on_host import protocol
    from rollout import deploy as deployment
    from rollout import services, settings
    from rollout import ship as shipping

    moved = shipping.moving(rename_from, remove_application or [])
    found = read(stack, outputs, change=True)
    wanted = settings.read(stacks.chosen_stack(found.contract.environment))
    shipped = shipping.ship_to_all_hosts(wanted, found, moved)
    report.line("shipped" if any(shipped) else "unchanged: every host has this release already")
    show_notes(services.notes(wanted))
    # What runs under the old name has stopped: the configuration under the new one belongs to
    # the move.
    if moved:
        report.line(
            deployment.summary(found.contract, deployment.run_on_all_hosts(found, protocol.DEPLOY))
        )


@verb(
    stopped=CHANGES,
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "restart": "restart gunicorn and nginx even where nothing changed",
        "wait": WAIT,
        "batch": BATCH,
        "json": JSON,
    },
)
def deploy(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    restart: bool = False,
    wait: str | None = None,
    batch: int = 1,
    json: bool = False,
) -> None:
    """Make the configuration on every host equal to the contract.

    Only services that run an older configuration are restarted.
    """
    from on_host import protocol
    from rollout import deploy as deployment

    started = time.monotonic()
    limit = deployment.seconds(wait)
    found = read(stack, outputs, json, change=True, apply=True)
    with report.silenced(json):
        outcomes = deployment.run_on_all_hosts(
            found, protocol.DEPLOY, batch=batch, restart=restart, wait_s=limit
        )
    if json:
        report.line(deployment.as_json(outcomes))
        return
    report.line(deployment.summary(found.contract, outcomes))
    report.line(
        "\n".join(
            [
                *filter(None, [deployment.seconds_by_phase(outcomes)]),
                f"{time.monotonic() - started:.1f} s",
            ]
        )
    )


@verb(
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "release": (
            "the application's code instead of the configuration: what the last ship changed"
        ),
        "to": "the generation or release to go to (default: the one before)",
        "wait": WAIT,
        "role": CODE_OF,
        "past-migrations": "go back even where the older code does not know migrations that stay",
    }
)
def rollback(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    release: bool = False,
    to: str | None = None,
    wait: str | None = None,
    role: str | None = None,
    past_migrations: bool = False,
) -> None:
    """Go back to the previous configuration, or with --release to the previous code.

    Data stays as it is, and so do migrations.
    """
    from rollout import deploy as deployment
    from rollout import rollback as rollback_verb

    limit, only = deployment.seconds(wait), deployment.role_of(role)
    if (only or past_migrations) and not release:
        raise deployment.UsageError(
            "--role and --past-migrations go with --release; configuration goes back everywhere"
        )
    found = read(stack, outputs, strict=False, change=True)
    if release:
        done = rollback_verb.rollback(found, to, only, past_migrations, limit)
        report.line("\n".join(done) if done else "unchanged: that release serves already")
        if done:
            report.line("the next `fab ship` (or `fab up`) ships what is here again")
        return
    outcomes = deployment.rollback(found, to, limit)
    report.line(deployment.summary(found.contract, outcomes))
    report.line("the contract says otherwise: the next `fab deploy` brings its configuration back")


@verb(
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "json": JSON,
        "engine": "pulumi or embedded",
        "check": "status 1 where anything would change",
    }
)
def plan(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    json: bool = False,
    engine: str | None = None,
    check: bool = False,
) -> None:
    """Show what `fab up` and `fab deploy` would change and restart, and why.

    Writes nothing. With --outputs FILE there is no infrastructure to compare with.
    """
    from on_host import protocol
    from rollout import deploy as deployment
    from rollout import infrastructure, settings
    from rollout import outputs as source

    found = None
    try:
        found = read(stack, outputs, json)
    except source.NotUpError as problem:
        report.line(f"hosts: {problem}", sys.stderr if json else None)
    made = infrastructure.Plan()
    if not outputs:
        name = stacks.chosen_stack(stack)
        made = infrastructure.plan(settings.read(name), engine)
        report.line(infrastructure.plan_text(made, name), sys.stderr if json else None)
    outcomes = deployment.run_on_all_hosts(found, protocol.PLAN) if found else []
    report.line(
        deployment.as_json(outcomes) if json else "\n".join(map(deployment.plan_text, outcomes))
    )
    if made.problem:
        raise Exit(code=exits.UNREACHABLE)
    if check and (made.differs or any(map(deployment.would_change, outcomes))):
        raise Exit(code=exits.WRONG)


@verb(help={"stack": STACK, "outputs": OUTPUTS, "json": JSON})
def status(
    _: Context, stack: str | None = None, outputs: str | None = None, json: bool = False
) -> None:
    """Show what every host holds and runs, and whether that is the contract."""
    from on_host import protocol
    from rollout import deploy as deployment

    found = read(stack, outputs, json, strict=False)
    outcomes = deployment.run_on_all_hosts(found, protocol.STATUS)
    report.line(deployment.as_json(outcomes) if json else deployment.status_table(outcomes))
    if found.problem:
        raise Exit(code=exits.USAGE)
    if not all(map(deployment.as_wanted, outcomes)):
        raise Exit(code=exits.WRONG)


@verb(help={"stack": STACK, "outputs": OUTPUTS, "json": JSON})
def history(
    _: Context, stack: str | None = None, outputs: str | None = None, json: bool = False
) -> None:
    """Show what was deployed and shipped on every host, when, and by whom.

    It marks the generations and releases that a rollback can go to.
    """
    from on_host import protocol
    from rollout import deploy as deployment

    outcomes = deployment.run_on_all_hosts(
        read(stack, outputs, json, strict=False), protocol.HISTORY
    )
    report.line(
        deployment.as_json(outcomes)
        if json
        else "\n\n".join(map(deployment.history_text, outcomes))
    )


@verb(help={"stack": STACK, "outputs": OUTPUTS, "lines": "how many of each host", "role": CODE_OF})
def logs(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    lines: int = 20,
    role: str | None = None,
) -> None:
    """Show the last lines that nginx and the application logged on every host.

    They are in the order of time: nginx's requests and errors, and the application's log.
    """
    from on_host import protocol
    from rollout import deploy as deployment

    only = deployment.role_of(role)
    for outcome in deployment.run_on_all_hosts(
        read(stack, outputs, strict=False), protocol.LOGS, only=only, count=lines
    ):
        report.line(f"{outcome.host.name}\n{outcome.result['text'].rstrip()}")


@verb(
    stopped="the command on the host was ended as well", help={"stack": STACK, "outputs": OUTPUTS}
)
def manage(_: Context, stack: str | None = None, outputs: str | None = None) -> None:
    """Run a management command on the first backend: fab manage -- createsuperuser.

    It runs with the service's user, environment, settings and limits; it is interactive where there
    is a terminal.
    """
    from rollout import manage as management

    words = commandline.words_for_manage()
    found = read(stack, outputs, json=True, strict=False)
    if status := management.run(found.contract, words):
        raise Exit(f"manage.py {words[0]} ended with status {status}", exits.WRONG)


@verb(
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "json": JSON,
        "origin": "ask as a page of this origin would",
        "path": "what it asks for",
        "method": "and how",
        "header": "a request header that it sets (repeatable)",
        "credentials": "and whether it sends cookies",
        "browser": "have a real Chromium judge the same, side by side",
        "html": "write one page: the matrix, the exchange behind each cell, the cure",
    },
    iterable=["header"],
)
def doctor(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    origin: str | None = None,
    path: str | None = None,
    method: str = "GET",
    header: list[str] | None = None,
    credentials: bool = False,
    browser: bool = False,
    html: str | None = None,
    json: bool = False,
) -> None:
    """Show which responses a browser lets a page read, and why not the others."""
    from rollout import doctor as surgery
    from rollout import services, settings
    from rollout.doctor import page

    found = read(stack, outputs, json)
    single = origin or path or header or credentials or method != "GET"
    question = (
        surgery.single_cell(found.contract, origin, path or "/", method, header or [], credentials)
        if single
        else None
    )
    with report.silenced(json):
        observed = surgery.examine(found, question)
        result = surgery.diagnose(observed, origin, browser)
    if html:
        page.write(html, result)
    if json:
        report.line(surgery.as_json(result))
    else:
        notes = []
        if not outputs:  # a file of outputs names no folder of the project's
            notes = services.notes(settings.read(found.contract.environment))
        report.line(surgery.as_text(result, notes))
    if result.status:
        raise Exit(code=result.status)


@verb(
    help={
        "path": "the folder with manage.py",
        "stack": "name of the stack to write (default: the application's)",
        "frontend": (
            "the folder that the page's build writes (default: one next to it, if there is)"
        ),
        "settings": (
            "the settings module to deploy with (default: the one that wsgi.py or manage.py names)"
        ),
        "wsgi": (
            "the WSGI callable, module:name (default: the one that the settings or a wsgi.py name)"
        ),
        "force": "replace the stack's file, if there is one",
    }
)
def adopt(
    _: Context,
    path: str,
    stack: str | None = None,
    frontend: str | None = None,
    settings: str | None = None,
    wsgi: str | None = None,
    force: bool = False,
) -> None:
    """Read a Django project, list changes and conflicts, and write a stack's config.

    The project itself stays as it is.
    """
    from rollout import adopt as adoption

    page = Path(frontend) if frontend else None
    report.line(
        str(adoption.adopt(Path(path), stack, page, settings=settings, wsgi=wsgi, force=force))
    )


@verb(help={"stack": STACK, "pin": "write the newest into the stack's config"})
def images(_: Context, stack: str | None = None, pin: bool = False) -> None:
    """Show the Debian image that a cloud stack is pinned to and the newest one."""
    from rollout import images as source

    name = named(stack)
    values = source.config(name)
    found = source.newest(values)
    if pin:
        zones = source.zones(values)
        source.pin(name, found, zones)
        report.line(f"stacks/Pulumi.{name}.yaml: machine_image: {found}{source.zones_note(zones)}")
    else:
        report.line(source.report(name, values, found))


ns = Collection(
    up,
    down,
    replace,
    outputs_,
    images,
    ship,
    deploy,
    rollback,
    plan,
    status,
    history,
    logs,
    manage,
    doctor,
    adopt,
)
ns.add_task(commandline.overview(ns), default=True)
commandline.take_over(ns)
