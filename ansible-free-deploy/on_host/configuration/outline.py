"""Compare what is here with the outline of a generation: no text, and of the secrets nothing.

An outline is a generation without its files' texts, and without its secret files: {"id",
"fingerprints", "links", "absent", "units", "files": [{"path", "mode", "service", "sha256"}, ...]}.
What secrets add to ids and fingerprints is computed from those that this host holds: whether they
are today's, only `fab plan` can tell.
"""

from __future__ import annotations

import hashlib

from on_host import places, seal
from on_host.configuration import state
from on_host.orders import Json


def compare(outline: Json) -> tuple[list[str], dict[str, str]]:
    """As `state.compare`."""
    by, current = seal.key(), state.current_record()
    secrets = state.with_todays_text(current["files"])
    wanted = {
        **outline,
        "id": seal.sealed_id(outline["id"], secrets, by),
        "fingerprints": seal.sealed_fingerprints(outline["fingerprints"], secrets, by),
    }
    digests = {
        mark: outline["fingerprints"].get(name, mark)
        for name, mark in current["fingerprints"].items()
    }
    changed = [file for file in outline["files"] if not holds(file, digests)]
    changed += [file for file in secrets if content(file) is None]
    return state.compare(wanted, changed)


def content(file: Json) -> bytes | None:
    """What a file of the current generation holds; None where it is not there, or has another owner
    or mode."""
    found = state.file_state(places.CONFIGURATION / file["path"])
    return found[0] if found and found[1:] == (0, 0, file["mode"]) else None


def holds(file: Json, digests: dict[str, str]) -> bool:
    """Whether the current generation has this file. It may report a fingerprint, which has this
    host's mark here: `digests` are by mark."""
    data = content(file)
    if data is None:
        return False
    for mark, digest in digests.items():
        data = data.replace(mark.encode(), digest.encode())
    return hashlib.sha256(data).hexdigest() == str(file["sha256"])
