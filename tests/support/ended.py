"""A process that has ended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_unnoticed() -> Iterator[int]:
    """The number of a process that has ended and that nobody has waited for, as those of a killed
    run are in a container whose first process waits for none."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        yield child
    finally:
        os.waitpid(child, 0)
