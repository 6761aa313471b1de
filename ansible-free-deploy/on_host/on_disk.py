"""What a host keeps on its disk as JSON, as typed dictionaries.

Each type names the file, and the module that writes and reads it. As with `protocol.py`, a host
never loads this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, final

from on_host import protocol
from on_host.states import JournalState


class GenerationRecord(protocol.GenerationHead):
    """generation.json in the folder of each generation, of `configuration/state.py`: all of it but
    the texts, which its files hold, and how to find out whether it works."""

    files: Sequence[protocol.FileFacts]
    probes: protocol.Probes


class StoredGeneration(protocol.Generation):
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
