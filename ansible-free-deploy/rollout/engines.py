"""Run the Pulumi program: by the CLI where it is installed, by the embedded engine for local stacks
elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from infra.core import backend, exits
from infra.core.errors import KitError
from infra.core.settings import WARNED, Settings
from rollout import local_stack, pulumi_cli, report
from rollout.changes import Change, changes
from rollout.stacks import ROOT

_EMBEDDED = (sys.executable, "-m", "infra.local.engine")
_LONGEST_COMPLAINT = 40  # lines of output that is not JSON


class InfrastructureError(KitError):
    """The program for the stack ended with an error that it has printed itself."""

    exit_status = exits.WRONG


class EngineChoiceError(InfrastructureError):
    """The engine that was asked for can't do this."""

    exit_status = exits.USAGE


class NotInstalledError(InfrastructureError):
    """The CLI of Pulumi is missing."""

    exit_status = exits.UNREACHABLE


def choose(settings: Settings, forced: str | None) -> str:
    """`pulumi` or `embedded`: the one that is asked for, or the CLI where it is installed.

    Raises EngineChoiceError for an engine that can't run this stack, NotInstalledError where the
    CLI is missing.
    """
    if forced not in (None, "pulumi", "embedded"):
        raise EngineChoiceError(f"--engine {forced}: expected pulumi or embedded")
    is_local = settings.cloud == "local"
    if forced == "embedded" and not is_local:
        raise EngineChoiceError(
            "the embedded engine serves the local cloud only",
            cure=f"install the Pulumi CLI for {settings.cloud}: {pulumi_cli.INSTALL}",
        )
    is_installed = pulumi_cli.is_installed()
    if not is_installed and (forced == "pulumi" or not is_local):
        raise NotInstalledError(
            "the pulumi CLI is not on PATH", cure=f"install it: {pulumi_cli.INSTALL}"
        )
    if forced:
        return forced
    return "pulumi" if is_installed else "embedded"


def preview(settings: Settings, chosen: str) -> list[Change]:
    """What the engine would change, after it has compared the state with what really exists."""
    if settings.cloud == "local" and not local_stack.has_resources(settings.stack):
        return []  # there is nothing yet that could be lost
    if chosen == "embedded":
        command = [*_EMBEDDED, "preview", "--json", "--stack", settings.stack]
        output = _run(command, own=True, captured=True)
    else:
        command = [*_pulumi("preview", settings), "--json", "--refresh", "--non-interactive"]
        output = _run(command, environment(settings), captured=True)
    return changes(json.loads(output).get("steps") or ())


def update(settings: Settings, chosen: str) -> None:
    """Make what exists equal to what the stack declares. Raises InfrastructureError."""
    _operate("up", settings, chosen, "--skip-preview", "--refresh")


def destroy(settings: Settings, chosen: str) -> None:
    """Remove what the stack declares. Raises InfrastructureError."""
    _operate("destroy", settings, chosen)


def _operate(
    command: str,
    settings: Settings,
    chosen: str,
    *more: str,
) -> None:
    if chosen == "embedded":
        _run([*_EMBEDDED, command, "--stack", settings.stack], own=True)
        return
    _run([*_pulumi(command, settings), "--yes", *more], environment(settings))


def _pulumi(command: str, settings: Settings) -> list[str]:
    words = ["pulumi", command, "--stack", settings.stack]
    if settings.cloud == "local":
        config = local_stack.prepare_backend(settings.stack)
        words += ["--config-file", str(config)]
    return words


def environment(settings: Settings) -> dict[str, str]:
    """What the CLI needs: this interpreter first on PATH, and for local stacks the kit's own
    backend and passphrase."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "false",
    }
    if settings.cloud == "local":
        environment |= {
            "PULUMI_BACKEND_URL": backend.url(),
            "PULUMI_CONFIG_PASSPHRASE": local_stack.passphrase(),
        }
    return environment


def _run(
    command: list[str],
    environment: dict[str, str] | None = None,
    own: bool = False,
    captured: bool = False,
) -> str:
    """Run to the end, ^C or not; what it writes to stdout, where that is to be `captured`. Raises
    InfrastructureError.

    The CLI sees ^C itself. Our `own` engine does not, and so neither does what it runs: it is
    stopped by SIGTERM, which ends it silently while it still imports, and later when the step under
    way is done.
    """
    # The child inherits the mask. (Not by preexec_fn: ^C during its fork would leave a lock of
    # `logging` held.)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT} if own else ())
    stdout = subprocess.PIPE if captured else None
    surroundings = {**(environment or os.environ), WARNED: "1"}  # by `rollout.settings`
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=surroundings,
        stdout=stdout,
        text=True,
    ) as process:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            said = process.communicate()[0] or ""
        except KeyboardInterrupt:
            if own:
                process.terminate()
            process.communicate()
            raise
    if process.returncode:
        for text in complaints(said):
            report.line(text, sys.stderr)
        failure = InfrastructureError(
            f"the program for this stack ended with status {process.returncode}; what it said"
            " stands above"
        )
        if own and process.returncode > 0:
            failure.exit_status = process.returncode
        raise failure
    return said


def complaints(said: str) -> list[str]:
    """The errors in the output of `pulumi preview --json`; output that is not JSON is returned as
    it is."""
    try:
        diagnostics = json.loads(said).get("diagnostics") or ()
    except (ValueError, AttributeError):
        return said.split("\n")[:_LONGEST_COMPLAINT] if said else []
    messages = []
    for one in diagnostics:
        if one.get("severity") == "error":
            messages.append(str(one.get("message", "")).strip())
    return messages
