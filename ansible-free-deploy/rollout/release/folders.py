"""Walk a folder without the by-products of tools."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

BY_PRODUCTS = {
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".venv",
    "node_modules",
    ".DS_Store",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".idea",
    ".vscode",
}


def is_below_by_product(name: str) -> bool:
    """Whether a path (POSIX, relative) is a by-product or inside of one, by its names."""
    return not BY_PRODUCTS.isdisjoint(name.split("/"))


def walk(folder: Path) -> Iterator[str]:
    """The files and links below a folder, as POSIX paths relative to it; links are not followed."""
    for here, folders, names in os.walk(folder):
        links = [name for name in folders if Path(here, name).is_symlink()]
        folders[:] = [name for name in folders if _is_to_walk(Path(here, name))]
        for name in [*names, *links]:
            if name not in BY_PRODUCTS:
                yield Path(here, name).relative_to(folder).as_posix()


def _is_to_walk(folder: Path) -> bool:
    is_by_product = folder.name in BY_PRODUCTS or (folder / "pyvenv.cfg").exists()
    return not is_by_product and not folder.is_symlink()
