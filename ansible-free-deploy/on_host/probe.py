"""Browser-like requests to this host's own nginx and gunicorn, and checks of their answers.

Over https no trust store is asked: this host trusts its own nginx, and `serves_the_pair` compares
what it serves with the pair on the disk.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host import logfiles, places, untrusted
from on_host.certificates import served as certificates
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
PLAIN = 80  # nginx's port next to `certificates.PORT`; another one in tests only
HTTPS = "https"  # how the doctor asks nginx on port 443
Answer = tuple[int, dict[str, list[str]], bytes]  # status, headers by lower-case name, body


def to_nginx(authority: str, seconds: float, https: bool) -> http.client.HTTPConnection:
    """A connection, not yet made, to this host's own nginx; `authority` is the Host header's."""
    import http.client

    if not https:
        return http.client.HTTPConnection("127.0.0.1", PLAIN, timeout=seconds)

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock = certificates.tls_with(self.sock, authority)

    return Connection("127.0.0.1", certificates.PORT, timeout=seconds)


def ask(
    method: str,
    path: str,
    headers: dict[str, str],
    most: int = 0,
    https: bool = False,
) -> Answer:
    """Send one request through this host's nginx, on port 443 for `https`, else on port 80.

    The answer is the status, all headers (names in lower case, values as lists), and at most `most`
    bytes of the body. An application may send an endless answer, or a byte a minute: neither is
    waited for. Raises Failed where nginx does not answer.
    """
    import http.client

    connection = to_nginx(headers.get("Host", ""), WAIT_S, https)
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
            f"nginx does not answer on port {connection.port}: {problem}; see `fab logs`, and"
            " `systemctl status nginx` on the host"
        ) from problem
    finally:
        connection.close()
        logfiles.note("nginx", method, path, status)


def probe(probes: Probes) -> None:
    """Check the answers that a browser would get. Raises Failed where one is wrong.

    `probes`: {"host": str, "allowed": [origin], "refused": [origin], "wildcard": bool} or
    {"host": str, "pages": {path: text it must hold}}; more where https is spoken.
    """
    step("probe", "probes with browser-like requests")
    if "lineage" in probes:
        serves_the_pair(probes["host"], probes["lineage"])
    for path, text in probes.get("pages", {}).items():
        check_page(probes, path, text)
    worst = 0
    for origin in probes.get("allowed", ()):
        worst = max(worst, check_allowed(probes, origin))
    # A warning only: data may be missing, and the CORS headers are right all the same.
    if worst >= 500:
        text = f"warning: GET / answers {worst}: the application itself fails; see `fab logs`"
        step("probe", text)
    for origin in probes.get("refused", ()):
        check_refused(probes, origin)
    check_plain_http(probes)
    refuse_killed_workers()


def serves_the_pair(host: str, lineage: str) -> None:
    """Raise Failed where port 443 does not serve the certificate on the disk."""
    try:
        served = certificates.handshake(host, WAIT_S)
    except OSError as problem:
        raise Failed(
            f"no TLS handshake with nginx on port 443: {problem}; see `fab logs`"
        ) from problem
    if served != certificates.leaf(lineage):
        raise Failed(
            f"port 443 serves another certificate for {host} than the one of {lineage} on this"
            " host; run `fab doctor` to see why"
        )


def check_page(probes: Probes, path: str, text: str) -> None:
    """Raise Failed where a page of the frontend does not hold the text that it must hold."""
    headers = {"Host": probes["host"]}
    status, _, body = ask("GET", path, headers, LARGEST_PAGE, https="lineage" in probes)
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


def exchange(probes: Probes, origin: str, plain: bool = False) -> Iterator[tuple[str, Answer]]:
    """The answers to a preflight and a GET from the origin, over https where it is spoken, or over
    `plain` http."""
    https = "lineage" in probes and not plain
    preflight = {
        "Host": probes["host"],
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
    }
    yield "preflight", ask("OPTIONS", "/", preflight, https=https)
    yield "GET", ask("GET", "/", {"Host": probes["host"], "Origin": origin}, https=https)


def check_allowed(probes: Probes, origin: str, plain: bool = False) -> int:
    """The higher status of preflight and GET.

    Raises Failed where a browser would not let a page from the origin read the answers.
    """
    expected = ["*"] if probes.get("wildcard") else [origin]
    worst = 0
    for kind, (status, headers, _) in exchange(probes, origin, plain):
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


def check_refused(probes: Probes, origin: str, plain: bool = False) -> None:
    """Raise Failed where a page from an origin that is not allowed could read an answer."""
    for kind, (_, headers, _) in exchange(probes, origin, plain):
        if "access-control-allow-origin" in headers:
            raise Failed(
                f"a {kind} from {origin} is allowed, but the origin is not in the configuration;"
                " run `fab doctor` to see why"
            )


# ---------------------------------------------------------------- port 80 of what speaks https

_REDIRECTS = (301, 302, 303, 307, 308)


def check_plain_http(probes: Probes) -> None:
    """Raise Failed where port 80 answers otherwise than it must next to https.

    A request with an Origin is never redirected there: on the way the origin would become `null`.
    https://fetch.spec.whatwg.org/#http-redirect-fetch, step 10
    """
    wanted = probes.get("plain")
    if wanted == "redirect":
        check_redirect(probes, {"Host": probes["host"]})
        return
    for origin in probes.get("allowed", ()) if wanted else ():
        check_plain_answers(probes, origin)
    for origin in probes.get("refused", ()) if wanted else ():
        check_refused(probes, origin, plain=True)
    if wanted == "deny":
        check_redirect(probes, {"Host": probes["host"], "Accept": "text/html"})


def check_plain_answers(probes: Probes, origin: str) -> None:
    """Raise Failed where port 80 redirects a page's request, or serves it although it must not."""
    for kind, (status, headers, _) in exchange(probes, origin, plain=True):
        if status in _REDIRECTS:
            raise Failed(
                f"port 80 redirects a {kind} from {origin} ({status}) to"
                f" {headers.get('location', ['nowhere'])[0]}: the browser would ask there with"
                " `Origin: null`; run `fab doctor` to see why"
            )
        if kind == "GET" and probes["plain"] == "deny" and status != 403:
            raise Failed(
                f"port 80 answers a GET from {origin} with {status} instead of 403, although no"
                " http origin is in the configuration; run `fab doctor` to see why"
            )
    check_allowed(probes, origin, plain=True)


def check_redirect(probes: Probes, headers: dict[str, str]) -> None:
    """Raise Failed where port 80 does not lead who opens it in a browser to https."""
    status, answer, _ = ask("GET", "/", headers)
    target = answer.get("location", ["nowhere"])[0]
    if status not in _REDIRECTS or target != f"{probes['origin']}/":
        raise Failed(
            f"port 80 answers {status} and leads to {target}; it must redirect to"
            f" {probes['origin']}/; run `fab doctor` to see why"
        )


# ------------------------------------------------------------------------------ for the doctor


def is_late(problem: str) -> bool:
    """Whether this is the problem of an answer that took too long."""
    return LATE in problem or "no complete answer" in problem


# gunicorn's own page, for an application that raised instead of answering.
_OWN_PAGE = b"<h1><p>Internal Server Error</p></h1>"


def answer(
    via: str,
    method: str,
    target: str,
    headers: list[list[str]],
    seconds: float = ANSWER_S,
) -> HttpAnswer:
    """One raw exchange, through nginx (`nginx`: port 80, `https`: port 443) or with `gunicorn`
    directly.

    {"status": int, "headers": [[name, value], ...], "bare": whether gunicorn wrote its error page
    itself}, or {"problem": text}.
    """
    import http.client

    connection = to_nginx(_host_in(headers), seconds, via == HTTPS)
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
        return {
            "status": status,
            "headers": pairs,
            "bare": is_bare,
        }
    except (OSError, http.client.HTTPException) as problem:
        return {"problem": str(problem) or type(problem).__name__}
    finally:
        connection.close()
        logfiles.note("nginx" if via == HTTPS else via, method, target, status)


def _host_in(headers: list[list[str]]) -> str:
    return next((value for name, value in headers if name == "Host"), "")


def gunicorn_socket(seconds: float) -> socket.socket:
    """A connection to the application's own socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    connection.connect(f"/run/{places.app()}.sock")
    return connection


def put_request(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: list[list[str]],
) -> None:
    """Write the request exactly as it is given, without headers of the library's own."""
    connection.putrequest(
        method,
        target,
        skip_host=True,
        skip_accept_encoding=True,
    )
    for name, value in headers:
        connection.putheader(name, value.encode("latin-1"))
