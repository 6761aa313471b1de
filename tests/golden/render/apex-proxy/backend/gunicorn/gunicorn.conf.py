"""Written by origin-kit from the stack's contract: a deploy replaces it, so change the stack's config instead.

No bind, no reuse_port: systemd holds the socket. No preload: each worker has to load what it says that it loaded.
"""

import json
import os
import sys
from pathlib import Path

FINGERPRINT = "e065fc8d7b537cad91977503fe0abb2a"
WORKERS = Path('/run/shop/workers')

# Both links are followed once, here: a worker that starts again later still runs what this process was started with.
generation = Path(__file__).resolve().parent.parent
release = Path('/opt/shop/current').resolve()
sys.path.insert(0, str(generation / "django"))
os.environ["ORIGIN_KIT_RELEASE"] = str(release)
chdir = str(release / "app")

workers = 2
timeout = 30
graceful_timeout = 35
worker_tmp_dir = '/run/shop'
errorlog = "-"
control_socket_disable = True

# What nginx passes on is answered: it has the limits, and a page can read its refusals.
limit_request_line = 0
limit_request_field_size = 0
limit_request_fields = 32768

# Only nginx can open the socket, and nginx sets this header.
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}


def with_address(application):
    """The WSGI application, given the client's address: behind a Unix socket REMOTE_ADDR is empty. nginx sets X-Real-IP on
    every request, whatever the client wrote there."""

    def with_address(environ, start_response):
        environ["REMOTE_ADDR"] = environ.get("HTTP_X_REAL_IP", "")
        return application(environ, start_response)

    return with_address


def post_worker_init(worker):
    """Record what this worker has just loaded, whole or not at all."""
    worker.wsgi = with_address(worker.wsgi)
    record = WORKERS / str(worker.pid)
    unfinished = WORKERS / f".{worker.pid}"
    unfinished.write_text(json.dumps({"fingerprint": FINGERPRINT, "release": str(release)}))
    unfinished.replace(record)


def child_exit(server, worker):
    """Forget a worker that has ended."""
    (WORKERS / str(worker.pid)).unlink(missing_ok=True)
