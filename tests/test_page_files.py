"""Which files of a page have a digest in their name: real names of real tools, and names that only
look like it."""

from __future__ import annotations

import random
import re
import string
import time

import pytest

from on_host import page_files
from on_host.page_files import LOADED_LATER, has_pages, is_hashed

PATTERNS = tuple(page_files.HASHED.values())
HASHED = (
    "/assets/index-DiwrgTda.js",  # Vite 5 and later
    "/assets/index-BdR7x9Qz.css",
    "/assets/About-B_x-1aZ9.js",
    "/assets/worker-C3d9_kQ2.mjs",
    "/assets/Inter-SemiBold-Cx7Q2m9K.woff2",
    "/assets/logo-B4z9Xq1T.svg",
    "/assets/index.4f2a1b9c.js",  # Vite 2 to 4
    "/assets/index-4f2a1b9c.css",
    "/_astro/hoisted.DiwrgTda.js",
    "/_nuxt/DiwrgTda.js",
    "/_nuxt/entry.Bq2x7Z9k.css",
    "/_next/static/chunks/webpack-0a1b2c3d4e5f6071.js",
    "/_next/static/css/5d7e3b1f2a9c4e60.css",
    "/_next/static/9xKq2mZ7/_buildManifest.js",
    "/_next/static/media/a34f9d1faa5f3315-s.p.woff2",
    "/_app/immutable/chunks/entry.js",
    "/static/js/main.4f2a1b9c.js",  # Create React App
    "/static/js/787.4f2a1b9c.chunk.js",
    "/static/css/main.073c9b0a.css",
    "/static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
    "/js/app.4f2a1b9c.js",  # Vue CLI
    "/js/chunk-vendors.0a1b2c3d.js",
    "/main.4f2a1b9c8d7e6f50.js",  # Angular to 16
    "/main-5ZSLNMWK.js",  # Angular from 17
    "/chunk-ABCDEFGH.js",
    "/styles-5INURTSO.css",
    "/media/Inter-7XKQ2MZA.woff2",
    "/main.3d1fe4b2a0c59687e1f0.js",  # webpack's own
    "/workbox-4f2a1b9c.js",
    "/4f2a1b9c8d7e.js",
    "/6ce24c58023cc2f8fd88.svg",
    "/index.4f2a1b9c.js",  # Parcel
    "/sub/folder/app.4f2a1b9c.css.map",
)
UNHASHED = (
    "/",
    "/index.html",
    "/app.js",
    "/main.js",
    "/sw.js",
    "/service-worker.js",
    "/config.json",
    "/manifest.webmanifest",
    "/favicon.ico",
    "/robots.txt",
    "/env-config.js",
    "/js/jquery-3.7.1.min.js",
    "/js/bootstrap.bundle.min.js",
    "/js/vendor-polyfill.js",
    "/assets/app-settings.js",
    "/assets/theme-checkout.css",
    "/assets/app-Settings.js",
    "/assets/theme-Checkout.css",
    "/assets/app-Version2.js",
    "/assets/report-20240131.js",
    "/assets/chart-bar-2024.js",
    "/assets/my-nav-menu.css",
    "/assets/my-Nav-Menu.css",
    "/assets/Inter-SemiBold.woff2",
    "/assets/photo-iPhone15.jpg",
    "/assets/photo-2ndPhoto.jpg",
    "/assets/hero-v2Banner.png",
    "/assets/logo-DarkMode.svg",
    "/assets/book-Chapter1.pdf",
    "/assets/banner-1200x600.png",
    "/assets/report-20240131.pdf",
    "/assets/fonts/OpenSans-SemiBold.ttf",
    "/img/logo-ORIGINAL.png",
    "/img/deadbeef.png",
    "/img/photo-20240131.jpg",
    "/img/550e8400-e29b-41d4-a716-446655440000.png",
    "/docs/facade.js",
    "/posts/4f2a1b9c.html",
    "/posts/plant-4f2a1b9c.html",
    "/data/4f2a1b9c.json",
    "/avatars/4f2a1b9c.png",
    "/static/js/main.4f2a1b9c.js.LICENSE.txt",
    "/docs/index-decade.js",
    "/_nuxt/builds/latest.json",
    "/_app/version.json",
    "/users/jane.4f2a1b9c",
    "/js/index-DiwrgTda.js.html/x",
)


@pytest.mark.parametrize("path", HASHED)
def test_hashed(path: str) -> None:
    assert is_hashed(path)


@pytest.mark.parametrize("path", UNHASHED)
def test_unhashed(path: str) -> None:
    assert not is_hashed(path)


def test_most_of_vites_code_is_taken_for_hashed() -> None:
    """Of 8 random characters of Base64, as Rollup writes them; a word may be among them."""
    dice = random.Random(7)
    letters = string.ascii_letters + string.digits + "_-"
    names = ["".join(dice.choices(letters, k=8)) for _ in range(4000)]
    code = sum(is_hashed(f"/assets/index-{name}.js") for name in names)
    fonts = sum(is_hashed(f"/assets/Inter-{name}.woff2") for name in names)
    assert code > 0.85 * len(names)
    assert fonts > 0.5 * len(names)


@pytest.mark.parametrize(
    "part", ["-", "_-", "a-", "4f-", "aB1-", "/assets/-", "4f2a1b9c", "B_x-1aZ9"]
)
def test_a_long_path_costs_little(part: str) -> None:
    """As long as nginx takes one; the patterns are asked for every request."""
    path = "/assets/" + part * (8000 // len(part))
    before = time.process_time()
    for pattern in (*PATTERNS, *LOADED_LATER):
        re.search(pattern, path)
    assert time.process_time() - before < 0.2


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", False),
        ("404.html", False),
        ("about.html", False),
        ("404.html 404/index.html", False),
        ("404.html about.js", False),
        ("404.html about.html", True),
        ("404.html about/index.html", True),
    ],
)
def test_a_site_of_pages_says_what_an_unknown_address_gets(more: str, expected: bool) -> None:
    """A 404.html alone may be of a single-page site."""
    assert has_pages(["index.html", *more.split()]) == expected
