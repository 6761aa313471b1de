"""Whether the project's own pages for errors (400.html, 500.html) can be rendered.

Django renders them when something has failed already. If the page itself fails, the visitor gets
gunicorn's bare 500, and the log shows the second error instead of the first.

    python -c TEXT        in the project's folder, under the kit's settings

prints {"failing": {page: exception}}.
"""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

_LONGEST = 300  # characters of an exception


def failing() -> dict[str, str]:
    """The pages that raise, by name, each with its exception on one line.

    A view of the project's own is not called: it may need more of a request than there is here.
    """
    importlib.import_module("django").setup()
    defaults = importlib.import_module("django.views.defaults")
    resolver = importlib.import_module("django.urls").get_resolver()
    failures = {}
    for status, view in ((400, defaults.bad_request), (500, defaults.server_error)):
        if resolver.resolve_error_handler(status) is not view:
            continue
        why = failure_of(view, status)
        if why:
            failures[f"{status}.html"] = why
    return failures


def failure_of(view: Any, status: int) -> str:
    """The exception that the view raises, on one line; "" where it raises none."""
    request = importlib.import_module("django.http").HttpRequest()
    arguments = [request, None] if status == 400 else [request]
    try:
        view(*arguments)
    except Exception as problem:  # noqa: BLE001 - whatever it is, a visitor would get it
        text = f"{type(problem).__name__}: {problem}"
        return " ".join(text.split())[:_LONGEST]
    return ""


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "origin_kit_settings")
    print(json.dumps({"failing": failing()}))
