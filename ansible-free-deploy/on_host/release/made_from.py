"""The config that each release on a host was made from.

For each release: the keys of the stack's config, as they were when it was last shipped. Kept next
to the releases, not in them: the same release may be made from other keys (a tag of the same
commit), and a release is never changed after its ship.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from on_host import places
from on_host.files import write_durably

if TYPE_CHECKING:
    from on_host.answers import MadeFrom
    from on_host.on_disk import MadeFromRecords

NAME = "made_from.json"


def note(release: str, keys: MadeFrom) -> None:
    """Record what a release was made from; drop the records of removed releases."""
    records = {}
    for name, recorded in _all().items():
        if (places.releases() / name).is_dir():
            records[name] = recorded
    records[release] = keys
    text = json.dumps(records, indent=1) + "\n"
    write_durably(places.home() / NAME, text.encode())


def of(release: str | None) -> MadeFrom | None:
    """What a release was made from; None for one that was shipped before this was recorded."""
    keys = _all().get(release or "")
    return keys if isinstance(keys, dict) else None


def _all() -> MadeFromRecords:
    try:
        records = json.loads((places.home() / NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}
