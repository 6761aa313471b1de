"""A proxy in front of a host, and names that lead to it: what stands between a visitor and a host
in real life."""

from __future__ import annotations

import re
import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.servers import answering

Change = Callable[[bytes], bytes]  # of the head of an answer, its last line break included
_MOST = 1 << 20


def unchanged(head: bytes) -> bytes:
    """A proxy that does no harm."""
    return head


def without_cors(head: bytes) -> bytes:
    """A proxy that keeps Access-Control-* headers to itself."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(b"access-control-"))


def with_another(head: bytes) -> bytes:
    """A proxy that is open to everybody, as it believes."""
    return head + b"Access-Control-Allow-Origin: *\r\n"


def bad_gateway(head: bytes) -> bytes:
    """A load balancer that takes its hosts for dead."""
    return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n"


@contextmanager
def proxy(listen: str, upstream: str, change: Change) -> Iterator[None]:
    """Answer on port 80 of `listen` with what `upstream` answers, its head changed. A body that is
    announced and not sent is not waited for."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked = _head(self.request)
            if not asked:
                return
            with socket.create_connection((upstream, 80), timeout=20) as there:
                there.sendall(_closing(asked))
                answer = _all(there)
            head, _, body = answer.partition(b"\r\n\r\n")
            self.request.sendall(change(head + b"\r\n") + b"\r\n" + body)

    with answering(Handler, listen, 80):
        yield


def _head(client: socket.socket) -> bytes:
    """The request up to its blank line."""
    asked = b""
    while b"\r\n\r\n" not in asked and len(asked) < _MOST:
        more = client.recv(65536)
        if not more:
            return b""
        asked += more
    return asked


def _closing(asked: bytes) -> bytes:
    """The same request, after whose answer the connection is closed."""
    head, end, body = asked.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close"]) + end + body


def _all(there: socket.socket) -> bytes:
    """One answer. nginx keeps the connection for seconds where a body was announced and never
    came, so its end is not waited for."""
    answer = b""
    while not _is_whole(answer):
        more = there.recv(65536)
        if not more:
            break
        answer += more
    return answer


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    if head.split(b" ")[1] in (b"204", b"304"):
        return True
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return length is not None and len(body) >= int(length[1])
