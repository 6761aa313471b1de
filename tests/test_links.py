"""Where links of a release lead: by names alone, with the same result as the kernel's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from on_host.links import leading_out, resolve


@pytest.mark.parametrize(
    ("links", "outside"),
    [
        ({"b": "a/index.html"}, []),
        ({"a/b": "../c"}, []),
        ({"a": "."}, []),
        ({"a": "b", "b": "c"}, []),
        ({"a": "missing"}, []),
        ({"a": ".."}, ["a"]),
        ({"a": "/etc/passwd"}, ["a"]),
        ({"a/b": "../../x"}, ["a/b"]),
        ({"a": "x/../../tree/y"}, ["a"]),
        # Each link alone is harmless.
        ({"d": "sub/deep/deeper", "x": "d/../../../../etc/passwd"}, ["x"]),
        ({"sub/deep/up": "../..", "x": "sub/deep/up/../etc/passwd"}, ["x"]),
        ({"a": "b", "b": "c", "c": "../etc/passwd"}, ["a", "b", "c"]),
        ({"a": "b", "b": "a"}, ["a", "b"]),
        ({"a": "a"}, ["a"]),
        ({"a": "a/x"}, ["a"]),
        (
            {f"l{number}": f"l{number + 1}" for number in range(60)},
            [f"l{number}" for number in range(20)],
        ),
    ],
)
def test_links_that_lead_outside_are_found(links: dict[str, str], outside: list[str]) -> None:
    """Parents, absolute targets, chains and circles: every step on the way counts."""
    assert leading_out(links) == sorted(outside)


NAMES = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS = st.lists(st.sampled_from(["a", "b", "c", "d", "..", ".."]), min_size=1, max_size=6).map(
    "/".join
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(PATHS, TARGETS, max_size=6))
def test_a_link_inside_never_leaves_the_tree(links: dict[str, str]) -> None:
    """On a real disk, a link that is not found ends inside of the tree, or nowhere."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch, "above", "tree").resolve()
        made = make(tree, links)
        outside = leading_out(made)
        for path in made:
            end = Path(os.path.realpath(tree / path))
            if path not in outside and end.exists():
                assert end.is_relative_to(tree)
            if (tree / path).exists() and not end.is_relative_to(tree):
                assert path in outside
            if path not in outside:
                assert resolve(path, made) is not None


def make(tree: Path, links: dict[str, str]) -> dict[str, str]:
    """Make folders, so that targets exist, and those of the links that have a place."""
    made: dict[str, str] = {}
    taken: set[str] = set()
    for path, target in sorted(links.items()):
        parents = {"/".join(path.split("/")[:count]) for count in range(1, path.count("/") + 1)}
        if not parents & made.keys() and path not in taken:
            made[path] = target
            taken |= parents
    tree.mkdir(parents=True)
    for path in made:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
    for folder in ("a", "a/a", "b", "b/b/b", "c/d"):
        if not any(
            f"{folder}/".startswith(f"{path}/") or path.startswith(f"{folder}/") for path in made
        ):
            (tree / folder).mkdir(parents=True, exist_ok=True)
    for path, target in made.items():
        (tree / path).symlink_to(target)
    return made
