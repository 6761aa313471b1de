"""The files of a page: which have a digest of their content in their name, and so never change.

Pure; both sides use it. The patterns are written for nginx (PCRE) and Python alike, and are for a
path from the site's root. A file that they miss is asked for again each time, which costs a
request; a file that they take for another would be kept for a year, so they ask for much.
"""

from __future__ import annotations

import re
from typing import Iterable  # noqa: UP035 - Python 3.9 evaluates the alias

EARLIER = 4  # releases of a page whose files open tabs still find

_CODE = r"\.(?:[cm]?js|css)(?:\.map)?$"
_MEDIA = r"\.(?:wasm|png|jpe?g|gif|svg|webp|avif|ico|woff2?|ttf|otf|eot|mp[34]|webm|ogg|pdf)$"
_CODE_OR_MEDIA = f"(?:{_CODE}|{_MEDIA})"  # no page and no data, which may be named by an id
_HEX = "(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])"  # no date and no word
_BASE64 = "[A-Za-z0-9_-]"
_EIGHT = rf"(?={_BASE64}{{8}}\.)"  # looked for first, so that a long path costs no more
_VITE = "^/(?:assets|_astro|_nuxt)/(?:[^/]*[.-])?"  # its folder, and those of what is built on it


def _changes(number: int) -> str:
    """A pattern for what changes from small letters to capitals, digits or dashes this often. Words
    do so less often: SemiBold and iPhone15 3 times."""
    change = "(?:[a-z](?![a-z])|[A-Z](?![A-Z])|[0-9](?![0-9])|[_-](?![_-]))"
    return f"(?=(?:{_BASE64}*?{change}){{{number + 1}}})"  # the end is one


# What builds a page → what the paths of its hashed files are like.
HASHED = {
    # Each has a folder for nothing else, and its own server says the same of it.
    "Next.js, SvelteKit": r"^/(?:_next/static|_app/immutable)/",
    # Of 8 digits in Vue CLI and Create React App (main.4f2a1b9c.chunk.js), up to 64 elsewhere.
    "webpack, Parcel, code": rf"[/._~-]{_HEX}[0-9a-f]{{8,64}}(?:\.[a-z]+)?{_CODE}",
    "webpack, Parcel, Angular to 16": rf"[._~-]{_HEX}(?:[0-9a-f]{{8}}|[0-9a-f]{{16,64}}){_MEDIA}",
    "webpack's assets": rf"/{_HEX}[0-9a-f]{{20,64}}{_MEDIA}",
    "Angular": rf"-(?=[A-Z2-7]*[2-7])(?=[A-Z2-7]*[A-Z])[A-Z2-7]{{8}}{_CODE_OR_MEDIA}",
    "Angular, code": f"-[A-Z2-7]{{8}}{_CODE}",
    # Base64. A script's or a style's must be unlike one word (Settings, Version2), and unlike two
    # (DarkMode) where there is a dash in it; a font's or an image's unlike any.
    "Vite, code": f"{_VITE}{_EIGHT}{_changes(3)}[A-Za-z0-9]{{8}}{_CODE}",
    "Vite, code with a dash": f"{_VITE}{_EIGHT}{_changes(5)}{_BASE64}{{8}}{_CODE}",
    "Vite": f"{_VITE}{_EIGHT}{_changes(4)}(?=[^.]*[0-9]){_BASE64}{{8}}{_MEDIA}",
}

# What an open tab may still load of an earlier release: wider, since nothing is kept because of it.
LOADED_LATER = (
    r"^/(?:_next|_app|_nuxt|_astro)/",
    rf"[/._~-](?={_BASE64}{{0,63}}[A-Z0-9]){_BASE64}{{8,64}}(?:\.[A-Za-z]+)*{_CODE_OR_MEDIA}",
    rf"[._~-]{_HEX}[0-9a-f]{{8,64}}\.json$",
)

_SPECIAL = {"index.html", "404.html", "200.html", "_not-found.html", "404/index.html"}


def is_hashed(path: str) -> bool:
    """Whether another content would have another path; `path` begins with a slash."""
    return any(re.search(pattern, path) for pattern in HASHED.values())


def has_pages(paths: Iterable[str]) -> bool:
    """Whether a site with these files has a page for each of its addresses, and one for all others:
    a 404.html, and HTML next to that and index.html. With a 404.html alone it may be a single-page
    site."""
    pages = {path for path in paths if path.endswith(".html")}
    return "404.html" in pages and bool(pages - _SPECIAL)
