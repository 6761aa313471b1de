"""What CORS costs nginx: requests a second with the rendered configuration over the same without
it, in turn."""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from rollout.render import Generation
from tests.test_render import load, rendered
from tests.test_render_nginx import FRONT, MAIN, Site, listener, program, running

TURNS, SECONDS, CONNECTIONS = 15, 2, 16
UPSTREAM = """
server {{
    listen unix:{folder}/run/shop.sock;
    default_type application/json;
    add_header Access-Control-Allow-Origin "$http_origin" always;
    location / {{ return 200 '{{"products": []}}'; }}
}}
"""


def without_cors(generation: Generation) -> Generation:
    """The same files less what is there for CORS."""
    gone = (
        # The server's own part.
        r"^    include snippets/origin-kit-cors\.conf;\n(?:.*\n)*?(?=    location / \{)",
        r"^ *include snippets/origin-kit-cors\.conf;\n",
        r"^ *proxy_hide_header Access-Control-.*\n",
    )
    files = []
    for file in generation.files:
        text = file.text
        for pattern in gone:
            text = re.sub(pattern, "", text, flags=re.MULTILINE)
        # What is left over would make both sides expensive, and the ratio good.
        server = text[text.find("\nserver {") :]
        assert not re.search(r"\$origin_kit_(?!port|connection|media_policy)|\$http_origin", server)
        files.append(replace(file, text=text))
    return replace(generation, files=tuple(files))


@contextmanager
def upstream(site: Site) -> Iterator[None]:
    """The cheapest application there is: another nginx, where the site looks for gunicorn."""
    with tempfile.TemporaryDirectory(prefix="ok-") as name:
        folder = Path(name)
        (folder / "etc/nginx/conf.d").mkdir(parents=True)
        (folder / "tmp").mkdir()
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user="root"))
        (folder / "etc/nginx/conf.d/up.conf").write_text(UPSTREAM.format(folder=site.folder))
        with listener(socket.AF_UNIX, str(site.folder / "run/shop.sock")) as listening:
            process = subprocess.Popen(
                [program(), "-c", str(folder / "nginx.conf")],
                env={**os.environ, "NGINX": f"{listening.fileno()};"},
                pass_fds=[listening.fileno()],
                stderr=subprocess.DEVNULL,
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait(timeout=20)


def rate(site: Site, path: str) -> float:
    """Requests a second that wrk gets answered with 200. Raises RuntimeError where any was not."""
    url = f"http://127.0.0.1:{site.port}{path}"
    headers = ["-H", "Host: 10.213.7.74", "-H", f"Origin: {FRONT}"]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", *headers, url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    return float(said.split("Requests/sec:")[1].split()[0])


def ratios(path: str) -> list[float]:
    """With over without, pair by pair."""
    own = rendered(load("local-ip"), "backend")
    with ExitStack() as stack:
        sites = [stack.enter_context(running(one)) for one in (own, without_cors(own))]
        for site in sites:
            static = site.folder / "opt/shop/current/static"
            static.mkdir()
            (static / "site.css").write_text("body { color: black }\n" * 50)
            stack.enter_context(upstream(site))
        assert [bool(site.ask("GET", path, {"Origin": FRONT}).allowed) for site in sites] == [
            True,
            not path.startswith("/static/"),
        ]
        for site in sites:
            rate(site, path)
        pairs = []
        for turn in range(TURNS):
            order = sites if turn % 2 else sites[::-1]
            found = {id(site): rate(site, path) for site in order}
            pairs.append(found[id(sites[0])] / found[id(sites[1])])
        return pairs


def main() -> None:
    for title, path in (
        ("a proxied request", "/api/products/"),
        ("a static file", "/static/site.css"),
    ):
        found = ratios(path)
        low, _, high = statistics.quantiles(found, n=4)
        shown = f"{statistics.median(found):.3f} ×"
        print(
            f"{f'nginx with CORS / without: {title}':<58} {shown:>12}   wanted ≥ 0.97 × ({low:.3f}"
            f" to {high:.3f})"
        )


if __name__ == "__main__":
    main()
