"""Keys of age's, for the tests of backups."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def new_key(place: Path) -> str:
    """A private key in a file; its public key."""
    done = subprocess.run(
        ["age-keygen", "-o", str(place)], capture_output=True, text=True, check=True
    )
    found = re.search(r"age1\w+", done.stderr)
    assert found
    return found[0]
