"""The previews that there are: the stacks themselves are the registry, whoever made them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from infra.core import exits, previews
from infra.core.contract import Contract, ContractError, Json
from infra.core.errors import KitError
from infra.core.home import state_dir
from infra.core.processes import start_time
from rollout import pulumi_cli
from rollout.previews.run_records import RunRecords
from rollout.stacks import PROJECT
from rollout.state_files import OutputsError, file_backend, kit_has, outputs_in

_AT_ONCE = 8


class RegistryError(KitError):
    """The stacks can't be listed; the text says why."""

    exit_status = exits.UNREACHABLE


@dataclass(frozen=True)
class Entry:
    """A stack that is called as previews are.

    `outputs` is what its program exported (nothing where it was never made whole), `problem` says
    why it can't be read, `locked` that a run of Pulumi has it.
    """

    stack: str
    outputs: Json = field(default_factory=dict, repr=False)
    problem: str = ""
    locked: bool = False

    @cached_property
    def contract(self) -> Contract | None:
        """What it holds; None where nothing of it can be used."""
        try:
            return Contract.from_json(self.outputs.get("contract"), recorded=True)
        except ContractError:
            return None

    @property
    def noted(self) -> Json:
        """What the program notes of a preview (`infra.core.previews.output`); empty for a stack
        that has not this mark."""
        found = self.outputs.get("preview")
        return found if isinstance(found, dict) else {}

    @property
    def is_vacant(self) -> bool:
        """Whether it is a slot that no branch has; no other preview is without one."""
        return bool(self.noted.get("vacant") and previews.slot_of(self.stack))

    @property
    def branch(self) -> str:
        """Empty where nothing says it, and of a vacant slot."""
        return "" if self.is_vacant else str(self.noted.get("branch") or "")

    @property
    def updated(self) -> str:
        """The time of the last update, as it is noted."""
        return str(self.noted.get("updated") or "")


def all_(cloud: str) -> list[Entry]:
    """Every preview where stacks of this cloud keep their state, by name. One that can't be read is
    among them, with the reason. Raises RegistryError where nothing could be asked."""
    base = state_dir() if cloud == "local" else file_backend()
    if base is None:
        return _of_the_cli()
    folder = base / ".pulumi" / "stacks" / PROJECT
    try:
        paths = [*folder.glob(f"{previews.PREFIX}*.json"), *folder.glob(f"{previews.PREFIX}*.gz")]
    except PermissionError:
        raise RegistryError(f"{folder}: permission denied", cure="run this with sudo") from None
    return [_in_file(base, path) for path in sorted(paths)]


@dataclass(frozen=True)
class Live:
    """The previews that are attached to one environment: `origins` of their pages by the stacks'
    names. `unknown` are previews whose state can't be read, each with the reason: they may be
    attached, too. `going` are those whose removal has begun: their states say that they are
    attached, and they are not."""

    origins: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    going: frozenset[str] = frozenset()

    def gone(self, answered: Mapping[str, str]) -> dict[str, str]:
        """Those of these origins, by the stacks' names, that no preview has any more."""
        return {
            name: origin
            for name, origin in answered.items()
            if name not in self.unknown and self.origins.get(name) != origin
        }


def live(environment: str) -> Live:
    """The previews that are attached to this environment now, which a vacant slot is not. A local
    environment's are local; the others are where Pulumi is logged in to. A removal that was begun
    on another computer is not known here. Raises RegistryError where nothing could be asked."""
    origins: dict[str, str] = {}
    unknown: dict[str, str] = {}
    going: set[str] = set()
    cloud = "local" if kit_has(environment) else ""
    leaving = RunRecords.to_read(cloud).leaving()
    for entry in all_(cloud):
        contract = entry.contract
        if problem := entry.problem or _misfit(entry):
            unknown[entry.stack] = problem
        elif contract is None or contract.attached_to != environment or entry.is_vacant:
            continue
        elif entry.stack in leaving:
            going.add(entry.stack)
        else:
            origins[entry.stack] = contract.frontend.origin
    return Live(origins, unknown, frozenset(going))


def _misfit(entry: Entry) -> str:
    """Why its contract can't be used; empty where it can, or where there is none yet."""
    if "contract" not in entry.outputs:
        return ""
    if entry.contract is None:
        return "its contract can't be read: another version of the kit made it"
    if entry.contract.environment != entry.stack:
        return f"its state holds the contract of {entry.contract.environment}"
    return ""


# -------------------------------------------------------------------------------- backends of files


def _in_file(base: Path, path: Path) -> Entry:
    stack = path.name.partition(".json")[0]
    locks = base / ".pulumi" / "locks" / "organization" / PROJECT / stack
    locked = any(map(_is_held, locks.glob("*.json")))
    if path.suffix == ".gz":
        return Entry(
            stack,
            problem=f"{path}: compressed state, which the CLI reads",
            locked=locked,
        )
    try:
        return Entry(stack, outputs_in(path), locked=locked)
    except OutputsError as problem:
        return Entry(stack, problem=str(problem), locked=locked)


def _is_held(lock: Path) -> bool:
    """Whether the run that made this lock may live; on this host its process says so."""
    try:
        held = json.loads(lock.read_text())
        return held["hostname"] != platform.node() or bool(start_time(int(held["pid"])))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True


# ------------------------------------------------------------------------------ every other backend


def _of_the_cli() -> list[Entry]:
    said = _said("stack", "ls", "--json")
    try:
        names = pulumi_cli.stacks_in(said)
    except ValueError:
        raise RegistryError("`pulumi stack ls --json` did not print a list of stacks") from None
    wanted = sorted(name for name in names if previews.is_preview(name))
    busy = [name for name in wanted if names[name].get("updateInProgress")]
    return _each(wanted, busy)


def _each(names: Iterable[str], busy: Iterable[str]) -> list[Entry]:
    held = set(busy)

    def asked(name: str) -> Entry:
        try:
            return Entry(
                name,
                outputs_of(name),
                "",
                name in held,
            )
        except (RegistryError, ValueError) as problem:
            return Entry(name, problem=str(problem), locked=name in held)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(asked, names))


def outputs_of(stack: str) -> Json:
    """What the CLI says of any stack's outputs, secrets hidden. Raises RegistryError."""
    return dict(json.loads(_said("stack", "output", "--json", "--stack", stack)))


def _said(*words: str) -> str:
    """What the CLI prints. Raises RegistryError where it fails."""
    if not pulumi_cli.is_installed():
        raise RegistryError(
            "the pulumi CLI, which knows the stacks, is not on PATH",
            cure=f"install it: {pulumi_cli.INSTALL}",
        )
    done = pulumi_cli.run(*words)
    if done.returncode:
        raise RegistryError(pulumi_cli.failure(done))
    return done.stdout
