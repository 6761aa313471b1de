"""The order in which generations and releases became current here."""

from __future__ import annotations

from pathlib import Path

from on_host.files import sync, write_durably


def activation_number(folder: Path) -> int:
    """When this generation or release last became current, as a number that only grows (no clock
    can turn it back); 0 for one that never did, or did before these numbers were kept."""
    try:
        return int((folder / "turn").read_text())
    except (OSError, ValueError):
        return 0


def note_activation(folder: Path, name: str) -> None:
    """Give `folder/name` the highest activation number of all in `folder`."""
    highest = max((activation_number(path) for path in folder.iterdir()), default=0)
    write_durably(folder / name / "turn", str(highest + 1).encode())
    sync(folder / name)
