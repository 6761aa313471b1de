"""Requests to this host's own nginx and gunicorn: as a browser would ask, and what they must
answer."""

from __future__ import annotations

import socket
from typing import Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host import logfiles, places, untrusted
from on_host.orders import Json
from on_host.runtime import WAIT_S, Failed, step
from on_host.services import for_want_of_memory, journal_of, service

USER_AGENT = "origin-kit"  # for who reads the logs; nothing goes by it, since anybody can send it
LARGEST_PAGE = 1 << 20  # bytes of a page that are looked at
Answer = tuple[int, dict[str, list[str]], bytes]  # status, headers by lower-case name, body


def ask(method: str, path: str, headers: dict[str, str], most: int = 0) -> Answer:
    """One request through this host's nginx: status and all headers, names in lower case, values as
    lists, and at most `most` bytes of the body. The application may answer without an end, or a
    byte a minute: neither is waited for.
    """
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=WAIT_S)
    status = None
    try:
        with untrusted.within(WAIT_S):
            connection.request(method, path, headers={"User-Agent": USER_AGENT, **headers})
            answer = connection.getresponse()
            status = answer.status
            body = answer.read(most) if most else b""
        found: dict[str, list[str]] = {}
        for name, value in answer.getheaders():
            found.setdefault(name.lower(), []).append(value)
        return status, found, body
    except (OSError, http.client.HTTPException) as problem:
        raise Failed(f"nginx does not answer on port 80: {problem}") from problem
    finally:
        connection.close()
        logfiles.note("nginx", method, path, status)


def probe(probes: Json) -> None:
    """Ask as a browser would. `probes`: {"host": str, "allowed": [origin], "refused": [origin],
    "wildcard": bool} or {"host": str, "pages": {path: text it must hold}}."""
    step("probe", "probes with browser-like requests")
    for path, text in probes.get("pages", {}).items():
        status, _, body = ask("GET", path, {"Host": probes["host"]}, LARGEST_PAGE)
        if status != 200 or text.encode() not in body:
            raise Failed(
                f"GET {path} answers {status}, and not what it should",
                body[:300].decode(errors="replace"),
            )
    worst = max((allowed(probes, origin) for origin in probes.get("allowed", ())), default=0)
    if (
        worst >= 500
    ):  # told, not undone: it may well be data that is missing, and CORS is judged all the same
        step(
            "probe", f"warning: GET / answers {worst}: the application itself fails; see `fab logs`"
        )
    for origin in probes.get("refused", ()):
        refused(probes, origin)
    refuse_killed_workers()


def refuse_killed_workers() -> None:
    """Raises Failed where workers came up and the kernel has killed some since: they answer now and
    then only."""
    why = for_want_of_memory()
    if why:
        raise Failed(f"the application does not stay up{why}", journal_of(service()))


def exchange(probes: Json, origin: str) -> Iterator[tuple[str, Answer]]:
    preflight = {"Host": probes["host"], "Origin": origin, "Access-Control-Request-Method": "PUT"}
    yield "preflight", ask("OPTIONS", "/", preflight)
    yield "GET", ask("GET", "/", {"Host": probes["host"], "Origin": origin})


def allowed(probes: Json, origin: str) -> int:
    """The higher status of preflight and GET. Raises Failed where a browser would not let the page
    read them."""
    expected = ["*"] if probes.get("wildcard") else [origin]
    worst = 0
    for kind, (status, headers, _) in exchange(probes, origin):
        if status in (502, 503, 504):
            raise Failed(
                f"the application does not answer: {kind} from {origin} gives {status}",
                journal_of(service()),
            )
        if headers.get("access-control-allow-origin") != expected:
            raise Failed(
                "a {} from {} must carry one Access-Control-Allow-Origin, it has {}".format(
                    kind, origin, headers.get("access-control-allow-origin", "none")
                )
            )
        worst = max(worst, status)
    return worst


def refused(probes: Json, origin: str) -> None:
    for kind, (_, headers, _) in exchange(probes, origin):
        if "access-control-allow-origin" in headers:
            raise Failed(f"a {kind} from {origin}, which is not allowed, is let in")


# What gunicorn writes for an application that raised instead of answering.
_OWN_PAGE = b"<h1><p>Internal Server Error</p></h1>"


def answer(via: str, method: str, target: str, headers: list[list[str]]) -> Json:
    """One raw exchange: {"status": int, "headers": [[name, value], ...], "bare": whether gunicorn
    wrote its error page itself}, or {"problem": text}."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=15)
    status = None
    try:
        if via == "gunicorn":
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(15)
            connection.sock.connect(f"/run/{places.app()}.sock")
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        with untrusted.within(15):
            connection.endheaders()
            found = connection.getresponse()
            bare = found.status == 500 and _OWN_PAGE in found.read(1000)
        status = found.status
        return {
            "status": status,
            "headers": [list(pair) for pair in found.getheaders()],
            "bare": bare,
        }
    except (OSError, http.client.HTTPException) as problem:
        return {"problem": str(problem) or type(problem).__name__}
    finally:
        connection.close()
        logfiles.note(via, method, target, status)
