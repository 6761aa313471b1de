"""Whether the project's own pages for errors (400.html, 500.html) can be shown.

Django renders them where something is wrong already. One that fails in its turn leaves the visitor
with the bare 500 of gunicorn, and the log with another error than the first. `python -c TEXT` runs
in the project's folder, under the kit's settings.
"""

from __future__ import annotations

import importlib
import json
import os


def failing() -> dict[str, str]:
    """The pages that raise, by name, each with its exception on one line. A view of the project's
    own is not called: it may expect more of a request than there is here."""
    importlib.import_module("django").setup()
    defaults = importlib.import_module("django.views.defaults")
    resolver = importlib.import_module("django.urls").get_resolver()
    request = importlib.import_module("django.http").HttpRequest()
    found = {}
    for status, view in ((400, defaults.bad_request), (500, defaults.server_error)):
        if resolver.resolve_error_handler(status) is not view:
            continue
        try:
            view(request, None) if status == 400 else view(request)
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is what a visitor would get
            found[f"{status}.html"] = " ".join(f"{type(problem).__name__}: {problem}".split())[:300]
    return found


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "origin_kit_settings")
    print(json.dumps({"failing": failing()}))
