"""What every verb of `fab` shares: it reads a stack, and fails with one message and a status."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TextIO

from invoke.exceptions import Exit
from invoke.tasks import task

from infra.core import errors, exits
from rollout import commandline, outputs, report, stacks
from rollout.outputs import Outputs

CHANGES = "run the same command again: it finishes or undoes what was under way"
LOOKS = "nothing was changed"


def verb(stopped: str = LOOKS, **more: Any) -> Callable[[Callable[..., None]], Any]:
    """A task whose foreseeable failures are one message and a status, never a traceback.

    `stopped` is what is true after ^C, unless what was stopped knows better.
    """

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


def stream_for(json: bool) -> TextIO | None:
    """Where lines for a person go: with `json` to stderr, else to stdout."""
    if json:
        return sys.stderr
    return None


def named(stack: str | None, json: bool = False) -> str:
    """The stack's name, after a first line that says which it is and what has chosen it; with
    `json` on stderr."""
    choice = stacks.choose(stack)
    report.line(str(choice), stream_for(json))
    return choice.name


def read(
    stack: str | None,
    file: str | None,
    json: bool = False,
    *,
    strict: bool = True,
    change: bool = False,
    apply: bool = False,
) -> Outputs:
    """What `outputs.load` gives, after that line and with what else a person has to know.

    To `change` hosts, the stack has to be ours. To `apply` the config, the infrastructure that it
    needs has to be there.
    """
    stream = stream_for(json)
    if file:
        from_file = outputs.load(stack, file)
        report.line(f"stack {from_file.contract.environment} ({file})", stream)
        return from_file
    name = named(stack, json)
    load = outputs.load_to_change if change else outputs.load
    of_stack = load(name, strict=strict)
    if apply:
        outputs.ready(of_stack)
    owner = outputs.whose(name)
    if owner:
        report.line(owner, stream)
    for note in of_stack.notes:
        if note:
            report.line(note, stream)
    return of_stack


def show_notes(notes: list[str]) -> None:
    """Lines under a verb's result, where there are any."""
    if notes:
        report.line("\n" + "\n".join(notes))
