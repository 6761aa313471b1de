"""Servers of a test's own, plain or over TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any


class Quiet(BaseHTTPRequestHandler):
    """A handler that prints nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingTCPServer):
    """The handshake is made in the thread of each connection. The end of one is not waited for:
    browsers keep theirs."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseRequestHandler],
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(address, handler)
        self._tls = tls

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        if self._tls is None:
            super().process_request_thread(request, client_address)
            return
        try:
            with self._tls.wrap_socket(request, server_side=True) as wrapped:
                super().process_request_thread(wrapped, client_address)
        except OSError:  # the client refuses the certificate, as tests want it to
            self.shutdown_request(request)


@contextmanager
def answering(
    handler: type[BaseRequestHandler],
    address: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """The port where the handler answers until the block ends; 0 is any free one. With `tls` it
    speaks it over TLS."""
    server = _Server((address, port), handler, tls)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
