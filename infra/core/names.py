"""Names of cloud resources: the application's and the stack's name in each, in the form that the
cloud takes. Pure.

A name that has to be changed or shortened ends with a digest of the whole, so that two long ones
never become one. Two stacks whose names are the same collide at the cloud, which refuses the
second; nothing is adopted.
"""

from __future__ import annotations

import re
from hashlib import sha256

DIGEST = 6
LONGEST_LABEL = 63  # RFC 1035; every name in Compute Engine, and a label's value
LONGEST_ACCOUNT = 30


def dashed(*words: str, longest: int = LONGEST_LABEL) -> str:
    """The words with dashes between them, as Google takes them: lower-case letters, digits and
    dashes, a letter first.

    Unchanged where that is their form already and they fit in `longest`.
    """
    whole = "-".join(words)
    form = re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")
    if not form[:1].isalpha():
        form = f"x-{form}"
    if form == whole and len(whole) <= longest:
        return whole
    digest = sha256("\0".join(words).encode()).hexdigest()[:DIGEST]
    start = form[: longest - DIGEST - 1].rstrip("-")
    return f"{start}-{digest}"


def label(word: str) -> str:
    """A label's value at Google; most names of stacks are one as they stand."""
    if re.fullmatch(r"[a-z0-9_-]{1,63}", word):
        return word
    return dashed(word)
