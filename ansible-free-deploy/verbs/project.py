"""The Django project itself: adopt it, run its management commands."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit

from infra.core import exits
from rollout import commandline, report
from rollout.options import OUTPUTS, STACK
from rollout.verb import read, verb


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
    adopted = adoption.adopt(
        Path(path),
        stack,
        page,
        settings=settings,
        wsgi=wsgi,
        force=force,
    )
    report.line(str(adopted))


@verb(
    stopped="the command on the host was ended as well", help={"stack": STACK, "outputs": OUTPUTS}
)
def manage(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
) -> None:
    """Run a management command on the first backend: fab manage -- createsuperuser.

    It runs with the service's user, environment, settings and limits; it is interactive where there
    is a terminal.
    """
    from rollout import manage as management

    words = commandline.words_for_manage()
    found = read(
        stack,
        outputs,
        json=True,
        strict=False,
    )
    status = management.run(found.contract, words)
    if status:
        raise Exit(f"manage.py {words[0]} ended with status {status}", exits.WRONG)
