"""Compare what is here with the outline of a generation: no text, and of the secrets nothing.

An outline is a generation without its files' texts, and without its secret files: {"id", "fingerprints", "links",
"absent", "units", "files": [{"path", "mode", "service", "sha256"}, ...]}. What secrets add to ids and fingerprints is
computed from those that this host holds: whether they are today's, only `fab plan` can tell.
"""

from __future__ import annotations

import hashlib

from on_host import places, seal
from on_host.configuration.state import (
    BY_HAND,
    current_id,
    file_state,
    left_secrets,
    misplaced,
    record_of,
    stale,
)
from on_host.orders import Json


def compare(outline: Json) -> tuple[list[str], dict[str, str]]:
    """What differs on disk, and service → why it has to restart."""
    by, secrets = seal.key(), current_secrets()
    wanted = {
        **outline,
        "id": seal.sealed_id(outline["id"], secrets, by),
        "fingerprints": seal.sealed_fingerprints(outline["fingerprints"], secrets, by),
    }
    edited = [file for file in outline["files"] if not holds(file, outline["fingerprints"], by)]
    edited += [file for file in secrets if state_of(file) != (0, 0, file["mode"])]
    wrong = [file["path"] for file in edited] + misplaced(wanted)
    if current_id() != wanted["id"]:
        return ["current", *wrong], stale(wanted)
    by_hand = dict.fromkeys(sorted(file["service"] for file in edited if file["service"]), BY_HAND)
    return wrong + left_secrets(wanted), {**by_hand, **stale(wanted)}


def state_of(file: Json) -> tuple[int, int, int]:
    """Owner, group and mode of a file of the current generation; no such owner where it is not there."""
    found = file_state(places.CONFIGURATION / file["path"])
    return found[1:] if found else (-1, -1, 0)


def current_secrets() -> list[Json]:
    """The secret files of the generation that is current, with their texts."""
    record = record_of(current_id()) or {"files": []}
    found = []
    for file in record["files"]:
        path = places.CONFIGURATION / file["path"]
        if seal.is_secret(file) and path.exists():
            found.append({**file, "text": path.read_bytes().decode(errors="replace")})
    return found


def holds(file: Json, digests: dict[str, str], by: bytes) -> bool:
    """Whether the current generation has this file. It may report a fingerprint, which has this host's mark here."""
    if state_of(file) != (0, 0, file["mode"]):
        return False
    data = (places.CONFIGURATION / file["path"]).read_bytes()
    record = record_of(current_id()) or {"fingerprints": {}}
    for service, mark in record["fingerprints"].items():
        data = data.replace(mark.encode(), digests.get(service, mark).encode())
    return hashlib.sha256(data).hexdigest() == str(file["sha256"])
