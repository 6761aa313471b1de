"""Where the project's log of failed requests goes, and its last lines.

A project's LOGGING may write to a file or send its log elsewhere. Then the journal says nothing
about a 500.

    python -c TEXT        in the project's folder, under the kit's settings

prints {"request_log": ...} as its last line, see `destinations`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

LOGGER = "django.request"  # Django logs a view that raised to this logger
_TAIL = 64 << 10  # bytes at the end of a file that are read
_LINES = 20
_LONGEST_LINE = 500


def destinations() -> dict[str, Any]:
    """Where the log of a failed request goes.

    `files`: path → its last lines; `journal`: whether it is written to an output that the journal
    keeps; `others`: classes of handlers that send it elsewhere.
    """
    import logging  # not for every script that carries this text

    importlib.import_module("django").setup()
    admins = importlib.import_module("django.conf").settings.ADMINS
    files: dict[str, str] = {}
    journal = False
    others = set()
    for handler in _handlers():
        kind = type(handler)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if isinstance(handler, logging.FileHandler):
            files[handler.baseFilename] = _end(handler.baseFilename)
        elif getattr(handler, "stream", None) in (sys.stdout, sys.stderr):
            journal = True
        elif isinstance(handler, logging.NullHandler):
            continue
        elif admins or not name.endswith(".AdminEmailHandler"):
            others.add(name)
    return {
        "files": files,
        "journal": journal,
        "others": sorted(others),
    }


def _handlers() -> list[logging.Handler]:
    """The handlers that get the error of a request."""
    import logging

    record = logging.LogRecord(LOGGER, logging.ERROR, "", 1, "", None, None)
    logger: logging.Logger | None = logging.getLogger(LOGGER)
    if logger is None or logger.disabled or not logger.isEnabledFor(logging.ERROR):
        return []
    if not logger.filter(record):
        return []
    handlers: list[logging.Handler] = []
    while logger:
        for handler in logger.handlers:
            if handler.level <= logging.ERROR and handler.filter(record):
                handlers.append(handler)
        logger = logger.parent if logger.propagate else None
    return handlers


def _end(path: str) -> str:
    """The file's last lines, without the frames of tracebacks; "" where it can't be read."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL))
            lines = file.read(_TAIL).decode(errors="replace").splitlines()
    except OSError:
        return ""
    relevant = []
    for line in lines:
        if line.strip() and not line.startswith(("  ", "Traceback")):
            relevant.append(line[:_LONGEST_LINE])
    return "\n".join(relevant[-_LINES:])


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "origin_kit_settings")
    print(json.dumps({"request_log": destinations()}))
