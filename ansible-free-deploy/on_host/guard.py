"""The boot guard: a boot that finds a journal handles it before anything else starts."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from on_host import handover, places
from on_host.files import link_of, point, sync, write_durably
from on_host.orders import ORDERS

# This package as it was sent, so that it needs nothing of memory.
RECOVER = places.KIT / "recover.pyz"
RECOVER_OF_BEFORE = places.KIT / "recover.py"  # of an older kit
UNITS = places.ROOT / "etc/systemd/system"
RECOVER_UNIT = """\
# Written by origin-kit: after a power cut in the middle of a change
# the host boots on what it served before.
[Unit]
Description=origin-kit: undo an unfinished change
DefaultDependencies=no
After=local-fs.target systemd-remount-fs.service
Before=sysinit.target
ConditionPathExists={journal}

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -I {recover} boot {app}

[Install]
WantedBy=sysinit.target
"""


def guard_the_boot() -> None:
    """Make sure that a boot that finds a journal handles it first, by a copy of this package on the
    disk."""
    unit = UNITS / "origin-kit-recover.service"
    text = RECOVER_UNIT.format(
        journal=places.JOURNAL,
        recover=RECOVER,
        app=ORDERS["app"],
    )
    for path, data in ((RECOVER, program()), (unit, text.encode())):
        if not _is_roots(path, data):
            write_durably(path, data)
            sync(path.parent)
    wanted = UNITS / "sysinit.target.wants" / unit.name
    if link_of(wanted) != str(unit):
        point(wanted, str(unit))
    with contextlib.suppress(FileNotFoundError):
        RECOVER_OF_BEFORE.unlink()


def program() -> bytes:
    """This package as one file, as the operator has sent it."""
    return (handover.PROGRAM / "program.pyz").read_bytes()


def _is_roots(path: Path, data: bytes) -> bool:
    try:
        found = path.lstat()
        if (found.st_uid, found.st_mode & 0o7777) != (os.geteuid(), 0o644):
            return False
        return path.read_bytes() == data
    except OSError:
        return False
