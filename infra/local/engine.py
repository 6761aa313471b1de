"""Run the Pulumi program where the `pulumi` CLI is not installed; for the local cloud only.

The SDK runs the program as ever and talks to `Monitor` instead of a gRPC server. The state is a
Pulumi checkpoint, so that the CLI can take over at any time. What is not served is refused by name.

    python -m infra.local.engine preview|up|refresh|destroy|outputs --stack NAME
    python -m infra.local.engine preview --json --stack NAME
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pulumi
from pulumi.runtime.config import set_all_config
from pulumi.runtime.settings import Settings, configure
from pulumi.runtime.stack import run_in_stack

from infra.core import backend, owner
from infra.core.errors import status_of
from infra.core.home import claim, state_dir
from infra.core.stackfile import project, read_config
from infra.core.terminal import harmless
from infra.local import deployment as deployment_module
from infra.local import monitor as monitor_module
from infra.local.checkpoint import Checkpoint
from infra.local.deployment import INSTALL, Deployment, EngineError
from infra.local.monitor import Log, Monitor

ROOT = Path(__file__).resolve().parents[2]


class Stopped(KeyboardInterrupt):
    """The process that started this engine got ^C, and reports it to the person."""


def run_program(root: Path, stack: str, deployment: Deployment) -> None:
    """Run the program of `root` once. Raises what it raised first, ours (ValueError) before the
    SDK's echo of it."""
    described = project(root)
    name = str(described["name"])
    config = {f"{name}:{key}": value for key, value in read_config(root, stack).items()}
    monitor = Monitor(deployment, name, stack, config)
    set_all_config(config)
    try:
        with _surroundings(root / str(described.get("main", "."))):
            asyncio.run(_run(monitor, name, stack, root, deployment.preview))
    except Exception:
        if monitor.broken is not None and not isinstance(monitor.broken, KeyboardInterrupt):
            raise monitor.broken from None
        raise


@contextmanager
def _surroundings(folder: Path) -> Iterator[None]:
    """The folder and the backend that the CLI would run a program in: the program looks where its
    state is."""
    here, login = Path.cwd(), os.environ.get("PULUMI_BACKEND_URL")
    os.environ["PULUMI_BACKEND_URL"] = backend.url()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
        os.environ.pop("PULUMI_BACKEND_URL")
        if login is not None:
            os.environ["PULUMI_BACKEND_URL"] = login


async def _run(monitor: Monitor, name: str, stack: str, root: Path, preview: bool) -> None:
    # The first failure is raised; its echoes are not.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    settings = Settings(
        project=name,
        stack=stack,
        monitor=monitor,
        engine=Log(),
        dry_run=preview,
        organization="organization",
        root_directory=str(root),
    )
    configure(settings)
    await run_in_stack(lambda: _program(str(Path.cwd())))


def _program(path: str) -> None:
    sys.path.insert(0, path)
    runpy.run_path(path, run_name="__main__")


def refuse_other_clouds(root: Path, stack: str) -> None:
    """Raises EngineError for a stack whose cloud only the CLI serves."""
    cloud = read_config(root, stack).get("cloud", "local")
    if cloud != "local":
        raise EngineError(
            f"stack {stack} is on {cloud}: the embedded engine serves the local cloud only",
            cure=INSTALL,
        )


def take_stack(
    command: str,
    root: Path,
    stack: str,
    take_over: bool,
) -> None:
    """Raises LocalCloudError for another checkout's or user's stack, and for a home that is not the
    kit's."""
    mine = owner.Owner.here(root)
    if command != "preview":
        owner.take(stack, mine, take_over)
    else:
        claim()  # for the lock
        owner.refuse_other(stack, mine)


def preview(root: Path, stack: str, deployment: Deployment) -> None:
    """Look, then say what `up` would do."""
    deployment.refresh()
    run_program(root, stack, deployment)
    deployment.remove_undeclared()


def up(root: Path, stack: str, deployment: Deployment) -> None:
    """Look, then make what exists equal to what the program declares."""
    deployment.recover()
    deployment.refresh()
    run_program(root, stack, deployment)
    deployment.remove_undeclared()


def refresh(_root: Path, _stack: str, deployment: Deployment) -> None:
    """Look only."""
    deployment.recover()
    deployment.refresh()


def destroy(_root: Path, _stack: str, deployment: Deployment) -> None:
    """Remove everything; needs neither the program nor its config."""
    deployment.recover()
    deployment.remove_undeclared()


COMMANDS: dict[str, Callable[[Path, str, Deployment], None]] = {
    "preview": preview,
    "up": up,
    "refresh": refresh,
    "destroy": destroy,
}


def say(who: str, text: str) -> None:
    """One line a step."""
    # One write, so that threads don't mix within a line.
    sys.stdout.write(f"  {who:<12} {harmless(text)}\n")
    sys.stdout.flush()


def silent(_who: str, _text: str) -> None:
    """For a program that reads."""


def execute(
    command: str,
    root: Path,
    stack: str,
    debug: bool = False,
    take_over: bool = False,
    as_json: bool = False,
) -> int:
    """Run one command; the exit status. What went wrong is printed, without a traceback unless
    `debug`. A preview `as_json` prints its steps as `pulumi preview --json` does, and nothing
    else."""
    report = silent if as_json else say
    try:
        checkpoint = Checkpoint(state_dir(), str(project(root)["name"]), stack)
        if command == "outputs":
            print(json.dumps(checkpoint.load().outputs, indent=2))
            return 0
        if command != "destroy":
            refuse_other_clouds(root, stack)
        take_stack(command, root, stack, take_over)
        with checkpoint.locked():
            deployment = Deployment(checkpoint.load(), command == "preview", report)
            COMMANDS[command](root, stack, deployment)
        if command == "destroy":
            owner.forget(stack)
        if as_json:
            print(json.dumps({"steps": deployment.steps}))
        if not deployment.changes:
            report("infra", "nothing to change")
        return 0
    except Stopped:
        return 130
    except KeyboardInterrupt:
        print("stopped after the step that was under way; run it again to go on", file=sys.stderr)
        return 130
    except Exception as problem:  # noqa: BLE001 - whatever the program raises becomes a line; --debug shows it all
        if debug:
            traceback.print_exc()
        print(harmless(describe(problem, root)), file=sys.stderr)
        return status_of(problem)


def describe(problem: Exception, root: Path) -> str:
    """What went wrong for a person: our own errors as they are, others with the place in the
    program."""
    if isinstance(problem, ValueError | pulumi.RunError):
        return str(problem)
    where = ""
    for place in traceback.extract_tb(problem.__traceback__):
        if _is_of_program(place.filename, root):  # the last one counts
            where = f" ({Path(place.filename).relative_to(root)}:{place.lineno})"
    return (
        f"the program failed: {type(problem).__name__}: {problem}{where}; run it with --debug for"
        " the whole story"
    )


def _is_of_program(filename: str, root: Path) -> bool:
    if filename in (__file__, deployment_module.__file__, monitor_module.__file__):
        return False
    return filename.startswith(f"{root}{os.sep}") and "site-packages" not in filename


def stop(*_: object) -> None:
    """SIGTERM: end like ^C, after the step that is under way."""
    raise Stopped


def main(words: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, stop)
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.engine", description="Pulumi's part, for local stacks."
    )
    parser.add_argument("command", choices=[*COMMANDS, "outputs"])
    parser.add_argument("--stack", default="local")
    parser.add_argument(
        "--cwd",
        type=Path,
        default=ROOT,
        help="folder with Pulumi.yaml",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="make another checkout's stack this one's",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print what a preview has found as JSON, nothing else",
    )
    options = parser.parse_args(words)
    if options.json and options.command != "preview":
        parser.error("--json goes with preview")
    return execute(
        options.command,
        options.cwd.resolve(),
        options.stack,
        options.debug,
        options.take_over,
        options.json,
    )


if __name__ == "__main__":
    sys.exit(main())
