"""Made-up exchanges between a page and an API, and a server that plays them to the letter."""

from __future__ import annotations

import socketserver
import ssl
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rollout.verdict import Exchange, Headers, Request, Response
from tests.support.servers import answering

METHODS = [
    "GET",
    "get",
    "HEAD",
    "POST",
    "post",
    "PUT",
    "put",
    "Put",
    "DELETE",
    "delete",
    "PATCH",
    "patch",
    "Patch",
    "OPTIONS",
    "options",
    "PROPFIND",
    "X-Custom",
]
REQUEST_HEADERS = [
    ("X-Cart", "7"),
    ("x-other", ""),
    ("Authorization", "Token x"),
    ("X-CSRFToken", "abc"),
    ("X-Cart", "8"),
    ("Accept", "application/json"),
    ("Accept", "text/html:"),
    ("Accept", "a" * 128),
    ("Accept", "a" * 129),
    ("Accept-Language", "de-CH"),
    ("Accept-Language", "de_CH"),
    ("Content-Language", "en, de;q=1"),
    ("Content-Language", "a" * 200),
    ("Content-Type", "application/json"),
    ("Content-Type", "text/plain"),
    ("Content-Type", "TEXT/PLAIN; charset=utf-8"),
    ("Content-Type", "text/plain; x=(y)"),
    ("Content-Type", "text/"),
    ("Content-Type", "text/plain, application/json"),
    ("Content-Type", " multipart/form-data ;boundary=x"),
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Content-Type", ""),
    ("Content-Type", "text/plain text"),
    ("Range", "bytes=0-99"),
    ("Range", "bytes=5-"),
    ("Range", "bytes=-5"),
    ("Range", "bytes=9-5"),
    ("Range", "BYTES=0-9"),
    ("Range", "bytes=0-1,4-5"),
    ("Range", "bytes= 0-1"),
    ("Range", "items=0-1"),
    ("Range", "bytes=007-8"),
    ("Range", "bytes=0-" + "9" * 19),
    ("Range", "bytes=0 - 1"),
    ("RTT", "1.5"),
    ("ECT", "4G"),
    ("Downlink", "fast"),
    ("Origin", "https://evil.example"),
    ("Cookie", "a=b"),
    ("Sec-X", "1"),
    ("Proxy-X", "1"),
    ("DNT", "1"),
    ("X-HTTP-Method-Override", "PUT"),
    ("X-HTTP-Method-Override", "TRACE"),
    ("User-Agent", "me"),
    ("Date", "x"),
    ("Cache-Control", "no-cache"),
    ("If-Modified-Since", "x"),
    ("DPR", "2.0"),
    ("DPR", "."),
    ("DPR", "2."),
    ("Save-Data", "on"),
    ("Save-Data", "off"),
    ("Width", "100"),
    ("Viewport-Width", "1.5"),
    ("Device-Memory", "8"),
    ("Referer", "x"),
    ("Keep-Alive", "1"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Purpose", "x"),
    ("Priority", "u=1"),
    ("Downlink", "1.5"),
    ("ECT", "4g"),
    ("RTT", "100"),
    ("Intervention", "x"),
    ("Last-Event-ID", "1"),
]
# 128 bytes each: the ninth is too much.
MUCH = (
    ("Content-Type", "text/plain;" + "a" * 117),
    *(
        (name, "a" * 128)
        for name in ("Accept", "Accept-Language", "Content-Language", "Intervention")
    ),
    *(
        (name, "1" * 128)
        for name in ("DPR", "Width", "Viewport-Width", "Device-Memory", "RTT", "Downlink")
    ),
)
STATUSES = [
    200,
    201,
    204,
    205,
    301,
    302,
    304,
    307,
    400,
    401,
    403,
    404,
    405,
    413,
    429,
    500,
    502,
    503,
    504,
]
REDIRECTS = [301, 302, 303, 307, 308]


@dataclass(frozen=True)
class Case:
    """What the page asks, what the server answers at each URL on the way, and the body that the
    page sends."""

    request: Request
    exchanges: tuple[Exchange, ...]
    body: str | None

    @property
    def script(self) -> dict[str, Any]:
        """The arguments of fetch()."""
        options = {
            "method": self.request.method,
            "headers": [list(pair) for pair in self.request.headers],
            "credentials": "include" if self.request.credentials else "omit",
            "redirect": self.request.redirect,
        }
        return {
            "url": self.request.url,
            "options": options | ({"body": self.body} if self.body else {}),
        }


@dataclass(frozen=True)
class Maker:
    """Cases from a seed; `page`, `api` and `other` are origins of the server."""

    random: Random
    page: str
    api: str
    other: str

    def case(self, number: int) -> Case:
        method, headers = self._often("GET", METHODS), self._request_headers()
        hops = self.random.choice([0, 0, 0, 0, 0, 1, 1, 2, 3])
        credentials = self.random.random() < 0.4
        start = self._often(self.api, [self.api, self.page], 0.9)
        mode = self._often("follow", ["follow", "error", "manual"], 0.85)
        request = Request(self.page, f"{start}/case/{number}/0", method, headers, credentials, mode)
        exchanges = tuple(
            Exchange(
                self._answer(f"{self._target()}/case/{number}/{hop + 1}" if hop < hops else None),
                self._preflight(request),
            )
            for hop in range(hops + 1)
        )
        has_body = method.upper() not in ("GET", "HEAD") and self.random.random() < 0.3
        return Case(request, exchanges, "x" if has_body else None)

    def _often(self, usual: Any, all_: list[Any], share: float = 0.5) -> Any:
        return usual if self.random.random() < share else self.random.choice(all_)

    def _request_headers(self) -> Headers:
        count = self.random.choice([0, 0, 0, 1, 1, 1, 2, 3])
        if self.random.random() < 0.02:
            return MUCH[: self.random.randint(7, len(MUCH))]
        return tuple(self.random.choice(REQUEST_HEADERS) for _ in range(count))

    def _target(self) -> str:
        origin = self.random.choice([self.api, self.api, self.other, self.page, ""])
        rare = [
            self.api.replace("//", "//ada:secret@"),
            self.page.replace("//", "//ada@"),
            "ftp://127.0.0.1",
            "data:,x",
            "file:///x",
            "ftp://ada@127.0.0.1",
            "http://127.0.0.1:6000",
            "//" + self.other.partition("//")[2],
        ]
        return str(origin if self.random.random() < 0.85 else self.random.choice(rare))

    def _allow_origin(self) -> Headers:
        page = self.page
        odd = [
            *[[]] * 8,
            [""],
            ["*"],
            ["null"],
            [page, page],
            ["*", "*"],
            ["", ""],
            [f"{page}, {self.other}"],
            [f"{page} {self.other}"],
            [f"{page},{page}"],
            [f"{page}/"],
            [page.upper()],
            [page.replace("http", "HTTP")],
            [page.replace("http", "https")],
            [page.partition("//")[2]],
            [page.rpartition(":")[0]],
            [f'"{page}"'],
            ["http://*.0.0.1"],
            ["http://*"],
            [self.other],
            [self.api],
            ["true"],
            ["localhost:8080"],
            ["http://"],
            ["http:"],
            ["http:/127.0.0.1"],
            ["https//a.example"],
            [f"{page}\t"],
            [f"  {page}  "],
            [f"{page}\\"],
            [f"{page};"],
            [f"<{page}>"],
            ["NULL"],
            ["**"],
            [f"{page}:80"],
            ["http://a.example:99999"],
            ["//a.example"],
            ["http://[::1"],
            ["http://a b"],
            ["http://a%zz"],
            ["http://a|b"],
            ["http://a_b"],
            ["foo:bar"],
            ["http://ä"],
            ["http://1.2.3.4.5"],
            ["http://256.1.1.1"],
            ["http://a.example/path"],
            ["http://a@b"],
            ["regex:.*"],
            ["http://a.example:"],
            ["http://{x}"],
            ["http://a..b"],
            ["HTTP"],
            [":"],
            ["http://a.example:x"],
            ["file:///x"],
        ]
        usual = self.random.choice([[page], [page], [page], ["*"], ["null"]])
        return self._lines("Access-Control-Allow-Origin", self._often(usual, odd, 0.7))

    def _allow_credentials(self) -> Headers:
        odd = [
            [],
            ["True"],
            ["TRUE"],
            ["1"],
            ["true", "true"],
            ["true,"],
            ["false"],
            [""],
            [" true "],
        ]
        return self._lines("Access-Control-Allow-Credentials", self._often(["true"], odd, 0.75))

    def _preflight(self, request: Request) -> Response:
        status = self._often(204, [200, 204, 205, 299, *STATUSES], 0.75)
        lines = (
            self._allow_origin() + self._allow_credentials() + self._allow_methods(request.method)
        )
        lines += self._allow_headers(request.headers) + self._max_age()
        if status in REDIRECTS and self.random.random() < 0.7:
            lines += (("Location", "/elsewhere"),)
        return Response(status, (*lines, ("Content-Length", "0")))

    def _allow_methods(self, method: str) -> Headers:
        full = f"GET, POST, {method}, {method.upper()}"
        odd = [
            [],
            ["*"],
            [""],
            [method],
            [method.upper()],
            [method.lower()],
            ["GET", method],
            [f"{method};"],
            ["GET POST"],
            [f",,{method} ,"],
            ['"PUT"'],
            ["PUT, (x)"],
            ["*, PUT"],
            ["GET, POST"],
            [f"{method},\t{method}"],
            [","],
        ]
        return self._lines("Access-Control-Allow-Methods", self._often([full], odd, 0.6))

    def _allow_headers(self, headers: Headers) -> Headers:
        names = [name for name, _ in headers]
        odd = [
            [],
            ["*"],
            [""],
            names[:1],
            names,
            [", ".join(names).upper()],
            ["x-custom, bad header"],
            ["x-cart;x-other"],
            ["*, authorization"],
            [", ".join(names) + ","],
            ['"x-cart"'],
            ["x-cart:"],
            [f",{','.join(names).lower()}"],
        ]
        return self._lines(
            "Access-Control-Allow-Headers", self._often([", ".join(names)], odd, 0.6)
        )

    def _max_age(self) -> Headers:
        return self._lines(
            "Access-Control-Max-Age",
            self.random.choice([[], ["600"], ["0"], ["-1"], ["ten"], ["1", "2"]]),
        )

    def _answer(self, location: str | None) -> Response:
        status = self._often(200, STATUSES) if location is None else self.random.choice(REDIRECTS)
        lines = self._allow_origin() + self._allow_credentials() + self._expose()
        lines += (
            ("Content-Type", "text/plain"),
            ("X-Cart-Seen", "1"),
            ("X-Other", "1"),
            ("Set-Cookie", "a=b"),
        )
        lines += self.random.choice(
            [(), (("Vary", "Origin"),), (("Vary", "Accept"), ("Vary", "Origin"))]
        )
        if location is not None:
            lines += (("Location", location),)
        return Response(status, (*lines, ("Content-Length", "0")))

    def _expose(self) -> Headers:
        odd = [
            [],
            ["*"],
            ["X-Cart-Seen"],
            ["x-other", "X-CART-SEEN"],
            ["X-Cart-Seen,, x-other,"],
            ["bad header, X-Other"],
            ["X-Other;"],
            ["*, X-Other"],
            ["set-cookie, x-other"],
            [""],
            ['"x-other"'],
            ["X-Absent"],
            ["x-other, (x)"],
        ]
        return self._lines("Access-Control-Expose-Headers", self.random.choice(odd))

    def _lines(self, name: str, values: list[str]) -> Headers:
        return tuple((name, value) for value in values)


@dataclass
class Stage:
    """What the servers play and what they saw, with lower-case names.

    `asked` is path to the last request's headers, `seen` (number, hop) of a case to all its
    requests' headers.
    """

    pages: dict[str, Response] = field(default_factory=dict)
    cases: dict[int, Case] = field(default_factory=dict)
    asked: dict[str, Mapping[str, str]] = field(default_factory=dict)
    seen: dict[tuple[int, int], list[dict[str, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def answer(self, path: str, headers: Mapping[str, str]) -> Response:
        self.asked[path] = headers
        if not path.startswith("/case/"):
            return self.pages.get(path, Response(404, (("Content-Length", "0"),)))
        number, hop = (int(part) for part in path.split("/")[2:4])
        self.seen[number, hop].append(dict(headers))
        exchange = self.cases[number].exchanges[hop]
        answer = (
            exchange.preflight if "access-control-request-method" in headers else exchange.response
        )
        assert answer is not None
        return answer


@contextmanager
def servers(stage: Stage, count: int, https: Sequence[ssl.SSLContext] = ()) -> Iterator[list[str]]:
    """Origins of servers on loopback that send the stage's header lines as they are: `count` by
    http, then by https."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                method, path, _ = line.decode().split(" ", 2)
                headers = dict(self._headers())
                self.rfile.read(int(headers.get("content-length", 0)))
                self._send(stage.answer(path, {":method": method, **headers}))

        def _headers(self) -> Iterator[tuple[str, str]]:
            while line := self.rfile.readline().decode("latin-1").strip():
                name, _, value = line.partition(":")
                yield name.lower(), value.strip()

        def _send(self, answer: Response) -> None:
            lines = [
                f"HTTP/1.1 {answer.status} X",
                *(f"{name}: {value}" for name, value in answer.headers),
            ]
            body = PAGE if ("Content-Length", str(len(PAGE))) in answer.headers else ""
            self.wfile.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    with ExitStack() as stack:
        origins = []
        for tls in (*[None] * count, *https):
            port = stack.enter_context(answering(Handler, tls=tls))
            origins.append(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
        yield origins


def tls_context(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that nobody signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(folder))
    return context


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody signed, and its key."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return certificate, key


PAGE = "<!doctype html><title>page</title>"


def page_answer(*headers: tuple[str, str]) -> Response:
    """An empty page."""
    return Response(
        200, (("Content-Type", "text/html"), ("Content-Length", str(len(PAGE))), *headers)
    )
