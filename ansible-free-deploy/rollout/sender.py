"""What a host gets on its standard input: orders, the program where it is missing, and a file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import IO

import paramiko

from on_host.runtime import BEAT_S
from rollout.host_errors import CUT
from rollout.program import Program


class Sender(threading.Thread):
    """Sends the orders, the program where it is missing there, and the blob; then signs of life
    until it is stopped, if the work may ask anything."""

    def __init__(
        self,
        channel: paramiko.Channel,
        program: Program,
        orders: Mapping[str, object],
        blob: IO[bytes] | None,
        *,
        keeps_alive: bool,
    ) -> None:
        super().__init__(daemon=True)
        self._channel = channel
        self._program = program
        self._orders = orders
        self._blob = blob
        self._keeps_alive = keeps_alive
        self._is_missing = False
        self._answered = threading.Event()  # the other side has said whether it has the program
        self._over = threading.Event()

    def go_on(self, *, send_program: bool) -> None:
        self._is_missing = send_program
        self._answered.set()

    def stop(self) -> None:
        self._over.set()
        self._answered.set()

    def run(self) -> None:
        with self._blob or contextlib.nullcontext():
            self._send()

    def _send(self) -> None:
        try:
            self._channel.sendall(self._program.head(self._orders))
            self._answered.wait()
            if self._over.is_set():
                return
            if self._is_missing:
                self._channel.sendall(self._program.data)
            self._send_blob()
            if not self._keeps_alive:
                self._channel.shutdown_write()
                return
            while not self._over.wait(BEAT_S):
                self._channel.sendall(b"\n")
        except CUT:
            return  # the reader sees the end of the channel and says why

    def _send_blob(self) -> None:
        while chunk := self._blob.read(1 << 18) if self._blob else b"":
            self._channel.sendall(chunk)
