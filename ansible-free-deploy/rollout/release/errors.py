"""The error of everything that makes a release."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from infra.core.errors import KitError
from infra.core.home import cache


class ReleaseError(KitError):
    """A release can't be made of this; the text says what is missing, where, and the next step.

    `detail` is the output of a tool, shortened.
    """

    def __init__(
        self,
        what: str,
        detail: str = "",
        *,
        where: str = "",
        cure: str = "",
    ) -> None:
        super().__init__(what, where=where, cure=cure, detail=detail)


@contextmanager
def disk_errors_reported() -> Iterator[None]:
    """Raise an error of this machine's disk as a ReleaseError. Also a decorator."""
    try:
        yield
    except OSError as problem:
        place = problem.filename or cache()
        reason = problem.strerror or problem
        cure = "see its owner and mode, and $ORIGIN_KIT_CACHE"
        if problem.errno == errno.ENOSPC:
            cure = "make room there"
        raise ReleaseError(
            str(reason),
            where=str(place),
            cure=cure,
        ) from problem
