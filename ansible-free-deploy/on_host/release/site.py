"""A release of a page: what browsers keep of it, and the releases before it from which open tabs
still load."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator  # noqa: UP035 - Python 3.9 evaluates the alias

from on_host import page_files, places
from on_host.files import link_of, point
from on_host.release.state import last_served
from on_host.runtime import note


def warn_of_kept_names(release: Path) -> None:
    """Report the files whose new content browsers will not notice."""
    for path in changed_under_its_name(release / "site", places.current_release() / "site"):
        text = f"warning: browsers keep {path} for a year by its name, and its content has changed"
        note("note", f"{text}; give it another name")


def files_of(site: Path) -> Iterator[tuple[str, Path]]:
    """Path inside of the site and place of every file, no links."""
    for place in sorted(site.rglob("*")):
        if place.is_file() and not place.is_symlink():
            yield str(place.relative_to(site)), place


def changed_under_its_name(site: Path, before: Path) -> list[str]:
    """Files that browsers keep by their name, with other content than in the site before."""
    changed = []
    for path, place in files_of(site):
        old = before / path
        if not page_files.is_hashed(f"/{path}") or not old.is_file():
            continue
        if old.read_bytes() != place.read_bytes():
            changed.append(path)
    return changed


def keep_earlier() -> None:
    """Lead nginx to the releases that served last, the current one first: it is the one before as
    soon as another is current.

    Done before each switch. Whatever interrupts it, the current release is whole without them.
    """
    if places.is_backend():
        return
    for number, name in enumerate(last_served()[: page_files.EARLIER], start=1):
        place, target = places.earlier() / str(number), f"../releases/{name}"
        if link_of(place) != target:
            point(place, target)
