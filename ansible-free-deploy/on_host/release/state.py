"""Which releases and Python environments are here, and whether they are as they were made."""

from __future__ import annotations

import os
from pathlib import Path

from on_host import journal, places
from on_host.activation import activation_number
from on_host.orders import Json
from on_host.release import made_from, manifest
from on_host.services import loaded_by_gunicorn


def names_in(folder: Path) -> list[str]:
    return (
        sorted(path.name for path in folder.iterdir() if path.suffix != ".partial")
        if folder.is_dir()
        else []
    )


def complete_releases() -> list[str]:
    """Releases that need nothing sent: as they were unpacked, and with the environment that they
    run in."""
    return [name for name in names_in(places.releases()) if is_whole(name)]


def is_whole(name: str) -> bool:
    """Whether a release and its environment are there and as they were made; the current one is
    read to the byte."""
    release, thorough = places.releases() / name, name == places.current_id()
    if not turn_of(name) and not (release / manifest.NAME).exists():
        return False  # nobody knows what it should hold
    if is_site(name):
        return not changes(release, thorough)
    if not (release / "venv/.complete").exists():
        return False
    return not (
        changes(release, thorough)
        or changes(Path(os.path.realpath(str(release / "venv"))), thorough)
    )


_read_before: dict[Path, list[str]] = {}  # to the byte, which takes a second in a large environment


def changes(folder: Path, thorough: bool) -> list[str]:
    """As `manifest.changes`; a thorough look is taken once."""
    if not thorough:
        return _read_before.get(folder) or manifest.changes(folder)
    if folder not in _read_before:
        _read_before[folder] = manifest.changes(folder, thorough=True)
    return _read_before[folder]


def forget_what_was_read() -> None:
    """A release has changed: look again."""
    _read_before.clear()


def is_site(name: str) -> bool:
    return (places.releases() / name / "site").is_dir()


def complete_venvs() -> list[str]:
    """The locks that have an environment here that is as it was made."""
    return sorted({lock_of(name) for name in names_in(places.venvs()) if is_complete_venv(name)})


def is_complete_venv(name: str) -> bool:
    venv = places.venvs() / name
    return (venv / ".complete").exists() and not changes(venv, thorough=False)


def lock_of(venv: str) -> str:
    """An environment has the name of its lock; one that replaces a changed one that still serves
    has a number more."""
    return venv.split("-")[0]


def used_venvs() -> set[str]:
    """Names of the environments that releases run in."""
    return {
        Path(os.path.realpath(str(places.releases() / name / "venv"))).name
        for name in names_in(places.releases())
    }


def turn_of(name: str) -> int:
    """When this release last became current, see `activation_number`."""
    return activation_number(places.releases() / name)


def previous() -> str | None:
    """The release that served before the current one, if it is still here."""
    served = [name for name in complete_releases() if turn_of(name) and name != places.current_id()]
    return max(served, key=turn_of, default=None)


def settled() -> bool:
    """Whether no ship was cut short, what runs is what is current, and that is as it was
    shipped."""
    loaded = {release for _, release in loaded_by_gunicorn()}
    if journal.exists() or not loaded <= {os.path.realpath(str(places.current_release()))}:
        return False
    name = places.current_id()
    return name is None or (turn_of(name) > 0 and is_whole(name))


def unharmed() -> str:
    name = places.current_id()
    return f"release {name} goes on serving" if name else "nothing was put in service"


def release_made_from() -> Json | None:
    """The keys of the config that the current release was made from, as they were then."""
    return made_from.of(places.current_id())


def changed_in_release() -> list[str]:
    """What of the current release, and of the environment that it runs in, is not as it was
    shipped."""
    folder = places.current_folder()
    if folder is None:
        return []
    venv = Path(folder, "venv")
    if venv.is_symlink() and not (venv / ".complete").exists():
        return ["venv"]
    inner = manifest.changes(venv.resolve()) if venv.is_symlink() else []
    return [*manifest.changes(Path(folder)), *(f"venv/{path}" for path in inner)]
