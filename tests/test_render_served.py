"""What browsers get of the rendered nginx, run for real on loopback: compressed, typed, within
limits."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
from collections.abc import Iterator

import pytest

from infra.core.contract import Contract, Page
from on_host.page_files import is_hashed
from rollout.render.units import LARGEST_HEAD, LONGEST_URL
from tests.support.folders import write_files
from tests.test_page_files import HASHED, UNHASHED
from tests.test_render import application, load, rendered
from tests.test_render_nginx import (
    FRONT,
    PREFLIGHT,
    UNLISTED,
    Answer,
    Site,
    backend,
    running,
)

pytestmark = pytest.mark.nginx

GZIP = {"Accept-Encoding": "gzip, deflate, br"}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The `local-ip` backend with a project behind it."""
    with backend(load("local-ip")) as found:
        yield found


@pytest.fixture(scope="module")
def page() -> Iterator[Site]:
    """The `local-ip` frontend, with files of every kind."""
    with running(rendered(load("local-ip"), "frontend")) as found:
        put(found, *TYPES, "index.html")
        yield found


def put(site: Site, *paths: str, release: str = "current") -> None:
    """Files of a page's release; each says which it is, in 9 kB."""
    texts = {path: f"this is {path} of {release}\n".ljust(9000, "x") for path in paths}
    write_files(site.folder / "opt/shop" / release / "site", texts)


# ------------------------------------------------------------------------------ types, compression

# path → its type, and whether it is compressed.
TYPES = {
    "worker.mjs": ("text/javascript", True),
    "app.js": ("application/javascript", True),
    "app.css": ("text/css", True),
    "docs.html": ("text/html", True),
    "app.webmanifest": ("application/manifest+json", True),
    "map.geojson": ("application/geo+json", True),
    "data.json": ("application/json", True),
    "photo.svg": ("image/svg+xml", True),
    "engine.wasm": ("application/wasm", True),
    "font.ttf": ("font/ttf", True),
    "font.woff2": ("font/woff2", False),
    "photo.webp": ("image/webp", False),
    "film.mp4": ("video/mp4", False),
    ".well-known/apple-app-site-association": ("application/json", True),
    "apple-app-site-association": ("application/json", True),
    ".well-known/assetlinks.json": ("application/json", True),
}


@pytest.mark.parametrize("path", TYPES)
def test_files_have_their_type_and_text_is_compressed(page: Site, path: str) -> None:
    """Whatever Debian's own list of types has; a client that takes no gzip gets none, and caches
    know of the difference."""
    kind, compressed = TYPES[path]
    plain, small = page.ask("GET", f"/{path}"), page.ask("GET", f"/{path}", GZIP)
    assert (plain.status, plain.headers["Content-Type"], len(plain.body)) == (200, kind, 9000)
    assert small.headers["Content-Encoding"] == ("gzip" if compressed else None)
    assert ("accept-encoding" in plain.vary) == ("accept-encoding" in small.vary) == compressed
    if compressed:
        assert len(small.body) < 200
        assert gzip.decompress(small.body) == plain.body


def test_a_small_file_is_not_compressed(page: Site) -> None:
    assert page.ask("GET", "/config.json", GZIP).headers["Content-Encoding"] is None


@pytest.mark.parametrize("origin", [FRONT, UNLISTED])
def test_the_applications_answers_are_compressed(site: Site, origin: str) -> None:
    """56 kB of JSON travel as less than 9; the headers that make it readable stay, once each."""
    answer = site.ask("GET", "/large/", {"Origin": origin, **GZIP})
    assert (answer.status, answer.headers["Content-Encoding"]) == (200, "gzip")
    whole = gzip.decompress(answer.body)
    assert len(whole) > 56_000 and len(answer.body) < 9_000
    assert whole == site.ask("GET", "/large/", {"Origin": origin}).body
    assert answer.allowed == ([FRONT] if origin == FRONT else [])
    assert {"origin", "accept-encoding"} <= answer.vary


@pytest.mark.parametrize("folder", ["static", "media"])
def test_files_of_the_backend_have_types_too(site: Site, folder: str) -> None:
    place = {"static": "opt/shop/current/static", "media": "var/lib/shop/media"}[folder]
    for name, kind in (("w.mjs", "text/javascript"), ("area.geojson", "application/geo+json")):
        (site.folder / place / name).write_text("x" * 9000)
        answer = site.ask("GET", f"/{folder}/{name}", {"Origin": FRONT, **GZIP})
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
        assert (answer.headers["Content-Encoding"], answer.allowed) == ("gzip", [FRONT])
        assert {"origin", "accept-encoding"} <= answer.vary


def test_events_are_never_compressed(site: Site) -> None:
    """An event would wait in the compressor for the next one."""
    answer = site.ask("GET", "/events/", {"Origin": FRONT, **GZIP})
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert (answer.headers["Content-Encoding"], len(answer.body) > 10_000) == (None, True)


def test_a_weak_etag_comes_back_as_the_applications_own(site: Site) -> None:
    """nginx makes the ETag weak when it compresses; an If-Match with it still means that version,
    and another one does not."""
    given = site.ask("GET", "/large/", GZIP).headers["ETag"]
    assert given == 'W/"large"'
    assert site.ask("POST", "/large/", {"If-Match": given}).status == 200
    assert site.ask("POST", "/large/", {"If-Match": '"large"'}).status == 200
    assert site.ask("POST", "/large/", {"If-Match": 'W/"other"'}).status == 412
    assert site.ask("GET", "/large/", {"If-None-Match": given, **GZIP}).status == 304


def test_the_applications_answers_stay_plain_on_request() -> None:
    """`gzip_answers: false`; files are compressed all the same."""
    with backend(application(load("local-ip"), gzip_answers=False)) as site:
        assert site.ask("GET", "/large/", GZIP).headers["Content-Encoding"] is None
        (site.folder / "opt/shop/current/static/long.css").write_text("x" * 9000)
        static = site.ask("GET", "/static/long.css", GZIP)
        assert static.headers["Content-Encoding"] == "gzip"


# -------------------------------------------------------------------------------- the page's files

# How Chromium asks: for a page; and for a script, fetch's data, an image and a style.
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    "image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
}
ITS_PARTS = {
    "js": "*/*",
    "mjs": "*/*",
    "json": "application/json, text/plain, */*",
    "png": "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
    "css": "text/css,*/*;q=0.1",
}
CHUNK = "assets/About-BdR7x9Qz.js"


@contextlib.contextmanager
def page_with(*paths: str, contract: Contract | None = None) -> Iterator[Site]:
    with running(rendered(contract or load("local-ip"), "frontend")) as site:
        put(site, *paths)
        yield site


def served(site: Site, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """The status, and the first line of what is sent."""
    answer = site.ask("GET", f"/{path}", headers)
    return answer.status, answer.body.decode().splitlines()[0]


@pytest.fixture(scope="module")
def single() -> Iterator[Site]:
    """A single-page site, as Vite builds one, and two releases before it."""
    with page_with(*SINGLE) as site:
        put(site, "index.html", CHUNK, "assets/both-C3d9xkQ2.js", "gone.html", release="releases/b")
        put(site, "assets/old-Q1w2E3r4.js", "assets/both-C3d9xkQ2.js", release="releases/a")
        put(site, "assets/Chapter-2024.pdf", "secret.js", ".env", release="releases/a")
        (site.folder / "opt/shop/earlier").mkdir()
        for number, release in ((1, "b"), (2, "a")):
            link = site.folder / f"opt/shop/earlier/{number}"
            link.symlink_to(f"../releases/{release}")
        outside = site.folder / "opt/shop/releases/a/site/assets/linked-Q1w2E3r4.js"
        outside.symlink_to("/etc/passwd")
        yield site


SINGLE = (
    "index.html",
    "app.js",
    "about.html",
    "docs/index.html",
    "pictures/cat.png",
    "assets/index-DiwrgTda.js",
    "assets/logo-DarkMode.svg",
    "api/here.json",
    "api/guide/index.html",
    ".env",
    ".well-known/security.txt",
)
VIEWS = (
    "users/jane.doe@x.org",
    "@jane.doe",
    "v1.2/notes",
    "files/Report-2024.pdf",
    "blob/main.js",
    "pictures",
    "pictures/",
)


@pytest.mark.parametrize("path", VIEWS)
def test_a_view_with_a_dot_gets_the_page(single: Site, path: str) -> None:
    """Who opens one asks for HTML, on plain http as well."""
    assert single.ask("GET", f"/{path}", NAVIGATION).status in (200, 301)
    slashed = path if path.endswith("/") else f"{path}/"
    folder = slashed if path.startswith("pictures") else path
    assert served(single, folder, NAVIGATION) == (200, "this is index.html of current")


@pytest.mark.parametrize("kind", ITS_PARTS)
@pytest.mark.parametrize("name", ["missing", "deep/missing", "users/jane.doe@x"])
def test_a_missing_part_is_missing(single: Site, kind: str, name: str) -> None:
    answer = single.ask("GET", f"/{name}.{kind}", {"Accept": ITS_PARTS[kind]})
    assert (answer.status, answer.headers["Cache-Control"]) == (404, "no-cache")
    assert answer.vary == {"accept"}
    assert b"index.html" not in answer.body


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("about", "about.html"),
        ("docs/", "docs/index.html"),
        ("api/here.json", "api/here.json"),
        ("api/guide", "api/guide/index.html"),
        (".well-known/security.txt", ".well-known/security.txt"),
    ],
)
def test_an_address_of_a_file(single: Site, path: str, file: str) -> None:
    for headers in ({}, NAVIGATION):
        assert served(single, path, headers) == (200, f"this is {file} of current")


@pytest.mark.parametrize("path", [".env", "docs/.html", ".well-known/.env", ".well-known/none"])
def test_what_is_hidden_is_missing(single: Site, path: str) -> None:
    for headers in ({}, NAVIGATION):
        assert single.ask("GET", f"/{path}", headers).status == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("path", ["api", "api/", "api/plants/", "api/users/jane.doe@x.org"])
def test_the_api_is_said_to_be_elsewhere(single: Site, method: str, path: str) -> None:
    """As JSON, to whoever asks: never the page with 200."""
    for headers in ({}, NAVIGATION):
        answer = single.ask(method, f"/{path}", headers)
        assert (answer.status, answer.headers["Content-Type"]) == (404, "application/json")
        assert answer.json()["backend"] == "http://10.213.7.74"
        assert answer.headers["Content-Security-Policy"]


# --------------------------------------------------------------------------- what browsers keep

YEAR = "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("assets/index-DiwrgTda.js", YEAR),
        ("assets/logo-DarkMode.svg", "no-cache"),
        ("app.js", "no-cache"),
        ("", "no-cache"),
        ("index.html", "no-cache"),
        ("users/jane", "no-cache"),
        ("config.json", "no-cache"),
        (CHUNK, YEAR),
        ("assets/gone-BdR7x9Qz.js", "no-cache"),
    ],
)
def test_what_browsers_keep(single: Site, path: str, kept: str) -> None:
    """A year for a name with a digest; the rest is asked for again, and answered 304."""
    answer = single.ask("GET", f"/{path}", NAVIGATION)
    assert answer.headers.get_all("Cache-Control") == [kept]
    assert ("accept" in answer.vary) == (kept == "no-cache" and "gone" not in path)
    if answer.status == 200:
        again = single.ask(
            "GET", f"/{path}", {**NAVIGATION, "If-None-Match": answer.headers["ETag"]}
        )
        assert (again.status, again.headers["Cache-Control"]) == (304, kept)


def test_nginx_and_python_agree_on_what_is_hashed(single: Site) -> None:
    """The patterns are written once, for both."""
    for path in (*HASHED, *UNHASHED):
        if path.endswith(("/", ".map")):
            continue
        put(single, path[1:])
        kept = single.ask("GET", path).headers["Cache-Control"]
        assert (path, kept) == (path, YEAR if is_hashed(path) else "no-cache")
        if path[1:] not in SINGLE:
            (single.folder / f"opt/shop/current/site{path}").unlink()


# ------------------------------------------------------------------------- releases before


@pytest.mark.parametrize(
    ("path", "release"),
    [
        (CHUNK, "releases/b"),
        ("assets/both-C3d9xkQ2.js", "releases/b"),
        ("assets/old-Q1w2E3r4.js", "releases/a"),
        ("assets/Chapter-2024.pdf", "releases/a"),
    ],
)
@pytest.mark.parametrize("headers", [{"Accept": "*/*"}, NAVIGATION])
def test_files_of_releases_before_are_served(
    single: Site, path: str, release: str, headers: dict[str, str]
) -> None:
    """The newest that has it; with its own type, as it was then."""
    assert served(single, path, headers) == (200, f"this is {path} of {release}")


@pytest.mark.parametrize(
    "path", ["gone.html", "secret.js", ".env", "assets/linked-Q1w2E3r4.js", "assets/no-Q1w2E3r4.js"]
)
def test_what_was_removed_is_gone(single: Site, path: str) -> None:
    """Pages and plain names go with their release, and no link is followed there either. A missing
    file with a digest is never the page."""
    assert single.ask("GET", f"/{path}", {"Accept": "*/*"}).status == 404
    if "assets" in path:
        assert single.ask("GET", f"/{path}", NAVIGATION).status == 404


# ------------------------------------------------------------------------------- a site's own 404

MISSING = (404, "this is 404.html of current")


def test_a_404_of_the_site_is_used() -> None:
    """For what is no view of a single page."""
    with page_with("index.html", "404.html") as site:
        for path in ("missing.js", ".env", "assets/gone-BdR7x9Qz.js", "app.js.map"):
            assert served(site, path) == MISSING
        assert served(site, "a/view", NAVIGATION) == (200, "this is index.html of current")
        assert served(site, "404.html") == (200, MISSING[1])


def test_a_site_of_pages_has_no_views() -> None:
    """As Next.js exports one, with `single_page: false`: an unknown address is its 404 for people
    too, a folder without a page as well."""
    contract = dataclasses.replace(load("local-ip"), page=Page(single_page=False))
    files = ("index.html", "404.html", "about.html", "blog/one.html")
    with page_with(*files, contract=contract) as site:
        for headers in ({}, NAVIGATION):
            for path in ("nothing", "users/jane.doe@x.org", "blog/", "missing.js"):
                assert served(site, path, headers) == MISSING
            assert served(site, "about", headers) == (200, "this is about.html of current")
            assert served(site, "blog/one", headers) == (200, "this is blog/one.html of current")
        assert served(site, "", NAVIGATION) == (200, "this is index.html of current")


def test_without_a_404_of_its_own_nginx_has_one() -> None:
    with page_with("index.html") as site:
        for path in ("404.html", "missing.js"):
            assert site.ask("GET", f"/{path}").status == 404


# ------------------------------------------------------------------------------------ source maps

MAPS = (
    "app.js.map",
    "static/js/main.4f2a1b9c.js.map",
    "assets/index-DiwrgTda.css.map",
    "w.mjs.map",
)


@pytest.mark.parametrize(("wanted", "status"), [(False, 404), (True, 200)])
def test_source_maps_are_served_on_request(wanted: bool, status: int) -> None:
    """A map that is no source's is an ordinary file."""
    contract = dataclasses.replace(load("local-ip"), page=Page(source_maps=wanted))
    with running(rendered(contract, "frontend")) as page:
        put(page, *MAPS, "level.map", "index.html")
        for path in MAPS:
            answer = page.ask("GET", f"/{path}")
            assert (path, answer.status) == (path, status)
        assert page.ask("GET", "/level.map").status == 200


# ------------------------------------------------------------------------ long lines, large headers


def url_of(length: int) -> str:
    return "/echo/?".ljust(length, "q")


def headers_of(site: Site, length: int, name: str) -> dict[str, str]:
    """Headers with which a GET of /echo/ has exactly this many bytes before its body."""
    fixed = {name: "", "Host": "10.213.7.74", "Origin": FRONT}
    lines = [f"{key}: {value}\r\n" for key, value in fixed.items()]
    missing = length - len("GET /echo/ HTTP/1.1\r\n" + "".join(lines) + "\r\n")
    return fixed | {name: "c" * missing}


def read(answer: Answer) -> tuple[int, list[str]]:
    assert "origin" in answer.vary
    return answer.status, answer.allowed


@pytest.mark.parametrize(("length", "status"), [(LONGEST_URL, 200), (LONGEST_URL + 1, 414)])
def test_a_long_url_is_answered_or_refused_readably(site: Site, length: int, status: int) -> None:
    """The edge from both sides; a preflight of the same URL passes, so that a page reads the 414 of
    its PUT."""
    for method in ("GET", "PUT"):
        answer = site.ask(method, url_of(length), {"Origin": FRONT})
        assert read(answer) == (status, [FRONT])
    assert site.ask("GET", url_of(length), {"Origin": UNLISTED}).allowed == []
    preflight = site.ask("OPTIONS", url_of(length), {"Origin": FRONT, **PREFLIGHT})
    assert read(preflight) == (204, [FRONT])


@pytest.mark.parametrize("length", [LONGEST_URL + 1, 16_000, 32_000])
def test_a_far_too_long_url_is_a_readable_414(site: Site, length: int) -> None:
    assert read(site.ask("GET", url_of(length), {"Origin": FRONT})) == (414, [FRONT])


@pytest.mark.parametrize("name", ["Cookie", "Authorization"])
@pytest.mark.parametrize(("length", "status"), [(LARGEST_HEAD - 1, 200), (LARGEST_HEAD, 431)])
def test_large_headers_are_answered_or_refused_readably(
    site: Site, name: str, length: int, status: int
) -> None:
    """The edge from both sides, wherever `Origin` stands."""
    answer = site.ask("GET", "/echo/", headers_of(site, length, name))
    assert read(answer) == (status, [FRONT])
    if status == 431:
        assert answer.headers["Content-Type"] == "text/plain"
        assert b"20000 bytes" in answer.body


@pytest.mark.parametrize("origin", [FRONT, UNLISTED])
def test_one_header_beyond_nginx_is_refused_by_the_maps(site: Site, origin: str) -> None:
    """A cookie that no buffer takes ends a request before nginx comes to any `if`: readable where
    `Origin` came before it, which is where Chromium has it."""
    answer = site.ask("GET", "/echo/", {"Origin": origin, "Cookie": "c" * 40_000})
    assert (answer.status, answer.allowed) == (431, [FRONT] if origin == FRONT else [])


def test_more_headers_than_nginx_reads_are_refused_readably(site: Site) -> None:
    answer = site.ask("GET", "/echo/", {"Origin": FRONT} | {f"X-{n}": "y" for n in range(6000)})
    assert (answer.status, answer.allowed) == (431, [FRONT])
