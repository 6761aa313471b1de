"""What a ship and a deploy refuse: a name or a place that somebody else has on this host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Mapping  # noqa: UP035 - Python 3.9 on hosts

from on_host.claims import (
    conflicts,
    data_of,
    foreign_units,
    is_ours,
    leads_to_the_kit,
    others,
    unfinished_move,
    unfit_folders,
    unfit_user,
    user_of,
)
from on_host.runtime import Failed

if TYPE_CHECKING:
    from on_host.generations import GenerationHead


def refuse(app: str, moving: Mapping[str, str] | None = None) -> None:
    """Raise Failed where the name is somebody else's here, or another application of the kit's is.

    `moving`: name → what becomes of it, "renamed" or "removed". Silent where a ship has to take a
    move back first.
    """
    if unfinished_move(app):
        return
    found = conflicts(app)
    if found:
        raise Failed(
            f"the name {app} is taken here by what this kit did not make: {'; '.join(found)}."
            " Nothing was changed; choose another `application` in the stack's config, or see"
            " docs/operating.md"
        )
    refuse_others(app, moving)
    for name, fate in (moving or {}).items():
        refuse_move(app, name, fate)


def refuse_others(app: str, moving: Mapping[str, str] | None = None) -> None:
    """Raise Failed where another application of the kit's is here that nothing is said about."""
    left = [name for name in others(app) if name not in (moving or {})]
    if not left or unfinished_move(app):
        return
    first = left[0]
    raise Failed(
        f"this host has application {', '.join(left)} of this kit, and the stack's config says"
        f" {app}; nothing was changed. Choose: set `application: {first}` again; `fab ship"
        f" --rename-from {first}` keeps its data under the new name; `fab ship"
        f" --remove-application {first}` deletes it with its data"
    )


def refuse_move(app: str, name: str, fate: str) -> None:
    """Raise Failed where `name` can't be moved to `app`, or removed."""
    if name not in others(app):
        if is_ours(app):
            return  # an earlier run has done it
        here = ", ".join(others(app)) or "none"
        raise Failed(
            f"there is no application {name} of this kit here (there is: {here}); nothing was"
            " changed"
        )
    if fate == "renamed" and (user_of(app) or os.path.lexists(str(data_of(app)))):
        raise Failed(
            f"{app} has a user or data of its own here, so {name}'s can't become them; nothing was"
            f" changed. To keep {name}'s: set `application: {name}`, run `fab ship"
            f" --remove-application {app}`, then rename again"
        )
    mounts = mounted_below(data_of(name))
    if mounts:
        raise Failed(
            f"{mounts[0]} is a mount of its own; unmount it, then run this again; nothing was"
            " changed"
        )
    unfit = [*unfit_user(name), *unfit_folders(name)]
    if unfit:
        raise Failed(f"{name} is not as this kit made it: {'; '.join(unfit)}; nothing was changed")


def mounted_below(folder: Path) -> list[str]:
    """Mount points at or below a folder."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found = []
    for line in mounts:
        point = line.split()[1]
        if point == str(folder) or point.startswith(f"{folder}/"):
            found.append(point)
    return found


def refuse_foreign_places(generation: GenerationHead, app: str) -> None:
    """Raise Failed where the generation's links would replace what somebody else put there."""
    units = generation["units"].get("gunicorn", ())
    if units and f"{app}.service" not in units:
        raise Failed(
            f"generation {generation['id']} is of another application ({units[-1]}), and this is"
            f" {app}"
        )
    foreign = foreign_places(generation)
    if units:
        for place in foreign_units(app):
            if place not in foreign:
                foreign.append(place)
    if foreign:
        raise Failed(
            f"{', '.join(foreign)}: not this kit's, and a deploy would replace it; nothing was"
            " changed. Move it away (or choose another `application`), then run this again"
        )


def foreign_places(generation: GenerationHead) -> list[str]:
    """The places of the generation that hold what the kit did not put there."""
    foreign = []
    for link in generation["links"]:
        place = str(link["place"])
        if os.path.lexists(place) and not leads_to_the_kit(Path(place)):
            foreign.append(place)
    for place in generation["absent"]:
        if Path(place).is_file() and not Path(place).is_symlink():
            foreign.append(place)
    return foreign


def check(generation: GenerationHead, app: str) -> None:
    """What a deploy checks before it writes anything. Raises Failed."""
    way = unfinished_move(app)
    if way is not None:
        names = ", ".join(way["moving"])
        raise Failed(
            f"the move from {names} to {way['to']} is unfinished here; run `fab ship`: it puts"
            f" {names} back first"
        )
    refuse(app)
    refuse_foreign_places(generation, app)
