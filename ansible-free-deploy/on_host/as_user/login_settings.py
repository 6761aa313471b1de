"""How the project keeps sessions and checks writes: its settings, and where it hands the CSRF token
out.

    python -c TEXT        in the project's folder, under the kit's settings

prints {"login_settings": ...} as its last line, see `found`.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
from typing import Any, Iterator  # noqa: UP035 - Python 3.9 on hosts

COOKIE = ("NAME", "DOMAIN", "PATH", "SECURE", "HTTPONLY", "SAMESITE")
MOST_FILES = 3000
LARGEST_FILE = 1 << 20  # bytes
# Functions that hand the token out, and those that only set its cookie.
RETURNING, COOKIE_ONLY = "get_token", "ensure_csrf_cookie"


def found() -> dict[str, Any]:
    """`session` and `csrf`: the settings of the two cookies; `in_session`: CSRF_USE_SESSIONS;
    `header`: the request header that carries the token, as WSGI has it; `trusted_origins`;
    `keeps_sessions` and `checks_csrf`: whether the middleware for it is there; `returns` and
    `sets_cookie`: the first place where the project's own code calls get_token() and
    ensure_csrf_cookie(), or empty."""
    settings = importlib.import_module("django.conf").settings
    layers = [str(name).rsplit(".", 1)[-1] for name in settings.MIDDLEWARE]
    places = calls(".")
    return {
        "session": {key: getattr(settings, f"SESSION_COOKIE_{key}") for key in COOKIE},
        "csrf": {key: getattr(settings, f"CSRF_COOKIE_{key}") for key in COOKIE},
        "in_session": bool(settings.CSRF_USE_SESSIONS),
        "header": settings.CSRF_HEADER_NAME,
        "trusted_origins": list(settings.CSRF_TRUSTED_ORIGINS),
        "keeps_sessions": "SessionMiddleware" in layers,
        "checks_csrf": "CsrfViewMiddleware" in layers or RETURNING in places,
        "returns": places.get(RETURNING, ""),
        "sets_cookie": places.get(COOKIE_ONLY, ""),
    }


def calls(folder: str) -> dict[str, str]:
    """Name → `catalog/views.py, line 12` of where the project first uses it; tests don't count."""
    places: dict[str, str] = {}
    for number, path in enumerate(_files(folder)):
        if number == MOST_FILES or len(places) == 2:
            break
        for name, line in uses(_text(path)):
            places.setdefault(name, f"{os.path.relpath(path, folder)}, line {line}")
    return places


def uses(text: str) -> Iterator[tuple[str, int]]:
    """Each use of one of the names, with its line; imports alone are none."""
    if RETURNING not in text and COOKIE_ONLY not in text:
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Name):
            name = node.id
        elif isinstance(node, ast.Attribute):
            name = node.attr
        if name in (RETURNING, COOKIE_ONLY):
            yield name, node.lineno  # type: ignore[attr-defined]


def _files(folder: str) -> Iterator[str]:
    """The project's modules, always in the same order."""
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "test")))
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith("test"):
                yield os.path.join(path, name)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(LARGEST_FILE)
    except OSError:
        return ""


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "origin_kit_settings")
    print(json.dumps({"login_settings": found()}))
