"""Compare what this host holds with the outline of a generation.

An outline is a generation without its files' texts and without its secret files: {"id",
"fingerprints", "links", "absent", "units", "files": [{"path", "mode", "service", "sha256"}, ...]}.
What secrets add to ids and fingerprints is computed from the secrets that this host holds. Whether
those are today's secrets, only `fab plan` can say.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from on_host import places, seal
from on_host.configuration import state
from on_host.files import group_of

if TYPE_CHECKING:
    from on_host.generations import FileFacts, Outline, OutlineFile


def compare(outline: Outline) -> tuple[list[str], dict[str, str]]:
    """Compare as `state.compare` does, from an outline alone."""
    key = seal.key()
    current = state.current_record()
    secrets = state.with_todays_text(current["files"])
    fingerprints = outline["fingerprints"]
    wanted: Outline = {
        **outline,
        "id": seal.sealed_id(outline["id"], secrets, key),
        "fingerprints": seal.sealed_fingerprints(fingerprints, secrets, key),
    }

    digests = {}
    for service, mark in current["fingerprints"].items():
        digests[mark] = fingerprints.get(service, mark)
    changed: list[FileFacts] = [file for file in outline["files"] if not holds(file, digests)]
    changed += [file for file in secrets if content(file) is None]
    return state.differences(wanted, changed)


def content(file: FileFacts) -> bytes | None:
    """The bytes of a file of the current generation.

    None where the file is missing, or has another owner or mode.
    """
    on_disk = state.file_state(places.CONFIGURATION / file["path"])
    if on_disk is None:
        return None
    data, owner, group, mode = on_disk
    if (owner, group, mode) != (0, group_of(mode), file["mode"]):
        return None
    return data


def holds(file: OutlineFile, digests: dict[str, str]) -> bool:
    """Whether the current generation has this file.

    A file may contain a fingerprint. On this host it is the host's mark instead: `digests` maps
    each mark to the fingerprint that the outline has.
    """
    data = content(file)
    if data is None:
        return False
    for mark, digest in digests.items():
        data = data.replace(mark.encode(), digest.encode())
    return hashlib.sha256(data).hexdigest() == file["sha256"]
