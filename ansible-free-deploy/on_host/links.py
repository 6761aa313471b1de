"""Where a symbolic link of a release leads, by names alone: what the kernel would do, without
asking any disk.

The operator's side asks before it packs, the host before it makes a link. A check of one link's own
words is not enough: `a -> b/c` and `x -> a/../..` are each harmless to read and lead outside
together.
"""

from __future__ import annotations

from typing import Mapping  # noqa: UP035 - Python 3.9 on hosts

_LONGEST_CHAIN = 40  # links that Linux follows for one path


def leading_out(links: Mapping[str, str]) -> list[str]:
    """Those of `links` (path → target, both relative to the tree) that leave the tree or go in a
    circle."""
    return [path for path in sorted(links) if resolve(path, links) is None]


def resolve(path: str, links: Mapping[str, str]) -> list[str] | None:
    """The parts of the place where `path` ends, every link followed; None where it leaves the tree,
    also on the way to a place inside, or follows too many."""
    left = path.split("/")[::-1]
    here: list[str] = []
    followed = 0
    while left:
        part = left.pop()
        if part == "..":
            if not here:
                return None
            here.pop()
        elif part not in ("", "."):
            here.append(part)
            target = links.get("/".join(here))
            if target is not None:
                followed += 1
                if followed > _LONGEST_CHAIN or target.startswith("/"):
                    return None
                here.pop()
                left += target.split("/")[::-1]
    return here
