"""The example on loopback's https as nginx would show it, under the kit's settings module: the page
at one host, Django at another.

    python -m tests.support.example_server CERTIFICATE KEY PAGE_HOST BACKEND

Django's environment is the caller's. The first line of its output has the ports, as
`login_server.py` prints them; it ends with its standard input.
"""

from __future__ import annotations

import json
import mimetypes
import sys
from pathlib import Path
from typing import Any

from django.core.wsgi import get_wsgi_application

from tests.support.login_server import serve

PAGE = Path(__file__).parents[2] / "examples" / "frontend"


class Example:
    """The page's files and its config.json at `page_host`, the API at the origin `backend`."""

    def __init__(self, page_host: str, backend: str) -> None:
        self._page_host, self._backend = page_host, backend
        self._api = get_wsgi_application()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["HTTP_HOST"] == self._page_host:
            return self._file(environ["PATH_INFO"], start_response)
        environ["HTTP_X_FORWARDED_PROTO"] = environ["wsgi.url_scheme"]  # nginx sets it
        return self._api(environ, start_response)

    def _file(self, path: str, start_response: Any) -> list[bytes]:
        name = path.strip("/") or "index.html"
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        body = self._config if name == "config.json" else (PAGE / name).read_bytes()
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    @property
    def _config(self) -> bytes:
        """As a deploy writes it where `allow_credentials` is on."""
        return json.dumps({"backend": self._backend, "credentials": True}).encode()


def main(certificate: str, key: str, page_host: str, backend: str) -> None:
    serve(Example(page_host, backend), certificate, key)


if __name__ == "__main__":
    main(*sys.argv[1:])
