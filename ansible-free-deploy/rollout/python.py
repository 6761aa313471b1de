"""Whether the project's Python is the hosts': asked before any machine is made. It reads one file of the project."""

from __future__ import annotations

import re
import tomllib
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


def refuse_other(settings: Settings) -> None:
    """Raises PythonError where the project's `requires-python` is not met by Debian's own Python on the hosts.

    A project in a git repository is looked at when it is shipped; so is one that says nothing, and one whose hosts are
    there already.
    """
    wanted = None if settings.backend_git else requires(ROOT / settings.backend_path)
    release = release_of(settings)
    if wanted is None or release is None or meets(release, wanted) or outputs.recorded(settings.stack):
        return
    version = "{}.{}".format(*release.python)
    raise PythonError(
        f"{settings.backend_path}/pyproject.toml: requires-python is {wanted!r}, and {release} has Python {version}; "
        + cure(wanted, settings.stack)
    )


def cure(wanted: str, stack: str) -> str:
    """What to do about a Python that the hosts lack."""
    fits = fitting(wanted)
    if fits is None:
        return "no Debian that the kit supports has that one: change requires-python"
    return f"choose {fits}: `image: {fits.name}` in stacks/Pulumi.{stack}.yaml"


def meets(release: debian.Release, wanted: str) -> bool:
    """Whether this Debian's Python is one of those. Its patch release is not known here: the highest counts."""
    version = "{}.{}".format(*release.python)
    return any(SpecifierSet(wanted).contains(text) for text in (version, f"{version}.99"))


def fitting(wanted: str) -> debian.Release | None:
    """The newest Debian whose Python is one of those."""
    return next((one for one in debian.RELEASES.values() if meets(one, wanted)), None)


def requires(folder: Path) -> str | None:
    """The project's `requires-python`; None where it says nothing that can be read."""
    try:
        data = tomllib.loads((folder / "pyproject.toml").read_text())
        found = data.get("project", {}).get("requires-python") or _of_poetry(data)
        SpecifierSet(found or "")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, InvalidSpecifier, TypeError, AttributeError):
        return None
    return str(found) if found else None


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
