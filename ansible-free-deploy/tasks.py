"""The verbs. Each is a recipe; what it calls lives in `rollout`.

Longer than 400 lines, since a verb's signature, options and docstring are its command line and its
help.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from infra.core import exits
from rollout import commandline, report, stacks
from rollout.options import (
    ALLOW_DELETE,
    ALLOW_REPLACE,
    ALLOW_STOP,
    BATCH,
    BUILT,
    CODE_OF,
    JSON,
    OUTPUTS,
    REMOVE,
    RENAME,
    STACK,
    TAKE_OVER,
    WAIT,
)
from rollout.verb import CHANGES, named, read, show_notes, stream_for, verb


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
    text = replacing.replace(name, wanted, engine, yes=yes, abort=abort, keep_copy=keep_copy)
    report.line(text)


@verb(name="outputs", help={"stack": STACK, "outputs": OUTPUTS})
def outputs_(_: Context, stack: str | None = None, outputs: str | None = None) -> None:
    """Print the contract as JSON on stdout, nothing else."""
    contract = read(stack, outputs, json=True).contract
    report.line(json.dumps(contract.to_json(), indent=2))


@verb(
    stopped=CHANGES,
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "built": BUILT,
        "rename-from": RENAME,
        "remove-application": REMOVE,
    },
    iterable=["remove_application"],
)
def ship(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    built: str | None = None,
    rename_from: str | None = None,
    remove_application: list[str] | None = None,
) -> None:
    """Put a release of the application on every host and restart what serves it."""
    from on_host import protocol
    from rollout import deploy as deployment
    from rollout import deploy_report, services, settings
    from rollout import ship as shipping
    from rollout.acme import certify

    moved = shipping.moving(rename_from, remove_application or [])
    found = read(stack, outputs, change=True)
    wanted = settings.read(stacks.chosen_stack(found.contract.environment))
    file = Path(built) if built else None
    shipped = shipping.ship_to_all_hosts(wanted, found, moved, built=file)
    if any(shipped):
        report.line("shipped")
    else:
        report.line("unchanged: every host has this release already")
    if not built:  # the project that the notes are about need not be here
        show_notes(services.notes(wanted))
    if moved:
        # What runs under the old name has stopped: the configuration under the new one belongs to
        # the move.
        certify.before_deploy(found)
        outcomes = deployment.run_on_all_hosts(found, protocol.DEPLOY)
        report.line(deploy_report.summary(found.contract, outcomes))


@verb(help={"file": "the file to write", "stack": STACK})
def build(_: Context, file: str, stack: str | None = None) -> None:
    """Write the release of page and backend to a file, which fab ship --built FILE ships.

    It asks no host and needs no credentials: builds of the project run here, and not there.
    """
    from rollout import build as building
    from rollout import settings

    report.line("\n".join(building.build(settings.read(named(stack)), Path(file))))


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
    from rollout import deploy_report
    from rollout.acme import certify

    started = time.monotonic()
    limit = deployment.seconds(wait)
    found = read(stack, outputs, json, change=True, apply=True)
    with report.silenced(json):
        certify.before_deploy(found, batch=batch, wait_s=limit)
        outcomes = deployment.run_on_all_hosts(
            found, protocol.DEPLOY, batch=batch, restart=restart, wait_s=limit
        )
    if json:
        report.line(deploy_report.as_json(outcomes))
        return
    report.line(deploy_report.summary(found.contract, outcomes))
    phases = deploy_report.seconds_by_phase(outcomes)
    if phases:
        report.line(phases)
    report.line(f"{time.monotonic() - started:.1f} s")


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
    wishes = course.wishes(stay=stay, finish=finish, undo=undo, quiet=quiet, wait=wait)
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
    from rollout import config_rollback, deploy_report
    from rollout import deploy as deployment
    from rollout import rollback as code_rollback

    limit = deployment.seconds(wait)
    only = deployment.role_of(role)
    if (only or past_migrations) and not release:
        raise deployment.UsageError(
            "--role and --past-migrations go with --release; configuration goes back everywhere"
        )
    found = read(stack, outputs, strict=False, change=True)
    if release:
        lines = code_rollback.rollback(found, to, only, past_migrations, limit)
        if lines:
            lines.append("the next `fab ship` (or `fab up`) ships what is here again")
        else:
            lines.append("unchanged: that release serves already")
        report.line("\n".join(lines))
        return
    outcomes = config_rollback.rollback(found, to, limit)
    report.line(deploy_report.summary(found.contract, outcomes))
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
    from rollout import deploy_report, infrastructure, settings
    from rollout.move import words
    from rollout.outputs import NotUpError

    stream = stream_for(json)
    found = None
    try:
        found = read(stack, outputs, json)
    except NotUpError as problem:
        report.line(f"hosts: {problem}", stream)
    planned = infrastructure.Plan()
    if not outputs:
        name = stacks.chosen_stack(stack)
        planned = infrastructure.plan(settings.read(name), engine)
        report.line(infrastructure.plan_text(planned, name), stream)
    outcomes = deployment.run_on_all_hosts(found, protocol.PLAN) if found else []
    if json:
        report.line(deploy_report.as_json(outcomes))
    else:
        report.line("\n".join(map(deploy_report.plan_text, outcomes)))
    if found:
        for line in words.before_a_deploy(found.contract, [one.result for one in outcomes]):
            report.line(line, stream)
    if planned.problem:
        raise Exit(code=exits.UNREACHABLE)
    if check and (planned.differs or any(map(deploy_report.would_change, outcomes))):
        raise Exit(code=exits.WRONG)


@verb(help={"stack": STACK, "outputs": OUTPUTS, "json": JSON})
def status(
    _: Context, stack: str | None = None, outputs: str | None = None, json: bool = False
) -> None:
    """Show what every host holds and runs, and whether that is the contract."""
    from on_host import protocol
    from rollout import deploy as deployment
    from rollout import deploy_report
    from rollout.move import words

    found = read(stack, outputs, json, strict=False)
    outcomes = deployment.run_on_all_hosts(found, protocol.STATUS)
    if json:
        report.line(deploy_report.as_json(outcomes))
    else:
        report.line(deploy_report.status_table(outcomes))
        for line in words.before_a_deploy(found.contract, [one.result for one in outcomes]):
            report.line(f"\n{line}")
    if found.problem:
        raise Exit(code=exits.USAGE)
    if not all(map(deploy_report.as_wanted, outcomes)):
        raise Exit(code=exits.WRONG)


@verb(name="show", help={"stack": STACK, "outputs": OUTPUTS, "json": JSON})
def tls_show(
    _: Context, stack: str | None = None, outputs: str | None = None, json: bool = False
) -> None:
    """Show the certificate that every host serves: issuer, names, time left.

    Status 1 where one is past its warning line, is not served, or is not the one on the disk.
    """
    from on_host import protocol
    from rollout import deploy as deployment
    from rollout import deploy_report
    from rollout.certificates import shown

    found = read(stack, outputs, json, strict=False)
    outcomes = deployment.run_on_all_hosts(found, protocol.STATUS)
    certificates = deploy_report.found_certificates(outcomes)
    if json:
        report.line(shown.as_json(certificates))
    else:
        report.line(shown.text(certificates))
    if any(certificate.problem for certificate in certificates):
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
    from rollout import deploy_report

    found = read(stack, outputs, json, strict=False)
    outcomes = deployment.run_on_all_hosts(found, protocol.HISTORY)
    if json:
        report.line(deploy_report.as_json(outcomes))
    else:
        report.line("\n\n".join(map(deploy_report.history_text, outcomes)))


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
    found = read(stack, outputs, strict=False)
    outcomes = deployment.run_on_all_hosts(found, protocol.LOGS, only=only, count=lines)
    for outcome in outcomes:
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
    status = management.run(found.contract, words)
    if status:
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
    from rollout.doctor import browser_setup, page

    found = read(stack, outputs, json)
    question = None
    if origin or path or header or credentials or method != "GET":
        question = surgery.single_cell(
            found.contract, origin, path or "/", method, header or [], credentials
        )
    if browser:
        browser_setup.provide(stream_for(json))
    with report.silenced(json):
        observed = surgery.examine(found, question)
        about = surgery.about_now(found.contract.environment, outputs)
        result = surgery.diagnose(observed, origin, browser, about)
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
    stopped=CHANGES,
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "force": "also where it is not time: it counts against the CA's limits",
        "wait": WAIT,
    },
)
def tls_renew(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    force: bool = False,
    wait: str | None = None,
) -> None:
    """Have each host ask the CA now whether to renew its certificate, and do it.

    The timer on the hosts does the same every six hours. The CA's renewal information decides,
    unless --force does.
    """
    from rollout import deploy as deployment
    from rollout.acme import certify

    limit = deployment.seconds(wait)
    found = read(stack, outputs, change=True)
    for host, is_new in certify.renew(found, force=force, wait_s=limit):
        text = "a new certificate is served" if is_new else "not due: the CA says later"
        report.line(f"{host.name}: {text}")


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
    adopted = adoption.adopt(Path(path), stack, page, settings=settings, wsgi=wsgi, force=force)
    report.line(str(adopted))


@verb(help={"stack": STACK, "pin": "write the newest into the stack's config"})
def images(_: Context, stack: str | None = None, pin: bool = False) -> None:
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


ns = Collection(
    up,
    down,
    replace,
    move,
    outputs_,
    images,
    build,
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
tls = Collection("tls", tls_show)
tls.add_task(tls_renew, name="renew")
ns.add_collection(tls)
ns.add_task(commandline.overview(ns), default=True)
commandline.take_over(ns)
