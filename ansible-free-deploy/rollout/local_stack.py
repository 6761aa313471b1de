"""A local stack on this machine: its backend for the CLI, its images, and its removal."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra.core import backend, exits, owner
from infra.core.errors import KitError
from infra.core.home import (
    CERTIFICATES,
    claim,
    home,
    is_locked,
    leave,
    occupying,
    private,
    state_dir,
)
from infra.core.settings import Settings
from infra.core.stackfile import stack_path
from infra.core.topology import instances
from rollout import report
from rollout.stacks import PROJECT, ROOT
from rollout.state_files import kit_checkpoint, kit_has

if TYPE_CHECKING:
    from infra.local import nspawn


_POLL_S = 0.1


class NotRootError(KitError):
    """The local cloud needs root's rights."""

    exit_status = exits.UNREACHABLE


# -------------------------------------------------------------------------------------- its backend


def has_resources(stack: str) -> bool:
    """Whether the state of this stack lists anything that exists."""
    from infra.local.checkpoint import Checkpoint

    if not kit_has(stack):
        return False
    state = Checkpoint(state_dir(), PROJECT, stack).load()
    return bool(state.resources)


def prepare_backend(stack: str) -> Path:
    """Make the kit's file backend ready for the CLI. Raises StateError while another run holds the
    stack.

    Returns a copy of the stack's config: the CLI writes its salt there, and the tracked file stays
    as it is.
    """
    from infra.local.checkpoint import Checkpoint

    checkpoint = Checkpoint(state_dir(), PROJECT, stack).load()
    checkpoint.refuse_if_locked()
    if not checkpoint.path.exists():
        checkpoint.write()
    copy = private(claim() / "config") / f"Pulumi.{stack}.yaml"
    config = stack_path(ROOT, stack).read_text()
    copy.write_text(with_salt(config, checkpoint.salt))
    for path in unreadable_attributes(state_dir()):
        path.unlink(missing_ok=True)
    return copy


def with_salt(config: str, salt: str | None) -> str:
    """A stack's config with the salt of the state, and no other.

    `pulumi up` by hand leaves a salt in the tracked file: the same one, which twice is not YAML, or
    that of a state which is gone.
    """
    lines = []
    for line in config.splitlines():
        if not line.startswith("encryptionsalt:"):
            lines.append(line)
    if salt:
        lines.append(f"encryptionsalt: {salt}")
    lines.append("")
    return "\n".join(lines)


def unreadable_attributes(backend: Path) -> list[Path]:
    """What a killed CLI leaves half-written next to its files: checksums, which it can do without
    but not misread."""
    found = []
    for path in backend.glob(".pulumi/**/*.attrs"):
        try:
            json.loads(path.read_text())
        except (OSError, ValueError):
            found.append(path)
    return found


def passphrase() -> str:
    """The passphrase of local stacks: made once, 0600, in the kit's home."""
    path = home() / "passphrase"
    if not path.exists():
        claim()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(secrets.token_urlsafe(24))
    return path.read_text()


def wait_until_free(stack: str, wait_s: float) -> None:
    """Return when no run holds the stack: an engine goes on for a moment where whoever started it
    was killed. Raises StateError after `wait_s`."""
    from infra.local.checkpoint import Checkpoint, StateError

    checkpoint = Checkpoint(state_dir(), PROJECT, stack)
    until = time.monotonic() + wait_s
    while True:
        try:
            checkpoint.refuse_if_locked()
        except StateError:
            if time.monotonic() >= until:
                raise
            time.sleep(_POLL_S)
            continue
        return


# --------------------------------------------------------------------------------------- its images


def prepare(settings: Settings, take_over: bool = False) -> None:
    """Prepare the home, the stack's owner and the base images, with a bar while one is built.

    Raises NotRootError, the home's and the owner's own errors, and the image's (no disk, no
    mirror).
    """
    from infra.local import image, nspawn

    if os.geteuid() != 0:
        raise NotRootError(
            "the local cloud makes machines and mounts: it needs root",
            cure="run it with sudo, or `make up`",
        )
    backend.refuse_renamed(settings.stack)
    owner.take(settings.stack, owner.Owner.here(ROOT), take_over)
    existing: dict[str, nspawn.Machine] = {}
    for machine in nspawn.machines():
        if _is_of(settings.stack, machine.id):
            existing[machine.name] = machine
    for name, machine in existing.items():
        if not image.known(machine.image):
            text = f"its base image {machine.image} was deleted; builds it again, its data stays"
            report.step(name, text)
            _build(machine.image)
    _hold_bases()
    needed = image.path(settings.image).name
    if not image.known(needed) and _makes_machines(settings, existing):
        _build(needed)


def _is_of(stack: str, machine_id: str) -> bool:
    pattern = rf"{re.escape(stack)}-(frontend|backend)-\d+(-\d+)?-[0-9a-f]{{8}}"
    return re.fullmatch(pattern, machine_id) is not None


def _makes_machines(settings: Settings, existing: Mapping[str, nspawn.Machine]) -> bool:
    """Whether a machine is missing: existing ones stay on the base that they were made on."""
    needed = {instance.resource for instance in instances(settings)}
    return not needed <= existing.keys()


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


# -------------------------------------------------------------------------------------- its removal


def forget(stack: str) -> None:
    """Remove the empty state of a local stack; with the last stack, all that the stacks shared.

    The image cache stays.
    """
    path = kit_checkpoint(stack)
    state = path.parent.glob(f"{stack}.json*")
    unfinished = path.parent.glob(f".{stack}.json*")  # of a run that was killed
    for leftover in [*state, *unfinished, *_history(stack)]:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    config_copy = home() / "config" / f"Pulumi.{stack}.yaml"
    config_copy.unlink(missing_ok=True)
    pairs = home() / CERTIFICATES / "pairs"
    for suffix in ("pem", "json"):
        for file in pairs.glob(f"{stack}.*.{suffix}"):
            file.unlink()
    owner.forget(stack)
    leave_unused()


def leave_unused() -> None:
    """With the last stack, all that the stacks shared goes; the image cache and a CA stay."""
    with occupying():  # a run that waits for this one's end may just begin
        if not home().exists() or _in_use():
            return
        _remove_orphans()
        left = leave()
    for name in left:
        report.step("infra", f"leaves {home() / name}, which is not the kit's")
    ca = home() / CERTIFICATES
    if ca.exists():
        text = f"leaves {ca}, your CA: remove it if no browser trusts it"
        report.step("infra", text)


def _in_use() -> bool:
    """Whether another stack exists or is just being made; a renamed one's `.bak` does not count."""
    base = state_dir() / ".pulumi"
    patterns = ("stacks/*/*.json", "stacks/*/*.json.gz", "locks/**/*.json")
    for pattern in patterns:
        if any(base.glob(pattern)):
            return True
    has_owner = any(home().glob("owners/*.json"))
    has_preview = any(home().glob("previews/preview-*"))
    is_chosen = any(map(is_locked, home().glob("previews/.*.lock")))
    return has_owner or has_preview or is_chosen


def _remove_orphans() -> None:
    """Machines of a state that was lost: no stack is left that could be theirs."""
    from infra.local import build_machine, networks, nspawn

    build_machine.clear()
    for machine in nspawn.machines():
        report.step(machine.name, f"is in no stack's state; removes {machine.id}")
        nspawn.delete(machine.id)
        networks.delete_network(machine.bridge)


# ------------------------------------------------------------------------- what no stack speaks for


def traces(stack: str) -> list[str]:
    """What there is of a local stack on this machine, a line each, whatever its state says:
    machines, mounts, bridge, certificates, state, notes."""
    from infra.core.home import short_id
    from infra.local import networks

    machines = _machines_of(stack)
    lines = [f"machine {machine.name}" for machine in machines]
    mounts = Path("/proc/self/mounts").read_text()
    for machine in machines:
        if f"{machine}/" in mounts:
            lines.append(f"mount of {machine.name}")
    bridge = f"ok-{short_id(stack)}"
    if networks.network_is_up(bridge):
        lines.append(f"bridge {bridge} with its address")
    pairs = home() / CERTIFICATES / "pairs"
    for path in sorted(pairs.glob(f"{stack}.*.pem")):
        lines.append(f"certificate {path.name}")
    for path in _states_of(stack):
        lines.append(f"state {path}")
    owner_note = home() / "owners" / f"{stack}.json"
    config_copy = home() / "config" / f"Pulumi.{stack}.yaml"
    for path in (owner_note, config_copy):
        if path.exists():
            lines.append(f"note {path}")
    return lines


def _states_of(stack: str) -> list[Path]:
    """Its checkpoint, what earlier runs left of it, and the CLI's copies next to it."""
    paths = []
    checkpoint = kit_checkpoint(stack)
    if checkpoint.exists():
        paths.append(checkpoint)
    paths += _history(stack)
    paths += checkpoint.parent.glob(f"{stack}.json.*")
    return paths


def stacks_with_traces(prefix: str) -> set[str]:
    """The names of local stacks that begin like this and of which anything is named so."""
    base = home()
    found = set()
    for folder in _machines_of(prefix, whole=False):
        found.add(re.sub(_MACHINE, "", folder.name))
    for pattern, ending in _NAMED:
        for path in base.glob(pattern.format(prefix)):
            name = path.name.removeprefix("Pulumi.")
            found.add(name.partition(ending)[0])
    return found


_MACHINE = r"-(frontend|backend)-\d+(-\d+)?-[0-9a-f]{8}$"
_NAMED = (
    ("owners/{}*.json", ".json"),
    ("config/Pulumi.{}*.yaml", ".yaml"),
    (f"{CERTIFICATES}/pairs/{{}}*.pem", "."),
    ("state/.pulumi/stacks/*/{}*.json*", ".json"),
    ("state/.pulumi/history/**/{}*", ".json"),
    ("state/.pulumi/backups/**/{}*", ".json"),
)


def _machines_of(stack: str, whole: bool = True) -> list[Path]:
    """Folders of machines, whole or in parts, of a stack (or of those that begin so)."""
    start = re.escape(stack)
    if not whole:
        start += ".*"
    machines = home() / "machines"
    folders = []
    for folder in machines.glob(f"{stack}*"):
        if re.fullmatch(start + _MACHINE, folder.name):
            folders.append(folder)
    return sorted(folders)


def clear(stack: str) -> None:
    """Remove everything of a local stack that no state speaks for."""
    from infra.core.home import short_id
    from infra.local import networks, nspawn

    for folder in _machines_of(stack):
        nspawn.delete(folder.name)
    networks.delete_network(f"ok-{short_id(stack)}")
    forget(stack)


def _history(stack: str) -> list[Path]:
    base = state_dir() / ".pulumi"
    folders: list[Path] = []
    for part in ("history", "backups", "locks"):
        folders += base.glob(f"{part}/**/{stack}")
    return folders
