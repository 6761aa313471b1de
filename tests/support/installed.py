"""Programs of this machine that tests run."""

from __future__ import annotations

import os
import shutil

# Of a user's own PATH these are often left out; the last one is where Go's instructions put it.
_ALSO = ("/usr/sbin", "/sbin", "/usr/local/go/bin")


def installed(program: str) -> str | None:
    """The path of a program, or None where it is not installed."""
    return shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *_ALSO]))
