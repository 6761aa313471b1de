"""What runs on the hosts: build and ship the code, deploy the configuration, roll either back."""

from __future__ import annotations

import time
from pathlib import Path

from invoke.context import Context

from rollout import report, stacks
from rollout.options import BATCH, BUILT, CODE_OF, JSON, OUTPUTS, REMOVE, RENAME, STACK, WAIT
from rollout.verb import CHANGES, named, read, show_notes, verb


@verb(help={"file": "the file to write", "stack": STACK})
def build(_: Context, file: str, stack: str | None = None) -> None:
    """Write the release of page and backend to a file, for fab ship --built FILE.

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
    from rollout import deploy_report, hosts
    from rollout.acme import certify
    from rollout.previews import afterwards

    started = time.monotonic()
    limit = deployment.seconds(wait)
    found = read(stack, outputs, json, change=True, apply=True)
    with report.silenced(json), hosts.KEPT_OPEN.block():
        certify.before_deploy(found, batch=batch, wait_s=limit)
        outcomes = deployment.run_on_all_hosts(
            found,
            protocol.DEPLOY,
            batch=batch,
            restart=restart,
            wait_s=limit,
        )
        settled = None if outputs else afterwards.settle(found, wait_s=limit)
    if json:
        report.line(deploy_report.as_json(outcomes))
        return
    report.line(deploy_report.summary(found.contract, outcomes))
    if settled:
        report.line(f"previews came or went meanwhile: {settled}")
    phases = deploy_report.seconds_by_phase(outcomes)
    if phases:
        report.line(phases)
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
    from rollout.previews import afterwards

    limit = deployment.seconds(wait)
    only = deployment.role_of(role)
    if (only or past_migrations) and not release:
        raise deployment.UsageError(
            "--role and --past-migrations go with --release; configuration goes back everywhere"
        )
    found = read(
        stack,
        outputs,
        strict=False,
        change=True,
    )
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
    if not outputs:
        show_notes(afterwards.brought_back(found))
