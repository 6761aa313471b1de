"""Look at an environment without changing it: what is there, what would change, what is wrong."""

from __future__ import annotations

import json

from invoke.context import Context
from invoke.exceptions import Exit

from infra.core import exits
from rollout import report, stacks
from rollout.options import CODE_OF, JSON, OUTPUTS, STACK
from rollout.verb import read, show_notes, stream_for, verb


@verb(help={"stack": STACK, "outputs": OUTPUTS})
def outputs(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
) -> None:
    """Print the contract as JSON on stdout, nothing else."""
    contract = read(stack, outputs, json=True).contract
    report.line(json.dumps(contract.to_json(), indent=2))


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
    from rollout.previews import words as attached
    from rollout.state_files import NotUpError

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
        answers = [one.result for one in outcomes]
        lines = words.before_a_deploy(found.contract, answers)
        for line in [*lines, *attached.lines(found.contract, answers)]:
            report.line(line, stream)
    if planned.problem:
        raise Exit(code=exits.UNREACHABLE)
    if check and (planned.differs or any(map(deploy_report.would_change, outcomes))):
        raise Exit(code=exits.WRONG)


@verb(
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "json": JSON,
    }
)
def status(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    json: bool = False,
) -> None:
    """Show what every host holds and runs, and whether that is the contract."""
    from on_host import protocol
    from rollout import deploy as deployment
    from rollout import deploy_report
    from rollout.move import words
    from rollout.previews import words as attached

    found = read(stack, outputs, json, strict=False)
    outcomes = deployment.run_on_all_hosts(found, protocol.STATUS)
    if json:
        report.line(deploy_report.as_json(outcomes))
    else:
        report.line(deploy_report.status_table(outcomes))
        answers = [one.result for one in outcomes]
        for line in words.before_a_deploy(found.contract, answers):
            report.line(f"\n{line}")
        show_notes(attached.lines(found.contract, answers))
    if found.problem:
        raise Exit(code=exits.USAGE)
    if not all(map(deploy_report.as_wanted, outcomes)):
        raise Exit(code=exits.WRONG)


@verb(
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "json": JSON,
    }
)
def history(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    json: bool = False,
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


@verb(
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "lines": "how many of each host",
        "role": CODE_OF,
    }
)
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
    outcomes = deployment.run_on_all_hosts(
        found,
        protocol.LOGS,
        only=only,
        count=lines,
    )
    for outcome in outcomes:
        report.line(f"{outcome.host.name}\n{outcome.result['text'].rstrip()}")


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
