"""What https costs: TLS handshakes and requests of our nginx over those of nginx's own minimal
https, in turn; and `fab deploy` on an https stack over a bare fabfile.

A rate is per second of nginx's own CPU time, so that neither the client's share nor a busy machine
counts; next to it stands the one by the clock. Both sides have the same kind of certificate.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rollout.render import Generation, places
from rollout.render.nginx import status_server
from tests.bench.cost import upstream
from tests.bench.page import at_least, at_most, head, row, update
from tests.bench.pair import deploys
from tests.support.folders import write_files
from tests.support.kit import Kit
from tests.test_render import load, rendered, text
from tests.test_render_nginx import Site, running

TURNS, SECONDS, CONNECTIONS = 21, 2, 16
WANTED, FLOOR = 0.97, 1.6
STACK = "local-https"
CONTRACT = load("https-ip")
SITE = "nginx/origin-kit.conf"
# The versions are nginx's default from 1.23.4 on. Debian 12 has 1.22, whose default is without TLS
# 1.3, and a handshake of TLS 1.2 is another one.
MINIMAL = """
server {{
    listen 0.0.0.0:443 ssl;
    listen [::]:443 ssl;
    ssl_certificate {certificate}/chain.pem;
    ssl_certificate_key {certificate}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    root {release}/site;
}}
{status}
"""


# ------------------------------------------------------------------------------------- two servers


def alone(generation: Generation) -> Generation:
    """nginx's own minimal https server in place of the whole site: the page's files and nothing
    else."""
    server = MINIMAL.format(
        certificate=places.certificate(CONTRACT.lineage("frontend")),
        release=places.release(CONTRACT.application.name),
        status=status_server(),
    )
    return _with_site(generation, server)


def plainly(generation: Generation) -> Generation:
    """The same site with nginx's own minimal https: a certificate, its key, and the versions."""
    server = text(generation, SITE)
    for pattern, instead in (
        (r"^ *ssl_(?!certificate|protocols).*\n", ""),
        (r" ssl http2\b", " ssl"),
    ):
        server, count = re.subn(pattern, instead, server, flags=re.MULTILINE)
        assert count, pattern
    return _with_site(generation, server)


def _with_site(generation: Generation, server: str) -> Generation:
    files = (replace(file, text=server) if file.path == SITE else file for file in generation.files)
    return replace(generation, files=tuple(files))


# ------------------------------------------------------------------------------------------- rates


@dataclass(frozen=True)
class Rate:
    """How many a second: of nginx's CPU time, and by the clock."""

    cpu: float
    clock: float

    def over(self, other: Rate) -> Rate:
        """The ratio of each."""
        return Rate(self.cpu / other.cpu, self.clock / other.clock)


Client = Callable[[Site], int]  # asks for SECONDS; returns how many times


def rate(site: Site, client: Client) -> Rate:
    """What one client gets of a site."""
    used, started = cpu_seconds(site), time.perf_counter()
    count = client(site)
    spent = time.perf_counter() - started
    return Rate(count / (cpu_seconds(site) - used), count / spent)


def cpu_seconds(site: Site) -> float:
    """What nginx's workers have used so far."""
    # The first number is nanoseconds: https://docs.kernel.org/scheduler/sched-stats.html
    counters = [Path(f"/proc/{worker}/schedstat").read_text() for worker in site.workers()]
    return sum(float(text.split()[0]) for text in counters) / 1e9


def handshakes(site: Site) -> int:
    """Connections with a full handshake each, and no request."""
    words = ["openssl", "s_time", "-new", "-time", str(SECONDS), "-connect"]
    said = _output([*words, f"127.0.0.1:{site.secure_port}"])
    found = re.search(r"^(\d+) connections in [\d.]+s;", said, re.MULTILINE)
    assert found, said
    return int(found[1])


def requests(path: str) -> Client:
    """Requests on kept connections, every one answered with 200."""

    def client(site: Site) -> int:
        words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s"]
        names = ["-H", "Host: 10.213.7.74", "-H", f"Origin: {CONTRACT.frontend.origin}"]
        said = _output([*words, *names, f"https://127.0.0.1:{site.secure_port}{path}"])
        found = re.search(r"(\d+) requests in", said)
        assert found and "Non-2xx" not in said and "Socket errors" not in said, said
        return int(found[1])

    return client


def _output(words: Sequence[str]) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def ratio(role: str, other: Callable[[Generation], Generation], client: Client) -> Rate:
    """Ours over the other: the medians, pair by pair."""
    own = rendered(CONTRACT, role)
    with ExitStack() as stack:
        sites = [stack.enter_context(running(one)) for one in (own, other(own))]
        for site in sites:
            write_files(site.folder / "opt/shop/current/site", {"index.html": "x" * 900})
            if role == "backend":
                stack.enter_context(upstream(site))
            rate(site, client)
        pairs = []
        for turn in range(TURNS):
            order = sites if turn % 2 else sites[::-1]
            found = {id(site): rate(site, client) for site in order}
            pairs.append(found[id(sites[0])].over(found[id(sites[1])]))
    return Rate(
        statistics.median(pair.cpu for pair in pairs),
        statistics.median(pair.clock for pair in pairs),
    )


# ------------------------------------------------------------------------------------------- tables

ROWS = {
    "TLS handshakes, against nginx's minimal https server": ("frontend", alone, handshakes),
    "requests for a file, against the same site with nginx's minimal https": (
        "frontend",
        plainly,
        requests("/index.html"),
    ),
    "requests to the application, against the same": ("backend", plainly, requests("/api/")),
}


def nginx_table() -> list[str]:
    """Our nginx over the other, row by row as they come."""
    lines = head("a second, ours / nginx's own", "of nginx's CPU time", "by the clock", "wanted")
    for title, (role, other, client) in ROWS.items():
        found = ratio(role, other, client)
        shown = f"{found.cpu:.2f} ×", f"{found.clock:.2f} ×"
        lines.append(row(title, *shown, at_least(found.cpu, WANTED)))
        print(lines[-1], flush=True)
    return lines


def deploy_table() -> list[str]:
    """`fab deploy` with nothing to do over a fabfile that does nothing."""
    with tempfile.TemporaryDirectory() as folder:
        kit = Kit(Path(folder) / "home")
        try:
            kit.fab("up", "--stack", STACK)
            ours, floor = deploys(kit, STACK, Path(folder))
        finally:
            kit.fab("down", "--yes", "--stack", STACK)
    found = statistics.median(a / b for a, b in zip(ours, floor, strict=True))
    seconds = [f"{statistics.median(times):.2f} s" for times in (floor, ours)]
    lines = head("hosts", "floor", "origin-kit", "ratio", "wanted")
    lines.append(row(2, *seconds, f"{found:.2f} ×", at_most(found, FLOOR)))
    print(lines[-1], flush=True)
    return lines


def main() -> None:
    update(https=nginx_table(), https_deploy=deploy_table())


if __name__ == "__main__":
    main()
