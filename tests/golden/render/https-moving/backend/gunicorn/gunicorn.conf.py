"""Written by origin-kit from the stack's contract: a deploy replaces it, so change the stack's config instead.

No bind, no reuse_port: systemd holds the socket. No preload: each worker has to load what it says that it loaded.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from gunicorn import version_info

FINGERPRINT = "19904fc857b1cfa9b14f08f91f7f3604"
WORKERS = Path('/run/shop/workers')

# Both links are followed once, here: a worker that starts again later still runs what this process was started with.
generation = Path(__file__).resolve().parent.parent
release = Path('/opt/shop/current').resolve()
sys.path.insert(0, str(generation / "django"))
os.environ["ORIGIN_KIT_RELEASE"] = str(release)
chdir = str(release / "app")

workers = 2
wanted_threads = 4
threads = wanted_threads if version_info >= (24,) else 1
timeout = 30
graceful_timeout = 35
worker_tmp_dir = '/run/shop'
errorlog = "-"
control_socket_disable = True
if threads > 1:
    # gunicorn's worker is its threaded one. It accepts no more connections than it has threads: what waits, waits in the
    # socket, for the first thread of any worker.
    worker_connections = threads
    keepalive = 0

# What nginx passes on is answered: it has the limits, and a page can read its refusals.
limit_request_line = 0
limit_request_field_size = 20000
limit_request_fields = 5000

# Only nginx can open the socket, and nginx sets this header.
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}


def is_event_stream(headers):
    """Whether these are the headers of an answer that goes on: server-sent events."""
    return any(name.lower() == "content-type" and value.startswith("text/event-stream") for name, value in headers)


def behind_nginx(application):
    """The WSGI application as nginx needs it. Behind a Unix socket REMOTE_ADDR is empty: nginx sets X-Real-IP on every
    request, whatever the client wrote there. Of an event stream nginx has to pass each piece on at once."""

    def respond(environ, start_response):
        environ["REMOTE_ADDR"] = environ.get("HTTP_X_REAL_IP", "")

        def start(status, headers, *error):
            if is_event_stream(headers):
                headers = [*headers, ("X-Accel-Buffering", "no")]
            return start_response(status, headers, *error)

        return application(environ, start)

    return respond


ONCE_IN_S = 1
under_way = set()  # the requests that this worker's threads are answering


class Request:
    """A request that a thread is answering. `since` is when the application began with the next piece of the answer; None
    while gunicorn sends one, since how long that may take is nginx's business."""

    def __init__(self, environ):
        self.name = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']!r}"
        self.is_stream = False
        self.since = time.monotonic()
        under_way.add(self)

    @property
    def hangs(self):
        """Whether nginx has given it up, which waits for as long."""
        since = self.since
        return since is not None and time.monotonic() - since > timeout + ONCE_IN_S

    def end(self):
        under_way.discard(self)


class Answer:
    """The pieces of an answer. An event stream ends with its worker: browsers connect again by themselves."""

    def __init__(self, pieces, request, worker):
        self.pieces, self.request, self.worker = pieces, request, worker

    def __iter__(self):
        for piece in self.pieces:
            self.request.since = None
            yield piece
            self.request.since = time.monotonic()
            if self.request.is_stream and not self.worker.alive:
                return

    def close(self):
        try:
            if hasattr(self.pieces, "close"):
                self.pieces.close()
        finally:
            self.request.end()


def watched(application, worker):
    """The WSGI application, its requests in `under_way` while they are answered."""

    def respond(environ, start_response):
        request = Request(environ)

        def start(status, headers, *error):
            request.is_stream = is_event_stream(headers)
            return start_response(status, headers, *error)

        try:
            pieces = application(environ, start)
        except BaseException:
            request.end()
            raise
        if isinstance(pieces, environ["wsgi.file_wrapper"]):  # gunicorn sends the file itself
            request.end()
            return pieces
        return Answer(pieces, request, worker)

    return respond


def watch(worker):
    """No thread can be ended alone: a worker in which a request hangs answers its other requests and ends, and gunicorn
    starts another. A worker that ends waits neither for such a request nor for an event stream that sends nothing."""
    was_ending = False
    while True:
        time.sleep(ONCE_IN_S)
        requests = list(under_way)
        hanging = [request for request in requests if request.hangs]
        endless = sum(request.hangs or request.is_stream for request in requests)
        if was_ending and endless and worker.nr_conns <= endless:
            os._exit(0)  # an ordinary exit waits for every thread
        was_ending = not worker.alive
        if hanging and worker.alive:
            names = ", ".join(request.name for request in hanging)
            worker.log.critical("no answer for %d s, this worker is replaced: %s", timeout, names)
            worker.alive = False


def post_worker_init(worker):
    """Record what this worker has just loaded, whole or not at all."""
    worker.wsgi = behind_nginx(worker.wsgi)
    if threads > 1:
        worker.wsgi = watched(worker.wsgi, worker)
        threading.Thread(target=watch, args=(worker,), daemon=True).start()
    record = WORKERS / str(worker.pid)
    unfinished = WORKERS / f".{worker.pid}"
    unfinished.write_text(json.dumps({"fingerprint": FINGERPRINT, "release": str(release)}))
    unfinished.replace(record)


def on_starting(server):
    """Say where it has fewer threads than the stack asks for."""
    if threads < wanted_threads:
        server.log.warning("one request a worker: gunicorn before 24 loses requests at a restart when it has threads")


def child_exit(server, worker):
    """Forget a worker that has ended."""
    (WORKERS / str(worker.pid)).unlink(missing_ok=True)
