"""What browsers get of the rendered nginx, run for real on loopback: compressed, typed, within
limits."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from rollout.render.nginx import LARGEST_HEAD, LONGEST_URL
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


def put(site: Site, *paths: str, release: str = "current", text: str = "") -> None:
    """Files of a page's release; each says which it is, in 9 kB."""
    for path in paths:
        place = site.folder / "opt/shop" / release / "site" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text or f"this is {path} of {release}\n".ljust(9000, "x"))


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

MAPS = (
    "app.js.map",
    "static/js/main.4f2a1b9c.js.map",
    "assets/index-DiwrgTda.css.map",
    "w.mjs.map",
)


@pytest.mark.parametrize(("wanted", "status"), [(False, 404), (True, 200)])
def test_source_maps_are_served_on_request(wanted: bool, status: int) -> None:
    """A map that is no source's is an ordinary file."""
    contract = application(load("local-ip"), source_maps=wanted)
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
