"""The record of a machine: what it is, where it is, how to find its processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.core.home import home
from infra.local import image

_FIXED = ("id", "name", "container", "address", "bridge", "image", "first_user")


@dataclass(frozen=True)
class Machine:
    """A machine as its folder's machine.json records it.

    `pid` and `started` (clock ticks since boot) name its init: nspawn may die and the machine live
    on. `complete` says that it once was up, `limit` what holds it to `memory_mb`: systemd, cgroup
    or nothing. Its root is user `first_user` here.
    """

    id: str
    name: str
    container: str
    address: str
    bridge: str
    image: str
    memory_mb: int
    first_user: int = 0
    host_key: str = ""
    pid: int = 0
    started: str = ""
    ssh_after_s: float = 0.0
    limit: str = ""
    complete: bool = False

    @property
    def folder(self) -> Path:
        """Where all of it is."""
        return home() / "machines" / self.id

    @property
    def root(self) -> Path:
        """Its root file system, while it is mounted."""
        return self.folder / "root"

    @property
    def unit(self) -> str:
        """Its systemd unit, where this host runs systemd."""
        return f"origin-kit-{self.container}"

    def same_as(self, other: Machine) -> bool:
        """Whether nothing but what a start or `resize` changes is different."""
        return not self.differences(other)

    def differences(self, other: Machine) -> list[str]:
        """What can't be changed once a machine is there. It stays on its base: an image of the same
        release counts as the same one."""
        mine, theirs = self._fixed(), other._fixed()
        return [key for key in _FIXED if mine[key] != theirs[key]]

    def _fixed(self) -> dict[str, Any]:
        return {**asdict(self), "image": image.release_of(self.image)}


def load(identity: str) -> Machine | None:
    """The machine of this id, or None where there is none, or only the rest of one."""
    path = home() / "machines" / identity / "machine.json"
    try:
        return Machine(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def machines() -> list[Machine]:
    """Every machine of this home, whatever stack it is of."""
    loaded = [load(folder.name) for folder in sorted((home() / "machines").glob("*"))]
    return [machine for machine in loaded if machine is not None]


def save(machine: Machine) -> Machine:
    """Record the machine in its folder."""
    new = machine.folder / "machine.json.new"
    new.write_text(json.dumps(asdict(machine), indent=1))
    new.rename(machine.folder / "machine.json")
    return machine
