"""Which releases and Python environments are on this host, and whether they are unmodified."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from on_host import journal, places
from on_host.activation import activation_number
from on_host.release import made_from, manifest
from on_host.services import loaded_by_gunicorn

if TYPE_CHECKING:
    from on_host.answers import MadeFrom


def names_in(folder: Path) -> list[str]:
    """The names in a folder of releases or environments, without unfinished ones."""
    if not folder.is_dir():
        return []
    names = []
    for path in folder.iterdir():
        if path.suffix != ".partial":
            names.append(path.name)
    return sorted(names)


def complete_releases() -> list[str]:
    """Releases that can be made current without sending anything: unmodified, environment too."""
    return [name for name in names_in(places.releases()) if is_complete(name)]


def is_complete(name: str) -> bool:
    """Whether a release and its environment are present and unmodified.

    Of the current release every byte is read; of others only sizes and times.
    """
    release = places.releases() / name
    thorough = name == places.current_id()
    has_manifest = (release / manifest.NAME).exists()
    if not has_manifest and not activation_of(name):
        return False  # nobody knows what it should hold
    if changes(release, thorough):
        return False
    if is_site(name):
        return True
    if not (release / "venv/.complete").exists():
        return False
    return not changes(venv_of(release), thorough)


def venv_of(release: Path) -> Path:
    """The environment that the release in this folder runs in."""
    return Path(os.path.realpath(str(release / "venv")))


# Reading every byte of a large environment takes a second, so the result is kept.
_thorough_results: dict[Path, list[str]] = {}


def changes(folder: Path, thorough: bool) -> list[str]:
    """As `manifest.changes`; every byte is read only once."""
    if thorough and folder not in _thorough_results:
        _thorough_results[folder] = manifest.changes(folder, thorough=True)
    known = _thorough_results.get(folder, [])
    if thorough or known:
        return known
    return manifest.changes(folder)


def forget_thorough_results() -> None:
    """A release has changed: read every byte again."""
    _thorough_results.clear()


def is_site(name: str) -> bool:
    """Whether the release is a frontend's: static pages, no Python."""
    return (places.releases() / name / "site").is_dir()


def complete_venvs() -> list[str]:
    """The locks that have an unmodified environment here."""
    locks = set()
    for name in names_in(places.venvs()):
        if is_complete_venv(name):
            locks.add(lock_of(name))
    return sorted(locks)


def is_complete_venv(name: str) -> bool:
    """Whether the environment is present and unmodified."""
    venv = places.venvs() / name
    return (venv / ".complete").exists() and not changes(venv, thorough=False)


def lock_of(venv: str) -> str:
    """The lock that an environment was made from, by the environment's name.

    The name is the lock's digest. An environment that replaces a modified one that still serves
    has `-2`, `-3`, ... behind it.
    """
    return venv.split("-")[0]


def used_venvs() -> set[str]:
    """Names of the environments that releases run in."""
    names = set()
    for name in names_in(places.releases()):
        venv = venv_of(places.releases() / name)
        names.add(venv.name)
    return names


def activation_of(name: str) -> int:
    """When this release last became current, see `activation_number`."""
    return activation_number(places.releases() / name)


def last_served() -> list[str]:
    """The releases here that have served, the last one first."""
    served = [name for name in names_in(places.releases()) if activation_of(name)]
    return sorted(served, key=activation_of, reverse=True)


def previous() -> str | None:
    """The release that served before the current one, if it is still here."""
    current = places.current_id()
    for name in last_served():
        if name != current and is_complete(name):
            return name
    return None


def settled() -> bool:
    """Whether there is nothing to repair.

    No ship was interrupted, the workers run the current release, and that is unmodified.
    """
    if journal.exists():
        return False
    loaded = {release for _, release in loaded_by_gunicorn()}
    current = os.path.realpath(str(places.current_release()))
    if not loaded <= {current}:
        return False
    name = places.current_id()
    if name is None:
        return True
    return activation_of(name) > 0 and is_complete(name)


def unharmed() -> str:
    """The end of an error message: what serves although a step failed."""
    name = places.current_id()
    if name is None:
        return "no release is in service on this host"
    return f"release {name} continues to serve"


def release_made_from() -> MadeFrom | None:
    """The keys of the config that the current release was made from, as they were then."""
    return made_from.of(places.current_id())


def changed_in_release() -> list[str]:
    """Paths in the current release and its environment that were modified since the ship."""
    folder = places.current_folder()
    if folder is None:
        return []
    changed = manifest.changes(Path(folder))
    venv = Path(folder, "venv")
    if not venv.is_symlink():
        return changed
    if not (venv / ".complete").exists():
        return ["venv"]
    for path in manifest.changes(venv.resolve()):
        changed.append(f"venv/{path}")
    return changed
