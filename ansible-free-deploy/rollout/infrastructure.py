"""Run the Pulumi program: by the CLI where it is installed, by the embedded engine for local stacks elsewhere."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local import owner
from infra.local.home import claim, home, leave, private, refuse_foreign, state_dir
from infra.settings import Settings
from infra.stackfile import stack_path
from infra.topology import instances
from rollout import report
from rollout.outputs import PROJECT, ROOT, kit_checkpoint

if TYPE_CHECKING:
    from infra.local import nspawn

INSTALL = "https://www.pulumi.com/docs/install/"


class InfrastructureError(ValueError):
    """The program could not run, or ended with an error that it has printed itself."""


def engine(settings: Settings, forced: str | None) -> str:
    """`pulumi` or `embedded`. Raises InfrastructureError where the forced or needed one can't be had."""
    installed = shutil.which("pulumi") is not None
    if forced not in (None, "pulumi", "embedded"):
        raise InfrastructureError(f"--engine {forced}: there are two, pulumi and embedded")
    if forced == "embedded" and settings.cloud != "local":
        raise InfrastructureError(
            f"the embedded engine serves the local cloud only; install the Pulumi CLI for {settings.cloud}: {INSTALL}"
        )
    if not installed and (forced == "pulumi" or settings.cloud != "local"):
        raise InfrastructureError(f"the pulumi CLI is not on PATH; install it: {INSTALL}")
    return forced or ("pulumi" if installed else "embedded")


def up(settings: Settings, forced: str | None, take_over: bool = False) -> None:
    """Make what exists equal to what the stack declares, after a look at what is really there.

    Raises OwnerError for a local stack that another checkout or user has made, unless told to take it over.
    """
    chosen = engine(settings, forced)
    report.step("infra", f"runs the program for stack {settings.stack} ({chosen} engine)")
    if settings.cloud == "local":
        prepare_local(settings, take_over)
    _operate("up", settings, chosen, "--refresh")


def down(settings: Settings, forced: str | None, take_over: bool = False) -> None:
    """Remove everything that the stack has made; nothing to do is fine. Raises as `up` does."""
    chosen = engine(settings, forced)
    report.step("infra", f"removes stack {settings.stack} ({chosen} engine)")
    if settings.cloud != "local":
        _operate("destroy", settings, chosen)
        return
    refuse_foreign()
    if not home().exists():
        return
    owner.take(settings.stack, owner.Owner.here(ROOT), take_over)
    if kit_checkpoint(settings.stack).exists():
        _operate("destroy", settings, chosen)
    forget(settings.stack)


def _operate(command: str, settings: Settings, chosen: str, *more: str) -> None:
    stack = ["--stack", settings.stack]
    if chosen == "embedded":
        _run([sys.executable, "-m", "infra.local.engine", command, *stack], own=True)
        return
    own = ["--config-file", str(_local_backend(settings.stack))] if settings.cloud == "local" else []
    _run(["pulumi", command, "--yes", "--skip-preview", *more, *stack, *own], _environment(settings))


def _local_backend(stack: str) -> Path:
    """Make the kit's file backend ready for the CLI. Returns a copy of the stack's config for it to write its salt to:
    the tracked file stays as it is. Raises StateError while another run holds the stack."""
    from infra.local.checkpoint import Checkpoint

    checkpoint = Checkpoint(state_dir(), PROJECT, stack).load()
    checkpoint.refuse_if_locked()
    if not checkpoint.path.exists():
        checkpoint.write()
    copy = private(claim() / "config") / f"Pulumi.{stack}.yaml"
    salt = f"\nencryptionsalt: {checkpoint.salt}\n" if checkpoint.salt else ""
    copy.write_text(stack_path(ROOT, stack).read_text() + salt)
    return copy


def forget(stack: str) -> None:
    """Remove the empty state of a local stack, and with the last one what all shared, but for the image cache."""
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
    """Whether another stack is there, or is just being made."""
    base = state_dir() / ".pulumi"
    return any([*base.glob("stacks/*/*.json*"), *base.glob("locks/**/*.json"), *home().glob("owners/*.json")])


def _remove_orphans() -> None:
    """Machines of a state that was lost: no stack is left that could be theirs."""
    from infra.local import nspawn

    for machine in nspawn.machines():
        report.step(machine.name, f"is in no stack's state; removes {machine.id}")
        nspawn.delete(machine.id)
        nspawn.delete_network(machine.bridge)


def _history(stack: str) -> list[Path]:
    base = state_dir() / ".pulumi"
    return [path for part in ("history", "backups", "locks") for path in base.glob(f"{part}/**/{stack}")]


def prepare_local(settings: Settings, take_over: bool = False) -> None:
    """The home, the stack's owner and the base images, with a bar while one is built.

    Raises the home's and the owner's own errors, and the image's (no root, no disk, no mirror).
    """
    from infra.local import image, nspawn

    if os.geteuid() != 0:
        raise InfrastructureError(
            "the local cloud makes machines and mounts: it needs root; run it with sudo, or `make up`"
        )
    owner.take(settings.stack, owner.Owner.here(ROOT), take_over)
    mine = {machine.name: machine for machine in nspawn.machines() if _is_of(settings.stack, machine.id)}
    for name, machine in mine.items():
        if not image.known(machine.image):
            report.step(name, f"its base image {machine.image} was deleted; builds it again, its data stays")
            _build(machine.image)
    _hold_bases()
    wanted = image.path(settings.image).name
    if not image.known(wanted) and _makes_machines(settings, mine):
        _build(wanted)


def _is_of(stack: str, identity: str) -> bool:
    return bool(re.fullmatch(rf"{re.escape(stack)}-(frontend|backend)-\d+-[0-9a-f]{{8}}", identity))


def _makes_machines(settings: Settings, mine: Mapping[str, nspawn.Machine]) -> bool:
    """Whether one is missing or will be replaced: those that are there stay on the base that they were made on."""
    from infra.local import image

    release = image.release_of(image.path(settings.image).name)
    there = {
        name
        for name, machine in mine.items()
        if machine.memory_mb == settings.memory_mb and image.release_of(machine.image) == release
    }
    return not {instance.name for instance in instances(settings)} <= there


def _build(key: str) -> None:
    from infra.local import image

    with report.progress("image") as advance:
        image.base(key, advance)


def _hold_bases() -> None:
    """Have the base of every machine in the home, where deleting the cache does no harm; an older version mounted its
    machines on the cache's."""
    from infra.local import image, nspawn

    for machine in nspawn.machines():
        if image.known(machine.image):
            image.base(machine.image)


def _environment(settings: Settings) -> dict[str, str]:
    """What the CLI needs: this interpreter first on PATH, and for local stacks the kit's own backend and passphrase."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    if settings.cloud == "local":
        environment |= {"PULUMI_BACKEND_URL": f"file://{state_dir()}", "PULUMI_CONFIG_PASSPHRASE": passphrase()}
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


def _run(command: list[str], environment: dict[str, str] | None = None, own: bool = False) -> None:
    """Run to the end, ^C or not. Raises InfrastructureError.

    The CLI sees ^C itself. Our `own` engine does not, and so neither does what it runs: it is told by SIGTERM, which
    ends it silently while it still imports, and later when the step under way is done.
    """
    # The child inherits the mask. (Not by preexec_fn: ^C during its fork would leave a lock of `logging` held.)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT} if own else ())
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            status = process.wait()
        except KeyboardInterrupt:
            if own:
                process.terminate()
            process.wait()
            raise
    if status:
        raise InfrastructureError(f"the program for this stack ended with status {status}; what it said stands above")
