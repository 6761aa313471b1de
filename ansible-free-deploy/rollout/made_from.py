"""What each release on a host was made from: the keys of the stack's config, as they were when it was last shipped.

Standard library only (Python >= 3.9), like every text that runs on a host. Kept beside the releases, not in them: the
same release may be made from other keys (a tag of the same commit), and what is shipped is never changed.
"""

from __future__ import annotations

import json
from pathlib import Path

from rollout.onhost import Json, write_durably

NAME = "made_from.json"


def note(home: Path, release: str, keys: Json) -> None:
    """Write down what a release was made from; of releases that are gone nothing is kept."""
    kept = {name: told for name, told in _all(home).items() if (home / "releases" / name).is_dir()}
    write_durably(home / NAME, json.dumps({**kept, release: keys}, indent=1).encode() + b"\n")


def of(home: Path, release: str | None) -> Json | None:
    """What a release was made from; None for one from before this was written down."""
    found = _all(home).get(release or "")
    return found if isinstance(found, dict) else None


def _all(home: Path) -> Json:
    try:
        found = json.loads((home / NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
