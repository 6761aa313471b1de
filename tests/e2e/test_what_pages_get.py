"""What a browser gets of a page's files and of the API, on real machines: views, parts of the
release before, compressed text, long requests."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, Response

from rollout.doctor.failed_requests import FailedRequests
from rollout.render.units import LARGEST_HEAD, LONGEST_URL
from tests.e2e.conftest import Environment, chromium, screenshot
from tests.support.clients import connected
from tests.support.folders import write_files
from tests.support.kit import ROOT, Stack, manage

pytestmark = [pytest.mark.machines, pytest.mark.browser, pytest.mark.either_scheme]

BUNDLE = 164_000  # bytes, as of a usual build
PLANTS = 400
# A build as Vite writes it: version N of the page loads its own chunk when it is asked to.
INDEX = """<!doctype html>
<title>version {version}</title>
<link rel="stylesheet" href="/missing.css">
<script type="module" crossorigin src="/assets/index-{digest}.js"></script>
<p id="version">{version}</p>
<img src="/missing.png" alt="">
"""
ENTRY = """
import "/assets/bundle-Aa1Bb2Cc.js";
window.about = () => import("./About-{digest}.js").then((part) => part.version);
window.worker = () => new Promise((resolve) => {{
  const worker = new Worker("/worker.mjs", {{ type: "module" }});
  worker.onmessage = (message) => resolve(message.data);
  worker.onerror = () => resolve("failed");
}});
window.ask = async (url, options) => {{
  try {{
    const answer = await fetch(url, options);
    return {{ status: answer.status, body: await answer.text() }};
  }} catch (error) {{
    return {{ status: 0, body: error.message }};
  }}
}};
window.ready = true;
"""
DIGESTS = ("BdR7x9Qz", "Cx3Kd8Lm", "Dq5Zr1Wn")


@dataclass
class Site:
    """A stack whose page is a folder of this test's own."""

    stack: Stack
    folder: Path

    def build(self, number: int) -> None:
        """Version `number` of the page, counted from 0: other names, nothing left of before."""
        shutil.rmtree(self.folder, ignore_errors=True)
        digest = DIGESTS[number]
        words = [
            f"export const word{n} = 'text of a bundle {n * 7919 % 10007}';" for n in range(9999)
        ]
        files = {
            "index.html": INDEX.format(version=number, digest=digest),
            f"assets/index-{digest}.js": ENTRY.format(digest=digest),
            f"assets/About-{digest}.js": f"export const version = {number};",
            f"assets/index-{digest}.js.map": "{}",
            "assets/bundle-Aa1Bb2Cc.js": "\n".join(words)[:BUNDLE].rpartition("\n")[0],
            "worker.mjs": "import { answer } from './answer.mjs'; postMessage(answer);",
            "answer.mjs": "export const answer = 'a module';",
            "about.html": "<title>about</title>",
            "404.html": "<title>not here</title>",
            ".well-known/apple-app-site-association": '{"applinks": {}}',
            "app.webmanifest": "{}",
            "map.geojson": "{}",
            ".env": "SECRET=1",
        }
        write_files(self.folder, files)

    def ship(self, number: int) -> None:
        self.build(number)
        self.stack.fab("ship")

    @property
    def url(self) -> str:
        return self.stack.contract.frontend.origin

    @property
    def api(self) -> str:
        return self.stack.contract.backend.origin


@pytest.fixture(scope="module")
def site(stack: Stack) -> Iterator[Site]:
    """Version 0 of the page, deployed, and products enough for a long answer."""
    made = Site(stack, ROOT / "artifacts" / f"page-{uuid4().hex[:6]}")
    made.build(0)
    stack.write(frontend_path=str(made.folder.relative_to(ROOT)))
    stack.fab("up")
    shell = (
        "from catalog.models import Product; Product.objects.bulk_create(Product(name=f'Plant"
        f" {{n}}', price=n, stock=n) for n in range({PLANTS}))"
    )
    backend = stack.contract.backend.hosts[0]
    try:
        stack.kit.ssh(backend, manage("shop", f"shell -c {quote(shell)}"))
        yield made
    finally:
        shell = (
            "from catalog.models import Product; Product.objects.filter(name__startswith='Plant"
            " ').delete()"
        )
        stack.kit.ssh(backend, manage("shop", f"shell -c {quote(shell)}"))
        stack.write()
        stack.fab("up")
        shutil.rmtree(made.folder)


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    with chromium(Environment.of(site.stack)) as opened:
        yield opened


def opened(browser: Browser, url: str) -> tuple[Page, list[Response]]:
    """The page at this address once its code runs, in a profile of its own, and what it loaded."""
    page = browser.new_page(viewport={"width": 900, "height": 400})
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(url, wait_until="load")
    page.wait_for_function("window.ready")
    return page, answers


def ask(page: Page, url: str, **options: Any) -> tuple[int, str]:
    found = page.evaluate("([u, o]) => window.ask(u, o)", [url, options])
    return found["status"], found["body"]


# ------------------------------------------------------------------------------------ the page


@pytest.mark.parametrize("path", ["/users/jane.doe@x.org", "/v1.2/notes", "/files/Report-2024.pdf"])
def test_a_deep_link_with_a_dot_opens_the_page(site: Site, browser: Browser, path: str) -> None:
    """Over plain http too, where no header says what a request is for; a style, an image, JSON and
    code that it misses are 404 all the same."""
    page, answers = opened(browser, site.url + path)
    assert page.title() == "version 0"
    assert page.evaluate("location.pathname") == path
    screenshot(page, "what-pages-get-deep-link")
    by_path = {answer.url.removeprefix(site.url): answer for answer in answers}
    assert by_path[path].status == 200
    assert by_path["/missing.png"].status == 404
    # Chromium says nothing of a style of another type (nosniff), so nginx is asked.
    log = "grep ' /missing.css ' /var/log/nginx/access.log | tail -n 1"
    assert '" 404 ' in site.stack.kit.ssh(site.stack.contract.frontend.hosts[0], log)
    says_what_for = {"sec-fetch-dest" in one.request.all_headers() for one in answers}
    assert says_what_for == {site.stack.contract.speaks_https}
    for missing in ("/missing.json", "/users/jane.json", "/missing.js"):
        assert ask(page, missing)[0] == 404
    part = "import('/assets/Lost-BdR7x9Qz.js').catch((error) => error.name)"
    assert page.evaluate(part) == "TypeError"
    page.close()


def test_a_module_worker_runs(site: Site, browser: Browser) -> None:
    """`.mjs` has a type that browsers run, on this Debian too."""
    page, _ = opened(browser, site.url)
    assert page.evaluate("window.worker()") == "a module"
    page.close()


def test_an_address_of_the_api_says_where_it_is(site: Site, browser: Browser) -> None:
    page, _ = opened(browser, site.url)
    status, body = ask(page, "/api/products/")
    assert status == 404 and f'"backend": "{site.api}"' in body
    answer = page.goto(f"{site.url}/api/products/")
    assert answer is not None and answer.status == 404
    assert site.api in page.inner_text("body")
    page.close()


def get(site: Site, role: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = connected(site.stack.kit, getattr(site.stack.contract, role))
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


@pytest.mark.parametrize(
    ("path", "status", "kind", "kept"),
    [
        ("/about", 200, "text/html", "no-cache"),
        ("/config.json", 200, "application/json", "no-cache"),
        (
            "/assets/index-BdR7x9Qz.js",
            200,
            "application/javascript",
            "public, max-age=31536000, immutable",
        ),
        ("/worker.mjs", 200, "text/javascript", "no-cache"),
        ("/app.webmanifest", 200, "application/manifest+json", "no-cache"),
        ("/map.geojson", 200, "application/geo+json", "no-cache"),
        ("/.well-known/apple-app-site-association", 200, "application/json", "no-cache"),
        ("/assets/index-BdR7x9Qz.js.map", 404, "text/html", "no-cache"),
        ("/.env", 404, "text/html", "no-cache"),
        ("/missing.js", 404, "text/html", "no-cache"),
    ],
)
def test_files(site: Site, path: str, status: int, kind: str, kept: str) -> None:
    """Types, how long browsers keep them, and the site's own page for what is missing."""
    answer = get(site, "frontend", path)
    assert (answer.status, answer.getheader("Content-Type")) == (status, kind)
    assert answer.getheader("Cache-Control") == kept
    assert (b"not here" in answer.read()) == (status == 404)


# -------------------------------------------------------------------------------- compressed text


def test_a_bundle_and_a_long_answer_are_compressed(site: Site, browser: Browser) -> None:
    """As Chromium takes them: less than half of the bundle, less than a fifth of the JSON."""
    page, answers = opened(browser, site.url)
    with page.expect_response(lambda answer: answer.url.startswith(site.api)) as waiting:
        status, body = ask(page, f"{site.api}/api/products/")
    assert status == 200 and body.count("Plant ") == PLANTS
    bundle = next(answer for answer in answers if "bundle-" in answer.url)
    for answer, size, most in (
        (bundle, BUNDLE - 100, BUNDLE // 2),
        (waiting.value, len(body) - 1, len(body) // 5),
    ):
        headers = answer.all_headers()
        assert headers["content-encoding"] == "gzip"
        assert "accept-encoding" in headers["vary"].lower()
        assert len(answer.body()) > size > most > answer.request.sizes()["responseBodySize"]
    assert "origin" in waiting.value.all_headers()["vary"].lower()
    page.close()


# --------------------------------------------------------------------------------- long requests


def head_of(length: int, host: str, origin: str) -> dict[str, str]:
    """Headers with which the request of `get` for /api/health has this many bytes."""
    fixed = {"Host": host, "Accept-Encoding": "identity", "Authorization": "", "Origin": origin}
    text = "GET /api/health HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fixed.items())
    return fixed | {"Authorization": "c" * (length - len(text) - 2)}


def test_what_nginx_passes_on_gunicorn_answers(site: Site) -> None:
    """The edges of both limits, from both sides; what is refused carries the headers."""
    host = site.stack.contract.backend.parsed_origin.authority
    asked: list[tuple[str, dict[str, str], int]] = []
    for length, status in ((5000, 200), (LONGEST_URL, 200), (LONGEST_URL + 1, 414), (30_000, 414)):
        asked.append(("/api/health?".ljust(length, "q"), {"Origin": site.url}, status))
    for length, status in ((LARGEST_HEAD - 1, 200), (LARGEST_HEAD, 431), (30_000, 431)):
        asked.append(("/api/health", head_of(length, host, site.url), status))
    many = {f"X-{number}": "y" for number in range(500)}
    asked.append(("/api/health", {"Origin": site.url, **many}, 200))
    for path, headers, status in asked:
        answer = get(site, "backend", path, **headers)
        body = answer.read().decode()
        assert answer.status == status, (len(path), len(str(headers)), body)
        assert answer.getheader("Access-Control-Allow-Origin") == site.url
        assert "Origin" in str(answer.headers.get_all("Vary"))


def test_a_page_reads_why_its_request_is_refused(site: Site, browser: Browser) -> None:
    """A long URL and a large token are no CORS errors; a token of 15 kB arrives."""
    page, _ = opened(browser, site.url)
    assert ask(page, f"{site.api}/api/health?{'q' * 9000}")[0] == 414
    assert ask(page, f"{site.api}/api/health?{'q' * 9000}", method="PUT")[0] == 414
    health = f"{site.api}/api/health"
    assert ask(page, health, headers={"Authorization": "t" * 15_000})[0] == 200
    status, body = ask(page, health, headers={"Authorization": "~" * 25_000})
    assert status == 431 and str(LARGEST_HEAD) in body
    # HTTP/2 sends this one in 16 kB: there the answer is gunicorn's.
    assert ask(page, health, headers={"Authorization": "t" * 25_000})[0] == 431
    page.close()


@pytest.mark.https
def test_what_nginx_does_not_read_over_http2_ends_the_connection(
    site: Site, browser: Browser
) -> None:
    """A header or a URL above 32 kB as it is sent, or headers above 64 kB together: no answer, and
    the page's other requests on that connection are lost too. The next one has a new connection."""
    page, _ = opened(browser, site.url)
    failed = FailedRequests()
    failed.listen(page.context.new_cdp_session(page))
    health, slow = f"{site.api}/api/health", f"{site.api}/api/slow?seconds=20"
    names = ("Authorization", "X-Cart", "X-CSRFToken")
    status, body = ask(page, health, headers=dict.fromkeys(names[:2], "~" * 25_000))
    assert status == 431 and str(LARGEST_HEAD) in body
    page.evaluate("url => { window.other = window.ask(url, {}); }", slow)
    for url, headers in (
        (f"{health}?one", {"Authorization": "~" * 40_000}),
        (f"{health}?three", dict.fromkeys(names, "~" * 25_000)),
        (f"{health}?{'q' * 60_000}", {}),
    ):
        assert ask(page, url, headers=headers)[0] == 0
        assert ask(page, health)[0] == 200
        assert failed.reasons[url] == "net::ERR_CONNECTION_CLOSED"
    assert page.evaluate("window.other")["status"] == 0
    page.close()


# ---------------------------------------------------------------------- an open tab after a ship


def about(page: Page) -> object:
    return page.evaluate("window.about().catch((error) => String(error))")


def test_an_open_tab_goes_on_after_ships_and_a_rollback(site: Site, browser: Browser) -> None:
    """Each tab loads the chunk of its own release, after one ship, after two, and after the last
    one was rolled back; a new tab gets what is current."""
    first, _ = opened(browser, site.url)
    site.ship(1)
    second, _ = opened(browser, site.url)
    assert (first.title(), second.title()) == ("version 0", "version 1")
    assert about(first) == 0
    old = get(site, "frontend", f"/assets/About-{DIGESTS[0]}.js")
    assert (old.status, old.getheader("Content-Type")) == (200, "application/javascript")
    site.ship(2)
    third, _ = opened(browser, site.url)
    fresh, _ = opened(browser, f"{site.url}/users/jane.doe@x.org")
    assert (about(second), third.title(), about(fresh)) == (1, "version 2", 2)
    late, _ = opened(browser, site.url)
    late.evaluate(f"import('/assets/About-{DIGESTS[0]}.js')")
    site.stack.fab("rollback", "--release", "--role", "frontend")
    back, _ = opened(browser, site.url)
    assert (back.title(), about(back), about(third)) == ("version 1", 1, 2)
    assert get(site, "frontend", "/assets/Never-BdR7x9Qz.js").status == 404
    links = site.stack.kit.ssh(
        site.stack.contract.frontend.hosts[0],
        "readlink /opt/shop/earlier/* && ls /opt/shop/releases",
    )
    assert links.count("../releases/") >= 3
    for tab in (first, second, third, fresh, late, back):
        tab.close()
