"""What exists: create it, compare it with the stack's config, and remove it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infra.core import backend, exits, owner
from infra.core.errors import KitError
from infra.core.home import home, refuse_foreign
from infra.core.settings import Settings
from rollout import cloudstack, engines, local_stack, question, records, report
from rollout.changes import Allowed, Change, flags, refused
from rollout.engines import EngineChoiceError, InfrastructureError
from rollout.stacks import ROOT
from rollout.state_files import kit_checkpoint


class AnswerError(KitError):
    """The answer at the terminal is not the one that the question asks for."""

    exit_status = exits.USAGE


class ProductionError(KitError):
    """The stack is protected."""

    exit_status = exits.USAGE


def up(
    settings: Settings,
    forced: str | None,
    take_over: bool = False,
    allowed: Allowed | None = None,
) -> None:
    """Make what exists equal to what the stack declares, after a comparison with what exists.

    What holds data is replaced or deleted, a host stopped, and a DNS record overwritten only where
    that is allowed by name, or a person agrees. Raises as `permit`, and OwnerError for a local
    stack that another checkout or user has made, unless `take_over`.
    """
    settings.check_key_file()
    chosen = engines.choose(settings, forced)
    report.step("infra", f"runs the program for stack {settings.stack} ({chosen} engine)")
    if settings.cloud == "local":
        local_stack.prepare(settings, take_over)
    else:
        cloudstack.require(settings.stack, engines.environment(settings))
    permit(settings.stack, _preview(settings, chosen), allowed or Allowed())
    engines.update(settings, chosen)


def run_up(
    settings: Settings,
    chosen: str,
    refuse: Callable[[Sequence[Change]], None],
) -> bool:
    """Make what exists equal to what the stack declares; whether that changes anything.

    `refuse` gets the changes first and raises an error for those that may not happen.
    """
    settings.check_key_file()
    if settings.cloud == "local":
        local_stack.prepare(settings)
    planned = _preview(settings, chosen)
    refuse(planned)
    engines.update(settings, chosen)
    return bool(planned)


def _preview(settings: Settings, chosen: str) -> list[Change]:
    """What the engine would change, and which DNS records of others would be lost by it."""
    return records.looked_up(engines.preview(settings, chosen))


@dataclass(frozen=True)
class Plan:
    """What `up` would do; `absent` where nothing of the stack is there yet, `problem` where that
    could not be asked."""

    changes: Sequence[Change] = ()
    absent: bool = False
    problem: KitError | None = None

    @property
    def differs(self) -> bool:
        """Whether `up` has anything to do."""
        return self.absent or bool(self.changes)


def plan(settings: Settings, forced: str | None = None) -> Plan:
    """What `up` would do, without doing any of it. Raises EngineChoiceError."""
    try:
        chosen = engines.choose(settings, forced)
        if not _is_there(settings):
            return Plan(absent=True)
        return Plan(_preview(settings, chosen))
    except EngineChoiceError:
        raise
    except (InfrastructureError, cloudstack.StackError) as problem:
        return Plan(problem=problem)


def _is_there(settings: Settings) -> bool:
    """Whether there is anything of this stack. Raises StackError where its backend does not
    answer."""
    if settings.cloud == "local":
        return local_stack.has_resources(settings.stack)
    return cloudstack.exists(settings.stack, engines.environment(settings))


def plan_text(found: Plan, stack: str) -> str:
    """What would change, a line each, and what of it loses data."""
    if found.problem:
        return f"infrastructure: could not be asked: {found.problem}"
    if found.absent:
        return f"infrastructure: nothing is there yet: run `fab up --stack {stack}`"
    if not found.changes:
        return "infrastructure: unchanged"
    lines = ["infrastructure: would change"]
    for change in found.changes:
        warning = _warning(change)
        lines.append(f"  {change}; {warning}" if warning else f"  {change}")
    command = f"  run `fab up --stack {stack}`"
    asked = refused(found.changes, Allowed())
    if asked:
        command += f", which asks first, or takes {flags(asked)}"
    return "\n".join([*lines, command])


def _warning(change: Change) -> str:
    if change.loses:
        return change.consequence.upper()
    return change.consequence


def permit(stack: str, found: Sequence[Change], allowed: Allowed) -> None:
    """Return where no data would be lost, no host be stopped and no DNS record be overwritten, or
    where a person agrees to it.

    A person agrees by an option or at the terminal. Raises QuestionError where nobody can be asked,
    AnswerError for any answer but the names.
    """
    asked = refused(found, allowed)
    if not asked:
        return
    for change in asked:
        report.line(f"{change}; {change.consequence}")
    names = list(dict.fromkeys(change.word for change in asked))
    what = "the name" if len(names) == 1 else "the names"
    typed = question.ask(
        f"Type {what} to go on ({' '.join(names)}): ",
        f"nothing was changed: {_fates(asked)}, and there is no terminal to ask on. Undo the edit"
        f" in stacks/Pulumi.{stack}.yaml, or {_beforehand(asked)}run `fab up --stack {stack}"
        f" {flags(asked)}`",
    )
    answer = typed.replace(",", " ").split()
    if sorted(answer) != sorted(names):
        raise AnswerError("these are not the names; nothing was changed")


def _fates(asked: Sequence[Change]) -> str:
    """Which resources would be lost, which ones stopped, and which names taken."""
    # Dictionaries, since a name counts once and in its order.
    lost: dict[str, None] = {}
    stopped: dict[str, None] = {}
    overwritten: dict[str, None] = {}
    for change in asked:
        if change.loses:
            lost[change.name] = None
        if change.stops:
            stopped[change.name] = None
        if change.overwrites:
            overwritten[change.word] = None
    parts = []
    if lost:
        parts.append(f"{', '.join(lost)} would be lost")
    if stopped:
        parts.append(f"{', '.join(stopped)} would be stopped for a while")
    if overwritten:
        parts.append(f"the DNS record of {', '.join(overwritten)} would be overwritten")
    return ", and ".join(parts)


def _beforehand(asked: Sequence[Change]) -> str:
    return "save the data and " if any(change.loses for change in asked) else ""


def refuse_production(settings: Settings) -> None:
    """Raises ProductionError, before anything is touched, for a stack that its config protects."""
    if settings.production:
        stack = settings.stack
        raise ProductionError(
            f"stack {stack} is production",
            cure=(
                "nothing was removed. To remove it with all its data: save the data, set"
                f" `production: false` in stacks/Pulumi.{stack}.yaml, then run `fab up --stack"
                f" {stack}`, `pulumi state unprotect --all --stack {stack}` and `fab down --stack"
                f" {stack}`"
            ),
        )


def ask_before_down(settings: Settings) -> None:
    """Return where the stack's name was typed. Raises QuestionError or AnswerError, and removes
    nothing."""
    typed = question.ask(
        f"This removes {settings.stack} and its data. Type the stack's name to go on: ",
        f"nothing was removed: there is no terminal to ask on; to remove {settings.stack} and its"
        " data, add --yes",
    )
    if typed != settings.stack:
        raise AnswerError("that is not its name; nothing was removed")


def down(
    settings: Settings,
    forced: str | None,
    take_over: bool = False,
    yes: bool = False,
) -> bool:
    """Remove everything that the stack has made, and the stack; whether there was anything.

    Raises ProductionError for a protected stack, OwnerError as `up` does, and unless `yes` as
    `ask_before_down`: all of them before anything is touched.
    """
    refuse_production(settings)
    chosen = engines.choose(settings, forced)
    if settings.cloud == "local":
        refuse_foreign()
        backend.refuse_renamed(settings.stack)
        if home().exists() and not take_over:
            owner.refuse_other(settings.stack, owner.Owner.here(ROOT))
    elif not cloudstack.exists(settings.stack, engines.environment(settings)):
        return False
    if not yes:
        ask_before_down(settings)
    report.step("infra", f"removes stack {settings.stack} ({chosen} engine)")
    if settings.cloud == "local":
        return _remove_local(settings, chosen, take_over)
    engines.destroy(settings, chosen)
    cloudstack.remove(settings.stack, engines.environment(settings))
    return True


def _remove_local(
    settings: Settings,
    chosen: str,
    take_over: bool,
) -> bool:
    """Remove a local stack; whether there was anything of it."""
    if not home().exists():
        return False
    owner.take(settings.stack, owner.Owner.here(ROOT), take_over)
    exists = kit_checkpoint(settings.stack).exists()
    if exists:
        engines.destroy(settings, chosen)
    local_stack.forget(settings.stack)
    return exists
