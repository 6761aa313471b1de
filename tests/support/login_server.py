"""A real Django behind loopback's http and https, with other settings for each host that it is
asked by.

    python -m tests.support.login_server CERTIFICATE KEY     the cases as JSON on standard input

The first line of its output has the ports: {"http": 1234, "https": 1235}. It ends with its standard
input.
"""

from __future__ import annotations

import json
import logging
import ssl
import sys
import threading
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.test import override_settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

PAGE = b"<!doctype html><title>page</title>"
TOKEN_HEADER = "X-Token"
_LOCK = threading.Lock()  # one request at a time: Django's settings are those of its case


# -------------------------------------------------------------------------------------- the project


def token(request: HttpRequest) -> HttpResponse:
    """The token by every way that a project may hand it out."""
    value = get_token(request)
    return JsonResponse({"token": value}, headers={TOKEN_HEADER: value})


@csrf_exempt  # type: ignore[untyped-decorator]
def enter(request: HttpRequest) -> HttpResponse:
    """Log in, whatever the token is."""
    request.session["user"] = "ada"
    return JsonResponse({"user": "ada"})


def who(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.session.get("user")})


def write(request: HttpRequest) -> HttpResponse:
    if request.session.get("user") is None:
        return JsonResponse({"reason": "no session"}, status=401)
    return JsonResponse({"written": request.method})


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return JsonResponse({"reason": reason}, status=403)


urlpatterns = [
    path("api/token/", token),
    path("api/enter/", enter),
    path("api/who/", who),
    path("api/write/", write),
]


def configure() -> None:
    """What all cases have in common."""
    settings.configure(
        SECRET_KEY="x" * 50,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        CSRF_FAILURE_VIEW=f"{__name__}.csrf_failure",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        INSTALLED_APPS=["corsheaders"],
        MIDDLEWARE=[
            "corsheaders.middleware.CorsMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        PARTITIONED=False,
        LOGGING_CONFIG=None,
    )
    django.setup()


# --------------------------------------------------------------------------------------- the server


class Cases:
    """A Django for each host, made at its first request."""

    def __init__(self, settings_of: dict[str, dict[str, Any]]) -> None:
        self._settings_of = settings_of
        self._handlers: dict[str, WSGIHandler] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if not environ["PATH_INFO"].startswith("/api/"):
            headers = [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))]
            start_response(f"{HTTPStatus.OK.value} OK", headers)
            return [PAGE]
        host = environ["HTTP_HOST"].rsplit(":", 1)[0]
        given = self._settings_of.get(host)
        if given is None:  # the browser asks for something of its own
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        start = partitioning(start_response) if given.get("PARTITIONED") else start_response
        with _LOCK, override_settings(**given):
            if host not in self._handlers:
                self._handlers[host] = WSGIHandler()
            answer = self._handlers[host](environ, start)
            pieces = list(answer)
            answer.close()
        return pieces


def partitioning(start_response: Any) -> Any:
    """Mark every cookie Partitioned: Django 5.2 has no setting for it."""

    def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        marked = []
        for name, value in headers:
            end = "; Partitioned" if name.lower() == "set-cookie" else ""
            marked.append((name, value + end))
        return start_response(status, marked, *error)

    return start


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """TLS begins here, in the request's own thread: a browser may connect and say nothing."""
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """It is normal that a browser opens a connection and closes it unused."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class Handler(WSGIRequestHandler):
    def get_environ(self) -> dict[str, Any]:
        environ = super().get_environ()
        if isinstance(self.server, Server) and self.server.context:
            environ["HTTPS"] = "on"  # wsgiref takes the scheme from it
        return environ

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def serve(application: Any, certificate: str, key: str) -> None:
    """Answer by http and by https until standard input ends; the ports are printed first."""
    ports = {}
    for scheme in ("http", "https"):
        server = make_server("127.0.0.1", 0, application, Server, Handler)
        if scheme == "https":
            server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.context.load_cert_chain(certificate, key)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        ports[scheme] = server.server_address[1]
    print(json.dumps(ports), flush=True)
    sys.stdin.read()  # until whoever started it closes it


def main(certificate: str, key: str) -> None:
    logging.disable()  # Django would report each refusal
    cases = Cases(json.loads(sys.stdin.readline()))
    configure()
    serve(cases, certificate, key)


if __name__ == "__main__":
    main(*sys.argv[1:])
