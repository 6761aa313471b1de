"""Where a symbolic link of a release leads, computed from names alone, as the kernel follows it.

The operator's side checks before it packs, the host before it makes a link. Checking each target
for itself is not enough: `a -> b/c` and `x -> a/../..` each look harmless, and lead outside
together.
"""

from __future__ import annotations

from typing import Mapping  # noqa: UP035 - Python 3.9 on hosts

_LONGEST_CHAIN = 40  # links that Linux follows for one path


def leading_out(links: Mapping[str, str]) -> list[str]:
    """Those of `links` that leave the tree or go in a circle.

    `links` maps path → target, both relative to the tree.
    """
    return [path for path in sorted(links) if resolve(path, links) is None]


def resolve(path: str, links: Mapping[str, str]) -> list[str] | None:
    """The parts of the place where `path` ends when every link is followed.

    None where it leaves the tree, even on the way to a place inside, or follows too many links.
    """
    left = path.split("/")
    left.reverse()
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
            if target is None:
                continue
            followed += 1
            if followed > _LONGEST_CHAIN or target.startswith("/"):
                return None
            here.pop()
            left += reversed(target.split("/"))
    return here
