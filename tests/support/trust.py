"""A user whose Chromium trusts roots of a test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

# Third-party cookies are blocked in private windows alone, which is the default that Chromium is
# built with: components/content_settings/core/browser/cookie_settings.h
PREFERENCES = '{"profile": {"cookie_controls_mode": 2}}'


def trust(home: Path, *roots: Path, folder: str = ".pki/nssdb") -> None:
    """Put the roots (PEM files) into the database that Chromium reads for who has this home."""
    database = home / folder
    database.mkdir(parents=True)
    into = ["-d", f"sql:{database}"]
    subprocess.run(["certutil", "-N", "--empty-password", *into], check=True)
    for number, root in enumerate(roots):
        words = ["-A", "-a", "-n", f"root {number}", "-t", "C,,", "-i", str(root), *into]
        subprocess.run(["certutil", *words], check=True)
