"""Connections that stay open between two sessions with a host.

A connection costs several round trips and both sides' processors; a verb has a channel of its own
on it anyway. A connection is in use by one session at a time, and one that has failed is not used
again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable, Iterator
from typing import Generic, Protocol, TypeVar


class Connection(Protocol):
    """What this has to know of a connection."""

    @property
    def is_connected(self) -> bool:
        """Whether it is there."""

    def close(self) -> None:
        """End it."""


C = TypeVar("C", bound=Connection)


class KeptOpen(Generic[C]):
    """The connections that nobody uses now, by host and identity; none outside of a `block`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Hashable, C] | None = None

    @contextlib.contextmanager
    def block(self) -> Iterator[None]:
        """Keep connections until the block ends; one inside of another changes nothing."""
        with self._lock:
            is_outer = self._idle is None
            if is_outer:
                self._idle = {}
        try:
            yield
        finally:
            if is_outer:
                self._close()

    def _close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle or {}, None
        for connection in idle.values():
            connection.close()

    def take(self, key: Hashable) -> C | None:
        """An idle connection, which is the caller's from now on; None where there is none."""
        with self._lock:
            connection = self._idle.pop(key, None) if self._idle else None
        if connection is None or connection.is_connected:
            return connection
        connection.close()
        return None

    def keep(self, key: Hashable, connection: C) -> bool:
        """Take a connection back; False where it is the caller's to close."""
        with self._lock:
            if self._idle is None or key in self._idle:
                return False
            self._idle[key] = connection
            return True
