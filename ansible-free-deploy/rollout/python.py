"""Whether the project's Python is the hosts': asked before any machine is made. It reads the
project's own files."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from infra.core import debian, exits
from infra.core.errors import KitError
from infra.core.settings import Settings
from rollout import outputs
from rollout.release import ReleaseError, local
from rollout.release.declared import Requirements
from rollout.release.needs import requirements
from rollout.stacks import ROOT


class PythonError(KitError):
    """The project asks for another Python than its hosts will have; the text says where, and the
    cure."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Demand:
    """What asks for a Python, in words, and which ones: a version specifier."""

    who: str
    wanted: str


def refuse_other(settings: Settings) -> None:
    """Raises PythonError where the project asks for another Python than Debian's own on the hosts.

    A project in a git repository is checked when it is shipped; so is one that says nothing, and
    one whose hosts exist already.
    """
    release = release_of(settings)
    if settings.backend_git or release is None or outputs.recorded(settings.stack):
        return
    for demand in demands(ROOT / settings.backend_path, settings.requirements):
        if not debian.meets(release, demand.wanted):
            raise PythonError(
                f"{settings.backend_path}/{demand.who} {demand.wanted!r}, and {release} has Python"
                f" {release.version}; " + cure(demand.wanted, settings.stack)
            )


def cure(wanted: str, stack: str) -> str:
    """What to do about a Python that the hosts lack."""
    fits = debian.fitting(wanted)
    if fits is None:
        return "no Debian that the kit supports has that one: change requires-python"
    return f"choose {fits}: `image: {fits.name}` in stacks/Pulumi.{stack}.yaml"


def requires(folder: Path) -> str | None:
    """All that the project asks of its Python, as one specifier; None where it asks for nothing
    that can be read."""
    parts: dict[str, None] = {}
    for demand in demands(folder):
        for part in demand.wanted.split(","):
            parts[part.strip()] = None
    return ",".join(parts) or None


def demands(folder: Path, file: str = "") -> list[Demand]:
    """`requires-python`, and the Python that the project's Django needs. Both may stand above
    `folder`, where its requirements are; `file` is the name of these in the stack's config."""
    needs = _needs(folder, file)
    if needs is None:
        of_django = _of_django(folder)
        folders = _up_to_the_roof(folder)
    else:
        of_django = _of_lines(needs, folder)
        folders = [folder, needs.path.parent]
    for place in folders:
        declared = _declared(place, folder)
        if declared:
            return [*declared, *of_django]
    return of_django


def _up_to_the_roof(folder: Path) -> list[Path]:
    """The folder and those above it, up to the first that says what it needs, or to the top of the
    repository; of one in no repository itself alone."""
    names = ("pyproject.toml", *_FILES, "Pipfile")
    folders: list[Path] = []
    for place in [folder.resolve(), *folder.resolve().parents]:
        folders.append(place)
        if any((place / name).is_file() for name in names):
            return folders
        if (place / ".git").exists():
            break
    return [folder]


def _needs(folder: Path, file: str) -> Requirements | None:
    """What the kit would install from; None where that is unknown."""
    try:
        return requirements(local(folder), file)
    except ReleaseError:
        return None


def _declared(folder: Path, project: Path) -> list[Demand]:
    path = folder / "pyproject.toml"
    try:
        data = tomllib.loads(path.read_text())
        wanted = data.get("project", {}).get("requires-python") or _of_poetry(data)
        SpecifierSet(wanted or "")
    except (OSError, ValueError, TypeError, AttributeError):
        return []  # no file, no TOML, or no constraint
    if not wanted:
        return []
    return [Demand(f"{os.path.relpath(path, project)}: requires-python is", str(wanted))]


# Django's FAQ, "What Python version can I use with Django?": major versions that need more than
# each Debian here has.
_DJANGO = {6: ">=3.12"}
_LISTED = re.compile(
    r"^\s*django\s*(?:\[[^]]*\])?\s*(?:==|~=|>=)\s*(\d+)\.", re.IGNORECASE | re.MULTILINE
)
_LOCKED = re.compile(r"^name = \"django\"\nversion = \"(\d+)\.", re.IGNORECASE | re.MULTILINE)
_FILES = {
    "requirements.txt": _LISTED,
    "uv.lock": _LOCKED,
    "poetry.lock": _LOCKED,
    "pdm.lock": _LOCKED,
    "pylock.toml": _LOCKED,
}


def _of_lines(needs: Requirements, project: Path) -> list[Demand]:
    """By the lock, or the lines with all that they include."""
    pattern = _LOCKED if needs.is_lock else _LISTED
    match = pattern.search(needs.text)
    if match is None:
        return []
    return _of_version(match[1], os.path.relpath(needs.path, project))


def _of_version(major: str, name: str) -> list[Demand]:
    wanted = _DJANGO.get(int(major))
    if wanted is None:
        return []
    return [Demand(f"{name}: Django {major} needs Python", wanted)]


def _of_django(folder: Path) -> list[Demand]:
    """By a file that only another tool can install from."""
    for name, pattern in _FILES.items():
        try:
            match = pattern.search((folder / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if match:
            return _of_version(match[1], name)
    return []


def _of_poetry(data: dict[str, Any]) -> str | None:
    """What Poetry's own table says, as a specifier: `^3.11` is `>=3.11,<4`, `~3.11` is
    `>=3.11,<3.12`."""
    poetry = data.get("tool", {}).get("poetry", {})
    text = poetry.get("dependencies", {}).get("python")
    if not isinstance(text, str) or "|" in text:
        return None
    signs_joined = re.sub(r"([<>=!~^]) +", r"\1", text)
    parts = []
    for part in re.split(r"[,\s]+", signs_joined):
        if part and part != "*":
            parts.append(_specifier(part))
    return ",".join(parts) or None


def _specifier(part: str) -> str:
    """A constraint of Poetry's as a specifier."""
    sign = part[0]
    version = part[1:]
    numbers = version.split(".")
    if sign == "^":
        next_major = int(numbers[0]) + 1
        return f">={version},<{next_major}"
    if sign == "~" and not version.startswith("="):
        if len(numbers) == 1:
            return f"=={version}.*"
        next_minor = int(numbers[1]) + 1
        return f">={version},<{numbers[0]}.{next_minor}"
    if sign.isdigit():
        return f"=={part}"
    return part


def release_of(settings: Settings) -> debian.Release | None:
    """The Debian that the hosts have, or get; None for one that the kit knows nothing about."""
    if settings.cloud != "local":
        return debian.RELEASES[settings.image or debian.DEFAULT]
    from infra.local import image

    return debian.RELEASES.get(settings.image or image.host_release())
