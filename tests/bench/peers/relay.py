"""A TCP relay that adds a round trip, the same for every contender: `python -m
tests.bench.peers.relay MS PORT=HOST:PORT …`.

Each direction holds what it has read for half of the added time and passes it on in order, without
a limit on the rate. The kernel answers the client's handshake at once, so a connection is held for
one whole round trip first, which is what the handshake would have taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from subprocess import PIPE, Popen
from typing import cast

from tests.support.kit import ROOT

GONE = b""


class End(asyncio.Protocol):
    """One end of a relayed connection: what it reads goes to `other`, half a trip later."""

    def __init__(self, trip_s: float, opened: float = 0.0) -> None:
        self.trip_s, self.opened = trip_s, opened
        self.line: deque[tuple[float, bytes]] = deque()
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        due = max(loop.time(), self.opened) + self.trip_s / 2
        self.line.append((due, data))
        loop.call_at(due, self.deliver)

    def connection_lost(self, problem: Exception | None) -> None:
        self.data_received(GONE)

    def deliver(self) -> None:
        """Hand on all that is due. One line in one order, whichever call comes first."""
        now = asyncio.get_running_loop().time() + 1e-4
        while self.line and self.line[0][0] <= now and self.other and self.other.transport:
            _, data = self.line.popleft()
            if data is GONE:
                self.other.transport.close()
            else:
                self.other.transport.write(data)


class Client(End):
    """The end that a contender opens; the other one is opened when the handshake would be over."""

    def __init__(self, trip_s: float, address: str, port: int) -> None:
        now = asyncio.get_running_loop().time()
        super().__init__(trip_s, now + trip_s)
        self.address, self.port = address, port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.task = asyncio.create_task(self.open())

    async def open(self) -> None:
        await asyncio.sleep(self.trip_s)
        server = End(self.trip_s)
        server.other = self
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: server, self.address, self.port
            )
        except OSError:
            assert self.transport
            self.transport.close()
            return
        self.other = server
        self.deliver()


async def main(milliseconds: str, *routes: str) -> None:
    loop = asyncio.get_running_loop()
    servers = []
    for route in routes:
        listen, target = route.split("=")
        address, port = target.rsplit(":", 1)
        client = partial(Client, float(milliseconds) / 1000, address, int(port))
        servers.append(await loop.create_server(client, "127.0.0.1", int(listen), backlog=256))
    print("ready", flush=True)
    # It ends when whoever started it does, however that ends.
    await asyncio.to_thread(sys.stdin.read)
    for server in servers:
        server.close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in held]


@contextmanager
def relayed(milliseconds: int, routes: dict[int, str]) -> Iterator[None]:
    """A relay in a process of its own for as long as the block runs; `routes` is port →
    address:port."""
    words = [
        sys.executable,
        "-m",
        "tests.bench.peers.relay",
        str(milliseconds),
        *(f"{p}={t}" for p, t in routes.items()),
    ]
    with Popen(words, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout and process.stdout.readline() == "ready\n", (
                "the relay did not start"
            )
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
