"""Where this host keeps certificates, and which version of one is current.

    /etc/origin-kit/tls/LINEAGE/versions/3/chain.pem    the chain, leaf first; 0644
    /etc/origin-kit/tls/LINEAGE/versions/3/key.pem      its key; 0600
    /etc/origin-kit/tls/LINEAGE/current                 → versions/3

A lineage is one list of names, from one source. Generations name it, and nginx reads chain and key
through `current`: renaming that link is the switch. Only root can enter any of these folders.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Iterable, Optional, Tuple  # noqa: UP035 - Python 3.9 evaluates the alias

from on_host import places
from on_host.disk import note_full
from on_host.files import link_of, point, private_folder, sync, write_durably

Pair = Optional[Tuple[str, str]]  # noqa: UP006, UP045 - chain and key, PEM

CHAIN = "chain.pem"
KEY = "key.pem"
_MODES = {CHAIN: 0o644, KEY: 0o600}
_LINEAGE = re.compile(r"[a-z][a-z-]*-[0-9a-f]{16}")
_NAMED = re.compile(rb"/tls/([a-z][a-z-]*-[0-9a-f]{16})/current/")


def root() -> Path:
    return places.KIT / "tls"


def home(lineage: str) -> Path:
    """The folder of a lineage. Raises ValueError for what is none."""
    if not _LINEAGE.fullmatch(lineage):
        raise ValueError(f"not the name of a lineage: {lineage!r}")
    return root() / lineage


def link(lineage: str) -> Path:
    """The link to the current version."""
    return home(lineage) / "current"


# ------------------------------------------------------------------------------------- what is here


def pair(lineage: str) -> Pair:
    """Chain and key of the current version, or None."""
    try:
        return (link(lineage) / CHAIN).read_text(), (link(lineage) / KEY).read_text()
    except (OSError, UnicodeDecodeError):
        return None


def digest(lineage: str) -> str:
    """The SHA-256 of the current version's chain; "" where no pair is here, or where the files are
    not as they were written."""
    here = pair(lineage)
    if here is None:
        return ""
    for name, mode in _MODES.items():
        status = (link(lineage) / name).lstat()
        if (status.st_uid, status.st_mode & 0o7777) != (root().stat().st_uid, mode):
            return ""
    return digest_of(here[0])


def digest_of(chain: str) -> str:
    """What says that two chains are the same; it reveals nothing."""
    return hashlib.sha256(chain.encode()).hexdigest()


def named_in(generation: Path) -> set[str]:
    """The lineages that the files of a generation name."""
    found: set[str] = set()
    for path in generation.rglob("*"):
        if path.is_file():
            found.update(name.decode() for name in _NAMED.findall(path.read_bytes()))
    return found


def in_use() -> str:
    """The lineage that the current generation names; "" where it has no https."""
    return min(named_in(places.CONFIGURATION.resolve()), default="")


# -------------------------------------------------------------------------------------- changing it


def put(lineage: str, chain: str, key: str) -> str:
    """Write a pair next to the others, durably; the target that `current` takes for it.

    The first pair of a lineage is current at once: nothing reads it before.
    """
    for folder in (root(), home(lineage), home(lineage) / "versions"):
        private_folder(folder)
    final = _next(home(lineage) / "versions")
    partial = final.with_name(f"{final.name}.partial")
    try:
        private_folder(partial)
        # Before the certificate: a chain without its key would look like a pair.
        write_durably(partial / KEY, key.encode(), _MODES[KEY])
        write_durably(partial / CHAIN, chain.encode(), _MODES[CHAIN])
        sync(partial)
        partial.rename(final)
        sync(final.parent)
        target = f"versions/{final.name}"
        if not link(lineage).exists():
            point(link(lineage), target)
    except OSError:
        note_full()
        shutil.rmtree(str(partial), ignore_errors=True)
        raise
    return target


def _next(versions: Path) -> Path:
    """The folder for another version; what was left of a killed run is removed."""
    for path in versions.glob("*.partial"):
        shutil.rmtree(str(path))
    numbers = [int(path.name) for path in versions.iterdir() if path.name.isdigit()]
    return versions / str(max(numbers, default=0) + 1)


def make_current(lineage: str, target: str) -> None:
    """Switch, by one rename."""
    point(link(lineage), target)


def discard_others(lineage: str) -> None:
    """Remove all but the current version: the keys of old ones are of no use but to a thief."""
    current = link_of(link(lineage)) or ""
    for path in (home(lineage) / "versions").glob("*"):
        if path.name != Path(current).name:
            shutil.rmtree(str(path))


def prune(kept: Iterable[str]) -> None:
    """Remove the lineages that none of the generations here names any more."""
    wanted = set(kept)
    for path in root().glob("*"):
        if _LINEAGE.fullmatch(path.name) and path.name not in wanted:
            link(path.name).unlink(missing_ok=True)
            shutil.rmtree(str(path))
