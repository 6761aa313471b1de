"""Whether this host's nginx answers an HTTP-01 challenge (RFC 8555, section 8.3): asked here,
before the CA asks, so that a host that does not costs no failed order."""

from __future__ import annotations

import contextlib
import http.client
import secrets

from on_host.acme.certbot import prepare_webroot
from on_host.acme.paths import WEBROOT

_FOLDER = ".well-known/acme-challenge"
_WAIT_S = 5.0


def is_answered(name: str) -> bool:
    """Whether nginx serves a file of the webroot to who asks for it at `name`, on port 80."""
    prepare_webroot()
    folder = WEBROOT / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        each.chmod(0o755)
    token = f"origin-kit-{secrets.token_hex(8)}"
    path = folder / token
    path.write_text(token)
    path.chmod(0o644)
    try:
        return _get(name, f"/{_FOLDER}/{token}") == token.encode()
    finally:
        path.unlink()


def _get(name: str, target: str) -> bytes | None:
    host = f"[{name}]" if ":" in name else name
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=_WAIT_S)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", target, headers={"Host": host})
        answer = connection.getresponse()
        return answer.read(1024) if answer.status == 200 else None
    return None
