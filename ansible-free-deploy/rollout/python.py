"""Whether the project's Python is the hosts': asked before any machine is made. It reads the project's own files."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from infra import debian, exits
from infra.settings import Settings
from rollout import outputs
from rollout.outputs import ROOT


class PythonError(ValueError):
    """The project asks for another Python than its hosts will have; the text says where, and the cure."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Demand:
    """What asks for a Python, in words, and which ones: a version specifier."""

    who: str
    wanted: str


def refuse_other(settings: Settings) -> None:
    """Raises PythonError where the project asks for another Python than Debian's own on the hosts.

    A project in a git repository is looked at when it is shipped; so is one that says nothing, and one whose hosts are
    there already.
    """
    release = release_of(settings)
    if settings.backend_git or release is None or outputs.recorded(settings.stack):
        return
    for demand in demands(ROOT / settings.backend_path):
        if not meets(release, demand.wanted):
            raise PythonError(
                f"{settings.backend_path}/{demand.who} {demand.wanted!r}, and {release} has Python {release.version}; "
                + cure(demand.wanted, settings.stack)
            )


def cure(wanted: str, stack: str) -> str:
    """What to do about a Python that the hosts lack."""
    fits = fitting(wanted)
    if fits is None:
        return "no Debian that the kit supports has that one: change requires-python"
    return f"choose {fits}: `image: {fits.name}` in stacks/Pulumi.{stack}.yaml"


def meets(release: debian.Release, wanted: str) -> bool:
    """Whether this Debian's Python is one of those. Its patch release is not known here: the highest counts."""
    return any(SpecifierSet(wanted).contains(text) for text in (release.version, f"{release.version}.99"))


def fitting(wanted: str) -> debian.Release | None:
    """The newest Debian whose Python is one of those."""
    return next((one for one in debian.RELEASES.values() if meets(one, wanted)), None)


def requires(folder: Path) -> str | None:
    """All that the project asks of its Python, as one specifier; None where it asks for nothing that can be read."""
    return ",".join(demand.wanted for demand in demands(folder)) or None


def demands(folder: Path) -> list[Demand]:
    """`requires-python`, and the Python that the Django needs which the project holds on to."""
    return [*_declared(folder), *_of_django(folder)]


def _declared(folder: Path) -> list[Demand]:
    try:
        data = tomllib.loads((folder / "pyproject.toml").read_text())
        found = data.get("project", {}).get("requires-python") or _of_poetry(data)
        SpecifierSet(found or "")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, InvalidSpecifier, TypeError, AttributeError):
        return []
    return [Demand("pyproject.toml: requires-python is", str(found))] if found else []


# Django's FAQ, "What Python version can I use with Django?": major versions that need more than each Debian here has.
_DJANGO = {6: ">=3.12"}
_LISTED = re.compile(r"^\s*django\s*(?:\[[^]]*\])?\s*(?:==|~=|>=)\s*(\d+)\.", re.IGNORECASE | re.MULTILINE)
_LOCKED = re.compile(r"^name = \"django\"\nversion = \"(\d+)\.", re.IGNORECASE | re.MULTILINE)
_FILES = {"requirements.txt": _LISTED, "uv.lock": _LOCKED, "poetry.lock": _LOCKED, "pdm.lock": _LOCKED,
          "pylock.toml": _LOCKED}  # fmt: skip


def _of_django(folder: Path) -> list[Demand]:
    for name, pattern in _FILES.items():
        try:
            found = pattern.search((folder / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if found and (wanted := _DJANGO.get(int(found[1]))):
            return [Demand(f"{name}: Django {found[1]} needs Python", wanted)]
    return []


def _of_poetry(data: dict[str, Any]) -> str | None:
    """What Poetry's own table says, as a specifier: `^3.11` is `>=3.11,<4`, `~3.11` is `>=3.11,<3.12`."""
    text = data.get("tool", {}).get("poetry", {}).get("dependencies", {}).get("python")
    if not isinstance(text, str) or "|" in text:
        return None
    parts = []
    for part in filter(None, re.split(r"[,\s]+", re.sub(r"([<>=!~^]) +", r"\1", text))):
        sign, number = part[0], part[1:].split(".")
        if sign == "^":
            parts.append(f">={part[1:]},<{int(number[0]) + 1}")
        elif sign == "~" and part[1] != "=":
            parts.append(f">={part[1:]},<{number[0]}.{int(number[1]) + 1}" if len(number) > 1 else f"=={part[1:]}.*")
        else:
            parts.append(f"=={part}" if part[0].isdigit() else part)
    return ",".join(part for part in parts if part != "*") or None


def release_of(settings: Settings) -> debian.Release | None:
    """The Debian that the hosts have, or get; None for one that the kit knows nothing about."""
    if settings.cloud != "local":
        return debian.RELEASES[settings.image or debian.DEFAULT]
    from infra.local import image

    return debian.RELEASES.get(settings.image or image.host_release())
