"""The config that each release on a host was made from.

For each release: the keys of the stack's config, as they were when it was last shipped. Kept next
to the releases, not in them: the same release may be made from other keys (a tag of the same
commit), and a release is never changed after its ship.
"""

from __future__ import annotations

import json

from on_host import places
from on_host.files import write_durably
from on_host.orders import Json

NAME = "made_from.json"


def note(release: str, keys: Json) -> None:
    """Record what a release was made from; drop the records of removed releases."""
    records = {}
    for name, recorded in _all().items():
        if (places.releases() / name).is_dir():
            records[name] = recorded
    records[release] = keys
    text = json.dumps(records, indent=1) + "\n"
    write_durably(places.home() / NAME, text.encode())


def of(release: str | None) -> Json | None:
    """What a release was made from; None for one that was shipped before this was recorded."""
    keys = _all().get(release or "")
    return _object(keys)


def _all() -> Json:
    try:
        records = json.loads((places.home() / NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return _object(records) or {}


def _object(value: object) -> Json | None:
    return value if isinstance(value, dict) else None
