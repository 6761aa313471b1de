"""Text for a terminal. Standard library only."""

from __future__ import annotations

import re

# What a terminal acts on, or what lets a line look like another: C0 without line feed and tab, DEL,
# C1, marks and overrides of the writing direction, line separators; and half characters, which
# can't be printed at all.
_ACTED_ON = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def harmless(text: str) -> str:
    """`text` with every character that a terminal acts on made visible, as Python writes it
    (`\\x1b`)."""
    return _ACTED_ON.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))
