"""What each release on a host was made from: the keys of the stack's config, as they were when it
was last shipped.

Kept beside the releases, not in them: the same release may be made from other keys (a tag of the
same commit), and what is shipped is never changed.
"""

from __future__ import annotations

import json

from on_host import places
from on_host.files import write_durably
from on_host.orders import Json

NAME = "made_from.json"


def note(release: str, keys: Json) -> None:
    """Write down what a release was made from; of releases that are gone nothing is kept."""
    kept = {name: told for name, told in _all().items() if (places.releases() / name).is_dir()}
    write_durably(
        places.home() / NAME, json.dumps({**kept, release: keys}, indent=1).encode() + b"\n"
    )


def of(release: str | None) -> Json | None:
    """What a release was made from; None for one from before this was written down."""
    found = _all().get(release or "")
    return found if isinstance(found, dict) else None


def _all() -> Json:
    try:
        found = json.loads((places.home() / NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
