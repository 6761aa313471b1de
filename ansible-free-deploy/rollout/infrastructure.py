"""Run the Pulumi program: by the CLI where it is installed, by the embedded engine for local stacks
elsewhere."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.core import backend, exits, owner
from infra.core.errors import KitError
from infra.core.home import claim, home, leave, private, refuse_foreign, state_dir
from infra.core.settings import Settings
from infra.core.stackfile import stack_path
from infra.core.topology import instances
from rollout import cloudstack, question, report
from rollout.changes import Allowed, Change, changes, flags, refused
from rollout.outputs import PROJECT, ROOT, kit_checkpoint, kit_has

if TYPE_CHECKING:
    from infra.local import nspawn

_EMBEDDED = (sys.executable, "-m", "infra.local.engine")
INSTALL = "https://www.pulumi.com/docs/install/"


class InfrastructureError(KitError):
    """The program for the stack ended with an error that it has printed itself."""

    exit_status = exits.WRONG


class EngineChoiceError(InfrastructureError):
    """The engine that was asked for can't do this."""

    exit_status = exits.USAGE


class AnswerError(InfrastructureError):
    """What was typed is not what was asked for."""

    exit_status = exits.USAGE


class ProductionError(InfrastructureError):
    """The stack is protected."""

    exit_status = exits.USAGE


class NotInstalledError(InfrastructureError):
    """Nobody can be asked: a program or root's rights are missing."""

    exit_status = exits.UNREACHABLE


def engine(settings: Settings, forced: str | None) -> str:
    """`pulumi` or `embedded`. Raises EngineChoiceError where that can't do it, NotInstalledError
    for a missing CLI."""
    installed = shutil.which("pulumi") is not None
    if forced not in (None, "pulumi", "embedded"):
        raise EngineChoiceError(f"--engine {forced}: there are two, pulumi and embedded")
    if forced == "embedded" and settings.cloud != "local":
        raise EngineChoiceError(
            "the embedded engine serves the local cloud only; install the Pulumi CLI for"
            f" {settings.cloud}: {INSTALL}"
        )
    if not installed and (forced == "pulumi" or settings.cloud != "local"):
        raise NotInstalledError(f"the pulumi CLI is not on PATH; install it: {INSTALL}")
    return forced or ("pulumi" if installed else "embedded")


def up(
    settings: Settings,
    forced: str | None,
    take_over: bool = False,
    allowed: Allowed | None = None,
) -> None:
    """Make what exists equal to what the stack declares, after a look at what is really there.

    What holds data is replaced or deleted, and a host stopped, only where that is allowed by name,
    or a person agrees. Raises as `permit`, and OwnerError for a local stack that another checkout
    or user has made, unless told to take it over.
    """
    chosen = engine(settings, forced)
    report.step("infra", f"runs the program for stack {settings.stack} ({chosen} engine)")
    if settings.cloud == "local":
        prepare_local(settings, take_over)
    else:
        cloudstack.require(settings.stack, _environment(settings))
    permit(settings.stack, look(settings, chosen), allowed or Allowed())
    _operate("up", settings, chosen, "--skip-preview", "--refresh")


def run_up(settings: Settings, chosen: str, permitted: Callable[[Sequence[Change]], None]) -> bool:
    """Make what exists equal to what the stack declares, if `permitted` raises nothing about what
    that would change; whether it changes anything."""
    if settings.cloud == "local":
        prepare_local(settings)
    found = look(settings, chosen)
    permitted(found)
    _operate("up", settings, chosen, "--skip-preview", "--refresh")
    return bool(found)


@dataclass(frozen=True)
class Plan:
    """What `up` would do; `absent` where nothing of the stack is there yet, `problem` where that
    could not be asked."""

    changes: Sequence[Change] = ()
    absent: bool = False
    problem: ValueError | None = None

    @property
    def differs(self) -> bool:
        """Whether `up` has anything to do."""
        return self.absent or bool(self.changes)


def plan(settings: Settings, forced: str | None = None) -> Plan:
    """What `up` would do, without doing any of it. Raises EngineChoiceError."""
    try:
        chosen = engine(settings, forced)
        absent = not _is_there(settings)
        return Plan(absent=absent) if absent else Plan(look(settings, chosen))
    except EngineChoiceError:
        raise
    except (InfrastructureError, cloudstack.StackError) as problem:
        return Plan(problem=problem)


def _is_there(settings: Settings) -> bool:
    """Whether there is anything of this stack. Raises StackError where its backend does not
    answer."""
    if settings.cloud == "local":
        return _has_resources(settings.stack)
    return cloudstack.exists(settings.stack, _environment(settings))


def plan_text(found: Plan, stack: str) -> str:
    """What would change, a line each, and what of it loses data."""
    if found.problem:
        return f"infrastructure: could not be asked: {found.problem}"
    if found.absent:
        return f"infrastructure: nothing is there yet: run `fab up --stack {stack}`"
    if not found.changes:
        return "infrastructure: unchanged"
    lines = [
        f"  {'; '.join(filter(None, [str(change), _warning(change)]))}" for change in found.changes
    ]
    asked = refused(found.changes, Allowed())
    ending = f", which asks first, or takes {flags(asked)}" if asked else ""
    return "\n".join(
        ["infrastructure: would change", *lines, f"  run `fab up --stack {stack}`{ending}"]
    )


def _warning(change: Change) -> str:
    return change.consequence.upper() if change.loses else change.consequence


def look(settings: Settings, chosen: str) -> list[Change]:
    """What the engine says that it would do, after a look at what is really there."""
    if settings.cloud == "local" and not _has_resources(settings.stack):
        return []  # there is nothing yet that could be lost
    if chosen == "embedded":
        said = _run(
            [*_EMBEDDED, "preview", "--json", "--stack", settings.stack], own=True, captured=True
        )
    else:
        said = _run(
            [*_pulumi("preview", settings), "--json", "--refresh", "--non-interactive"],
            _environment(settings),
            captured=True,
        )
    return changes(json.loads(said).get("steps") or ())


def permit(stack: str, found: Sequence[Change], allowed: Allowed) -> None:
    """Return where nothing that holds data would be lost and no host be stopped, or a person agrees
    to that, on a terminal or by name.

    Raises QuestionError where nobody can be asked, AnswerError for any answer but the names.
    """
    asked = refused(found, allowed)
    if not asked:
        return
    names = list(dict.fromkeys(change.name for change in asked))
    for change in asked:
        report.line(f"{change}; {change.consequence}")
    typed = question.ask(
        f"Type {'the name' if len(names) == 1 else 'the names'} to go on ({' '.join(names)}): ",
        f"nothing was changed: {_fates(asked)}, and there is no terminal to ask on. Undo the edit"
        f" in stacks/Pulumi.{stack}.yaml, or {_beforehand(asked)}run `fab up --stack {stack}"
        f" {flags(asked)}`",
    )
    if sorted(typed.replace(",", " ").split()) != sorted(names):
        raise AnswerError("these are not the names; nothing was changed")


def _fates(asked: Sequence[Change]) -> str:
    """What would become of whom."""
    fates = {
        "would be lost": dict.fromkeys(change.name for change in asked if change.loses),
        "would be stopped for a while": dict.fromkeys(
            change.name for change in asked if change.stops
        ),
    }
    return ", and ".join(f"{', '.join(names)} {fate}" for fate, names in fates.items() if names)


def _beforehand(asked: Sequence[Change]) -> str:
    return "save the data and " if any(change.loses for change in asked) else ""


def _has_resources(stack: str) -> bool:
    from infra.local.checkpoint import Checkpoint

    return kit_has(stack) and bool(Checkpoint(state_dir(), PROJECT, stack).load().resources)


def refuse_production(settings: Settings) -> None:
    """Raises ProductionError, before anything is touched, for a stack that its config protects."""
    if settings.production:
        stack = settings.stack
        raise ProductionError(
            f"stack {stack} is production; nothing was removed. To remove it with all its data:"
            f" save the data, set `production: false` in stacks/Pulumi.{stack}.yaml, then run `fab"
            f" up --stack {stack}`, `pulumi state unprotect --all --stack {stack}` and `fab down"
            f" --stack {stack}`"
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
    settings: Settings, forced: str | None, take_over: bool = False, yes: bool = False
) -> bool:
    """Remove everything that the stack has made, and the stack; whether there was anything.

    Raises ProductionError for a protected stack, OwnerError as `up` does, and unless `yes` as
    `ask_before_down`: all of them before anything is touched.
    """
    refuse_production(settings)
    chosen = engine(settings, forced)
    if settings.cloud == "local":
        refuse_foreign()
        backend.refuse_renamed(settings.stack)
        if home().exists() and not take_over:
            owner.refuse_other(settings.stack, owner.Owner.here(ROOT))
    elif not cloudstack.exists(settings.stack, _environment(settings)):
        return False
    if not yes:
        ask_before_down(settings)
    report.step("infra", f"removes stack {settings.stack} ({chosen} engine)")
    if settings.cloud != "local":
        _operate("destroy", settings, chosen)
        cloudstack.remove(settings.stack, _environment(settings))
        return True
    if not home().exists():
        return False
    owner.take(settings.stack, owner.Owner.here(ROOT), take_over)
    there = kit_checkpoint(settings.stack).exists()
    if there:
        _operate("destroy", settings, chosen)
    forget(settings.stack)
    return there


def _operate(command: str, settings: Settings, chosen: str, *more: str) -> None:
    if chosen == "embedded":
        _run([*_EMBEDDED, command, "--stack", settings.stack], own=True)
        return
    _run([*_pulumi(command, settings), "--yes", *more], _environment(settings))


def _pulumi(command: str, settings: Settings) -> list[str]:
    own = (
        ["--config-file", str(_local_backend(settings.stack))] if settings.cloud == "local" else []
    )
    return ["pulumi", command, "--stack", settings.stack, *own]


def _local_backend(stack: str) -> Path:
    """Make the kit's file backend ready for the CLI. Returns a copy of the stack's config for it to
    write its salt to: the tracked file stays as it is. Raises StateError while another run holds
    the stack."""
    from infra.local.checkpoint import Checkpoint

    checkpoint = Checkpoint(state_dir(), PROJECT, stack).load()
    checkpoint.refuse_if_locked()
    if not checkpoint.path.exists():
        checkpoint.write()
    copy = private(claim() / "config") / f"Pulumi.{stack}.yaml"
    copy.write_text(with_salt(stack_path(ROOT, stack).read_text(), checkpoint.salt))
    for path in unreadable_attributes(state_dir()):
        path.unlink(missing_ok=True)
    return copy


def with_salt(config: str, salt: str | None) -> str:
    """A stack's config with the state's own salt alone. `pulumi up` by hand leaves one in the
    tracked file: the same one, which twice would be no YAML, or that of a state which is gone."""
    kept = [line for line in config.splitlines() if not line.startswith("encryptionsalt:")]
    return "\n".join([*kept, *([f"encryptionsalt: {salt}"] if salt else []), ""])


def unreadable_attributes(backend: Path) -> list[Path]:
    """What a killed CLI leaves half-written beside its files: checksums, which it can do without
    but not misread."""
    found = []
    for path in backend.glob(".pulumi/**/*.attrs"):
        try:
            json.loads(path.read_text())
        except (OSError, ValueError):
            found.append(path)
    return found


def forget(stack: str) -> None:
    """Remove the empty state of a local stack, and with the last one what all shared, but for the
    image cache."""
    path = kit_checkpoint(stack)
    unfinished = path.parent.glob(f".{stack}.json*")  # of a run that was killed
    for leftover in [*path.parent.glob(f"{stack}.json*"), *unfinished, *_history(stack)]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    (home() / "config" / f"Pulumi.{stack}.yaml").unlink(missing_ok=True)
    owner.forget(stack)
    if not _in_use():
        _remove_orphans()
        for name in leave():
            report.step("infra", f"leaves {home() / name}, which is not the kit's")


def _in_use() -> bool:
    """Whether another stack is there, or is just being made. What a renamed one leaves (`.bak`) is
    none."""
    base = state_dir() / ".pulumi"
    states = [path for suffix in ("json", "json.gz") for path in base.glob(f"stacks/*/*.{suffix}")]
    return any([*states, *base.glob("locks/**/*.json"), *home().glob("owners/*.json")])


def _remove_orphans() -> None:
    """Machines of a state that was lost: no stack is left that could be theirs."""
    from infra.local import build_machine, networks, nspawn

    build_machine.clear()
    for machine in nspawn.machines():
        report.step(machine.name, f"is in no stack's state; removes {machine.id}")
        nspawn.delete(machine.id)
        networks.delete_network(machine.bridge)


def _history(stack: str) -> list[Path]:
    base = state_dir() / ".pulumi"
    return [
        path for part in ("history", "backups", "locks") for path in base.glob(f"{part}/**/{stack}")
    ]


def prepare_local(settings: Settings, take_over: bool = False) -> None:
    """The home, the stack's owner and the base images, with a bar while one is built.

    Raises the home's and the owner's own errors, and the image's (no root, no disk, no mirror).
    """
    from infra.local import image, nspawn

    if os.geteuid() != 0:
        raise NotInstalledError(
            "the local cloud makes machines and mounts: it needs root; run it with sudo, or"
            " `make up`"
        )
    backend.refuse_renamed(settings.stack)
    owner.take(settings.stack, owner.Owner.here(ROOT), take_over)
    mine = {
        machine.name: machine for machine in nspawn.machines() if _is_of(settings.stack, machine.id)
    }
    for name, machine in mine.items():
        if not image.known(machine.image):
            report.step(
                name, f"its base image {machine.image} was deleted; builds it again, its data stays"
            )
            _build(machine.image)
    _hold_bases()
    wanted = image.path(settings.image).name
    if not image.known(wanted) and _makes_machines(settings, mine):
        _build(wanted)


def _is_of(stack: str, identity: str) -> bool:
    return bool(
        re.fullmatch(rf"{re.escape(stack)}-(frontend|backend)-\d+(-\d+)?-[0-9a-f]{{8}}", identity)
    )


def _makes_machines(settings: Settings, mine: Mapping[str, nspawn.Machine]) -> bool:
    """Whether one is missing: those that are there stay on the base that they were made on."""
    return not {instance.resource for instance in instances(settings)} <= mine.keys()


def _build(key: str) -> None:
    from infra.local import image

    with report.progress("image") as advance:
        image.base(key, advance)


def _hold_bases() -> None:
    """Have the base of every machine in the home, where deleting the cache does no harm; an older
    version mounted its machines on the cache's."""
    from infra.local import image, nspawn

    for machine in nspawn.machines():
        if image.known(machine.image):
            image.base(machine.image)


def _environment(settings: Settings) -> dict[str, str]:
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
            "PULUMI_CONFIG_PASSPHRASE": passphrase(),
        }
    return environment


def passphrase() -> str:
    """The passphrase of local stacks: made once, 0600, in the kit's home."""
    path = home() / "passphrase"
    if not path.exists():
        claim()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(secrets.token_urlsafe(24))
    return path.read_text()


def _run(
    command: list[str],
    environment: dict[str, str] | None = None,
    own: bool = False,
    captured: bool = False,
) -> str:
    """Run to the end, ^C or not; what it writes to stdout, where that is to be `captured`. Raises
    InfrastructureError.

    The CLI sees ^C itself. Our `own` engine does not, and so neither does what it runs: it is told
    by SIGTERM, which ends it silently while it still imports, and later when the step under way is
    done.
    """
    # The child inherits the mask. (Not by preexec_fn: ^C during its fork would leave a lock of
    # `logging` held.)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT} if own else ())
    stdout = subprocess.PIPE if captured else None
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stdout, text=True) as process:
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
    """The errors in what `pulumi preview --json` printed; what is no such JSON is given back as it
    is."""
    try:
        diagnostics = json.loads(said).get("diagnostics") or ()
    except (ValueError, AttributeError):
        return said.split("\n")[:40] if said else []
    return [
        str(one.get("message", "")).strip() for one in diagnostics if one.get("severity") == "error"
    ]
