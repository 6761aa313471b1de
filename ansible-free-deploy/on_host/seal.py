"""The id and the fingerprints of a generation that holds secrets: readable by everybody, and
revealing nothing.

The operator's digests cover the readable files alone. What the secret files add is computed here,
under a key that only root of this host can read: a plain digest of a short secret is found by
trying all values. The same secrets give the same marks, whoever deploys.

    id            <digest of the readable files>-<mark of the secret ones>
    fingerprint   the same, over the files of one service
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Sequence  # noqa: UP035 - Python 3.9 on hosts

from on_host import places
from on_host.files import write_durably

if TYPE_CHECKING:
    from on_host.generations import FileFacts, Generation, GenerationFile
    from on_host.on_disk import GenerationRecord

KEY = places.KIT / "key"
_KEY_BYTES = 32
_found: list[bytes] = []  # one key a process: what it makes up is compared with itself


def key(*, make: bool = False) -> bytes:
    """This host's key. Where there is none, a new one: written down with `make`, otherwise equal to
    no other."""
    if not _found:
        _found.append(_read() or os.urandom(_KEY_BYTES))
    if make and _read() != _found[0]:
        write_durably(KEY, _found[0], 0o600)
    return _found[0]


def _read() -> bytes | None:
    """The key; None where there is none, or one that others could have read."""
    try:
        about = KEY.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            return None
        data = KEY.read_bytes()
    except OSError:
        return None
    return data if len(data) == _KEY_BYTES else None


def is_secret(file: FileFacts) -> bool:
    """Whether only root, or root and nginx's workers, may read this file of a generation."""
    return is_private(file["mode"])


def is_private(mode: int) -> bool:
    """Whether a file with this mode is for root alone, or for root and the group of nginx's
    workers (`files.group_of`)."""
    return not mode & 0o007


def sealed(generation: Generation, by: bytes) -> Generation:
    """A generation as the operator rendered it, with what its secret files add to id and
    fingerprints."""
    secrets = [file for file in generation["files"] if is_secret(file)]
    if not secrets:
        return generation
    marks = sealed_fingerprints(generation["fingerprints"], secrets, by)
    return {
        **generation,
        "id": sealed_id(generation["id"], secrets, by),
        "fingerprints": marks,
        "files": [
            _stamped(file, generation["fingerprints"], marks) for file in generation["files"]
        ],
    }


def sealed_fingerprints(
    digests: dict[str, str], secrets: Sequence[GenerationFile], by: bytes
) -> dict[str, str]:
    """The fingerprints of services that read these secret files next to others with these
    digests."""
    marks = {}
    for service, digest in digests.items():
        own = [file for file in secrets if file["service"] == service]
        marks[service] = f"{digest}-{_mark(by, own)}" if own else digest
    return marks


def sealed_id(digest: str, secrets: Sequence[GenerationFile], by: bytes) -> str:
    """The id of the generation with this digest of its readable files, and with these secret
    ones."""
    return f"{digest}-{_mark(by, secrets)[:8]}" if secrets else digest


def unsealed(generation: Generation, by: bytes) -> Generation:
    """A generation that was sealed, as the operator rendered it; its secret files may be others by
    now."""
    if not any(map(is_secret, generation["files"])):
        return generation
    digests = {}
    readers = {file["service"] for file in generation["files"] if is_secret(file)}
    for service, mark in generation["fingerprints"].items():
        digests[service] = _digest_of(mark, by) if service in readers else mark
    return {
        **generation,
        "id": unsealed_id(generation, by),
        "fingerprints": digests,
        "files": [
            _stamped(file, generation["fingerprints"], digests) for file in generation["files"]
        ],
    }


def unsealed_id(generation: Generation | GenerationRecord, by: bytes) -> str:
    """The digest of the readable files in a generation's id."""
    name = generation["id"]
    return _digest_of(name, by) if any(map(is_secret, generation["files"])) else name


def _digest_of(mark: str, by: bytes) -> str:
    """Before there were keys, a plain digest of everything, secrets included, stood here: it must
    not go on."""
    digest, _, keyed = mark.partition("-")
    return digest if keyed else _hmac(by, mark)[: len(mark)]


def _stamped(file: GenerationFile, before: dict[str, str], after: dict[str, str]) -> GenerationFile:
    """A readable file with new fingerprints for old; no text can hold its own digest by chance."""
    text = file["text"]
    if is_secret(file):
        return file
    for service, mark in before.items():
        text = text.replace(mark, after[service])
    return {**file, "text": text}


def _mark(by: bytes, files: Sequence[GenerationFile]) -> str:
    parts = [[file["path"], file["service"], file["text"]] for file in files]
    return _hmac(by, json.dumps(parts))[:32]


def _hmac(by: bytes, text: str) -> str:
    import hmac  # 3 ms that a frontend never needs

    return hmac.digest(by, text.encode(), "sha256").hex()
