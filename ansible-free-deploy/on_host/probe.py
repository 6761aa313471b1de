"""Browser-like requests to this host's own nginx and gunicorn, and checks of their answers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host import logfiles, places, untrusted
from on_host.runtime import WAIT_S, Failed, step
from on_host.services import for_want_of_memory, journal_of, service

if TYPE_CHECKING:
    import http.client

    from on_host.answers import HttpAnswer
    from on_host.protocol import Probes

USER_AGENT = "origin-kit"  # for people who read the logs; anybody can send it, so nothing trusts it
LARGEST_PAGE = 1 << 20  # bytes of a page that are read
ANSWER_S = 15.0  # for one answer that the doctor wants
SHORT_S = 3.0  # the same, once another one has taken too long
LATE = "timed out"  # the problem of a question that is not asked, as the same one took too long
Answer = tuple[int, dict[str, list[str]], bytes]  # status, headers by lower-case name, body


def ask(method: str, path: str, headers: dict[str, str], most: int = 0) -> Answer:
    """Send one request through this host's nginx.

    The answer is the status, all headers (names in lower case, values as lists), and at most `most`
    bytes of the body. An application may send an endless answer, or a byte a minute: neither is
    waited for. Raises Failed where nginx does not answer.
    """
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=WAIT_S)
    status = None
    try:
        with untrusted.within(WAIT_S):
            connection.request(method, path, headers={"User-Agent": USER_AGENT, **headers})
            response = connection.getresponse()
            status = response.status
            body = response.read(most) if most else b""
        values: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            values.setdefault(name.lower(), []).append(value)
        return status, values, body
    except (OSError, http.client.HTTPException) as problem:
        raise Failed(
            f"nginx does not answer on port 80: {problem}; see `fab logs`, and `systemctl status"
            " nginx` on the host"
        ) from problem
    finally:
        connection.close()
        logfiles.note("nginx", method, path, status)


def probe(probes: Probes) -> None:
    """Check the answers that a browser would get. Raises Failed where one is wrong.

    `probes`: {"host": str, "allowed": [origin], "refused": [origin], "wildcard": bool} or
    {"host": str, "pages": {path: text it must hold}}.
    """
    step("probe", "probes with browser-like requests")
    for path, text in probes.get("pages", {}).items():
        check_page(probes["host"], path, text)
    worst = 0
    for origin in probes.get("allowed", ()):
        worst = max(worst, check_allowed(probes, origin))
    # A warning only: data may be missing, and the CORS headers are right all the same.
    if worst >= 500:
        text = f"warning: GET / answers {worst}: the application itself fails; see `fab logs`"
        step("probe", text)
    for origin in probes.get("refused", ()):
        check_refused(probes, origin)
    refuse_killed_workers()


def check_page(host: str, path: str, text: str) -> None:
    """Raise Failed where a page of the frontend does not hold the text that it must hold."""
    status, _, body = ask("GET", path, {"Host": host}, LARGEST_PAGE)
    if status == 200 and text.encode() in body:
        return
    raise Failed(
        f"GET {path} answers {status} instead of the page that was deployed; see `fab logs`",
        body[:300].decode(errors="replace"),
    )


def refuse_killed_workers() -> None:
    """Raise Failed where the kernel has killed workers since they came up.

    They would answer only now and then.
    """
    why = for_want_of_memory()
    if why:
        raise Failed(f"the application does not stay up{why}", journal_of(service()))


def exchange(probes: Probes, origin: str) -> Iterator[tuple[str, Answer]]:
    """The answers to a preflight and a GET from the origin."""
    preflight = {"Host": probes["host"], "Origin": origin, "Access-Control-Request-Method": "PUT"}
    yield "preflight", ask("OPTIONS", "/", preflight)
    yield "GET", ask("GET", "/", {"Host": probes["host"], "Origin": origin})


def check_allowed(probes: Probes, origin: str) -> int:
    """The higher status of preflight and GET.

    Raises Failed where a browser would not let a page from the origin read the answers.
    """
    expected = ["*"] if probes.get("wildcard") else [origin]
    worst = 0
    for kind, (status, headers, _) in exchange(probes, origin):
        if status in (502, 503, 504):
            raise Failed(
                f"the application does not answer: {kind} from {origin} gives {status}",
                journal_of(service()),
            )
        values = headers.get("access-control-allow-origin", [])
        if values != expected:
            raise Failed(
                f"the answer to a {kind} from {origin} must have one Access-Control-Allow-Origin:"
                f" {expected[0]}; it has {values or 'none'}; run `fab doctor` to see why"
            )
        worst = max(worst, status)
    return worst


def check_refused(probes: Probes, origin: str) -> None:
    """Raise Failed where a page from an origin that is not allowed could read an answer."""
    for kind, (_, headers, _) in exchange(probes, origin):
        if "access-control-allow-origin" in headers:
            raise Failed(
                f"a {kind} from {origin} is allowed, but the origin is not in the configuration;"
                " run `fab doctor` to see why"
            )


def is_late(problem: str) -> bool:
    """Whether this is the problem of an answer that took too long."""
    return LATE in problem or "no complete answer" in problem


# gunicorn's own page, for an application that raised instead of answering.
_OWN_PAGE = b"<h1><p>Internal Server Error</p></h1>"


def answer(
    via: str, method: str, target: str, headers: list[list[str]], seconds: float = ANSWER_S
) -> HttpAnswer:
    """One raw exchange, through `nginx` or with `gunicorn` directly.

    {"status": int, "headers": [[name, value], ...], "bare": whether gunicorn wrote its error page
    itself}, or {"problem": text}.
    """
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=seconds)
    status = None
    try:
        if via == "gunicorn":
            connection.sock = gunicorn_socket(seconds)
        put_request(connection, method, target, headers)
        with untrusted.within(seconds):
            connection.endheaders()
            response = connection.getresponse()
            is_bare = response.status == 500 and _OWN_PAGE in response.read(1000)
        status = response.status
        pairs = [list(pair) for pair in response.getheaders()]
        return {"status": status, "headers": pairs, "bare": is_bare}
    except (OSError, http.client.HTTPException) as problem:
        return {"problem": str(problem) or type(problem).__name__}
    finally:
        connection.close()
        logfiles.note(via, method, target, status)


def gunicorn_socket(seconds: float) -> socket.socket:
    """A connection to the application's own socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    connection.connect(f"/run/{places.app()}.sock")
    return connection


def put_request(
    connection: http.client.HTTPConnection, method: str, target: str, headers: list[list[str]]
) -> None:
    """Write the request exactly as it is given, without headers of the library's own."""
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value.encode("latin-1"))
