"""What a host keeps on its disk as JSON, as typed dictionaries.

Each type names the file, and the module that writes and reads it. As with `protocol.py`, a host
never loads this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, final

from on_host import answers, generations, protocol
from on_host.states import JournalState


class GenerationRecord(generations.GenerationHead):
    """generation.json in the folder of each generation, of `configuration/state.py`: all of it but
    the texts, which its files hold, and how to find out whether it works."""

    files: Sequence[generations.FileFacts]
    probes: protocol.Probes


class StoredGeneration(generations.Generation):
    """A generation that was read back, with the texts of its files."""

    probes: protocol.Probes


# ----------------------------------------------------------------------------------------- journals

# A field that is named `from` can't stand in a class.
_FromTo = TypedDict("_FromTo", {"from": "str | None", "to": str})  # ids


@final
class Journal(_FromTo):
    """journal.json, of `journal.py`: an open change, and what it goes back to."""

    kind: Literal["configuration", "release"]
    transaction: str
    participants: list[str]  # host names
    state: JournalState
    links: Mapping[str, str | None]  # place → target, in the order in which they are put back
    units: Mapping[str, Sequence[str]]  # by service
    release: str | None  # that is switched along with a configuration


OlderReleaseJournal = _FromTo


@final
class OlderJournal(_FromTo):
    """journal.json of a kit from before releases had the same journal."""

    places: Mapping[str, str | None]
    units: Mapping[str, Sequence[str]]


# ------------------------------------------------------------------------------------ applications


class Mark(TypedDict, total=False):
    """applications/<app>.json, of `claims.py`: the kit made what has this name."""

    application: str
    former: Mapping[str, str]  # name that a move has finished with → "renamed" or "removed"


class _Move(TypedDict):
    to: str
    moving: dict[str, str]  # name → "renamed" or "removed"
    fresh: bool  # the new name had no mark before
    links: dict[str, str]  # place → target
    active: list[str]  # units
    current: str | None  # target of the configuration's link, where it changes


class Move(_Move, total=False):
    """move.json, of `claims.py`: the journal of a move, everything that it changes as it was
    before."""

    shipped: bool  # its ship has committed


class ReplacementMark(TypedDict, total=False):
    """replacement.json, of `replacement.py`; empty where nothing is replaced."""

    id: str  # of the replacement
    state: str
    closing: str  # id
    name: str  # of the host
    who: str
    since: str


class RestoreMark(TypedDict, total=False):
    """restore.json, of `restoring.py`; empty where nothing is restored."""

    id: str  # of the restore
    state: str
    before: int  # the inode of the data folder that served
    who: str
    since: str


# ---------------------------------------------------------------------------------------- releases


class ReleaseRecord(TypedDict, total=False):
    """release.json in the folder of each release, of `release/stage.py` and `shipped.py`. Older
    kits recorded less."""

    id: str
    role: str
    label: str
    commit: str | None  # of the application
    revision: str
    lock: str | None
    who: str


# Each entry of a release's manifest.json, of `release/manifest.py`: kind, mode, owner and size; the
# same with times; the digest of a file or the target of a link.
ManifestEntry = TypedDict(
    "ManifestEntry",
    {
        "is": "list[int]",
        "stat": "list[int]",
        "holds": str,
    },
)

# made_from.json, of `release/made_from.py`: by release.
MadeFromRecords = Mapping[str, answers.MadeFrom]


# -------------------------------------------------------------------------------- logs and workers


class Asked(TypedDict):
    """A line of asked.jsonl, of `logfiles.py`: a request that the kit has made here."""

    at: float  # seconds since the epoch
    via: str  # "nginx" or "gunicorn"
    method: str
    target: str
    status: int | None  # None: no answer came


class WorkerRecord(TypedDict):
    """What a worker of the application reports to have loaded, of `untrusted.py`."""

    fingerprint: str
    release: str
