"""Where the project's log of failed requests goes, and how it ends there.

A project's LOGGING may write to a file or send its log elsewhere, so that the journal has no word
of a 500.

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

LOGGER = "django.request"  # to which Django tells a view that raised
_TAIL = 64 << 10
_LINES = 20


def destinations() -> dict[str, Any]:
    """`files`: path → how it ends; `journal`: whether it is written to what the journal keeps;
    `others`: classes of handlers that send it elsewhere."""
    import logging  # not for every script that carries this text

    importlib.import_module("django").setup()
    admins = importlib.import_module("django.conf").settings.ADMINS
    files, journal, others = {}, False, []
    for handler in _handlers():
        name = f"{type(handler).__module__}.{type(handler).__qualname__}"
        if isinstance(handler, logging.FileHandler):
            files[handler.baseFilename] = _end(handler.baseFilename)
        elif getattr(handler, "stream", None) in (sys.stdout, sys.stderr):
            journal = True
        elif not isinstance(handler, logging.NullHandler) and (
            admins or not name.endswith(".AdminEmailHandler")
        ):
            others.append(name)
    return {"files": files, "journal": journal, "others": sorted(set(others))}


def _handlers() -> list[logging.Handler]:
    """Those that an error of a request comes to."""
    import logging

    record = logging.LogRecord(LOGGER, logging.ERROR, "", 1, "", None, None)
    found: list[logging.Handler] = []
    logger: logging.Logger | None = logging.getLogger(LOGGER)
    if (
        logger is None
        or logger.disabled
        or not logger.isEnabledFor(logging.ERROR)
        or not logger.filter(record)
    ):
        return []
    while logger:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return [
        handler for handler in found if handler.level <= logging.ERROR and handler.filter(record)
    ]


def _end(path: str) -> str:
    """Its last lines, without the frames of tracebacks; "" where it can't be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read(_TAIL).decode(errors="replace").splitlines()
    except OSError:
        return ""
    telling = [line for line in lines if line.strip() and not line.startswith(("  ", "Traceback"))]
    return "\n".join(line[:500] for line in telling[-_LINES:])


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "origin_kit_settings")
    print(json.dumps({"request_log": destinations()}))
