"""All hosts or none: where each waits for the others, and what all do then. No I/O, only threads that meet."""

from __future__ import annotations

import threading


class Together:
    """`count` hosts, `batch` of them switched at a time.

    A host that has come to `staged` has its generation written and checked, one that has come to `switched` serves it
    and has been probed. Nobody goes on from the first before all are there, nor from the second before all are through;
    once one has failed, who is before its switch leaves things alone, and who is behind it goes back.
    """

    def __init__(self, count: int, batch: int = 1) -> None:
        self._count, self._batch = count, batch
        self._staged = self._switching = self._switched = self._left = 0
        self._failed = False
        self._moved = threading.Condition()

    def answer(self, gate: str) -> str:
        """The word for a host at `gate`: blocks until it is known."""
        return self._at_staged() if gate == "staged" else self._at_switched()

    def _at_staged(self) -> str:
        with self._moved:
            self._staged += 1
            self._moved.notify_all()
            self._moved.wait_for(lambda: self._failed or (self._all_here() and self._switching < self._batch))
            if self._failed:
                return "abort"
            self._switching += 1
            return "go"

    def _all_here(self) -> bool:
        return self._staged + self._left >= self._count

    def _at_switched(self) -> str:
        with self._moved:
            self._switching -= 1
            self._switched += 1
            self._moved.notify_all()
            self._moved.wait_for(lambda: self._failed or self._switched == self._staged)
            return "undo" if self._failed else "commit"

    def left(self, *, staged: bool, failed: bool) -> None:
        """A host has ended: before `staged` if it had nothing to do, anywhere if it has failed."""
        with self._moved:
            if not staged:
                self._left += 1
            self._failed = self._failed or failed
            self._moved.notify_all()

    def stop(self) -> None:
        """The operator wants to leave: as if a host had failed."""
        self.left(staged=True, failed=True)
