"""`serve.py SOCKET`: the project behind a Unix socket, with nothing but the standard library in front of it."""

import importlib
import socketserver
import sys
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler


class Handler(WSGIRequestHandler):
    def address_string(self) -> str:
        return "unix"

    def get_environ(self) -> dict[str, str]:
        self.client_address = ("", 0)
        return super().get_environ()

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet: the tests look at answers."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.base_environ = {"SERVER_NAME": "unix", "SERVER_PORT": "80", "SCRIPT_NAME": "", "CONTENT_LENGTH": ""}
        self.application = importlib.import_module("shop.wsgi").application

    def get_app(self) -> object:
        return self.application


ServerHandler.http_version = "1.1"
with Server(sys.argv[1]) as server:
    print("ready", flush=True)
    server.serve_forever()
